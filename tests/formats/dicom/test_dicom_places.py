"""What states a place, or a part of one: kept where it is complete, refused where it is not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import SimpleITK as sitk

import dicom_samples as samples
from voxarray.core.errors import VoxarrayError, VoxarrayWarning
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection

LPS = np.diag([-1.0, -1, 1, 1])
SAGITTAL = [0, 1, 0, 0, 0, -1]
PET_NM = "1.2.840.10008.5.1.4.1.1.20"
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"


def everything(source):
    return source.read(Selection.whole(source.shape))


def refused(code, path, match):
    with pytest.raises(VoxarrayError, match=match) as caught:
        open_source(path)
    assert caught.value.code == code
    assert caught.value.path is not None


def by_sitk(path):
    image = sitk.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), LPS @ matrix


# --- Half a place ---------------------------------------------------------------------------------


HALVES = {
    "Image Position": {"ImagePositionPatient": None, "ImageOrientationPatient": SAGITTAL},
    "Image Orientation": {"ImageOrientationPatient": None},
}


@pytest.mark.parametrize("lacking", HALVES)
def test_half_a_place_is_refused(tmp_path, lacking):
    dataset = samples.placed(samples.volume()[0], (5, 6, 7), **HALVES[lacking])
    refused("NO_POSITION", samples.save(dataset, tmp_path / "a.dcm"), f"planes lack {lacking}")


@pytest.mark.parametrize("lacking", HALVES)
def test_half_a_place_of_every_slice_is_refused(tmp_path, lacking):
    samples.series(tmp_path, **HALVES[lacking])
    refused("NO_POSITION", tmp_path, f"planes lack {lacking}")


@pytest.mark.parametrize("lacking", HALVES)
def test_half_a_place_of_a_film_is_refused(tmp_path, lacking):
    dataset = samples.placed(samples.volume(), (5, 6, 7), FrameTime=40, **HALVES[lacking])
    refused("NO_POSITION", samples.save(dataset, tmp_path / "a.dcm"), f"planes lack {lacking}")


def test_half_a_place_in_functional_groups_is_refused(tmp_path):
    shared = samples.shared_groups()
    frames = [samples.item() for _ in range(6)]
    dataset = samples.enhanced(samples.volume(), frames, shared)
    refused("NO_POSITION", samples.save(dataset, tmp_path / "a.dcm"), "planes lack Image Position")
    del shared.PlaneOrientationSequence
    frames = [samples.frame_groups(z) for z in range(6)]
    dataset = samples.enhanced(samples.volume(), frames, shared)
    refused("NO_POSITION", samples.save(dataset, tmp_path / "b.dcm"), "planes lack Image Orient")


def test_a_plane_without_a_position_has_the_affine_of_a_picture(tmp_path):
    dataset = samples.plane(samples.volume()[0])
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_allclose(source.affine, np.diag([-1, -1, 1, 1]))


# --- Films, dose grids, stacks and nuclear medicine -----------------------------------------------


def test_a_cine_with_a_position_is_a_time_series_at_that_position(tmp_path):
    dataset = samples.placed(samples.volume(), (5, 6, 7), FrameTime=40, Modality="MR")
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    assert source.shape == (6, 4, 5, 1)
    assert (source.channels.kind, source.channels.step) == ("time", pytest.approx(0.04))
    assert source.affine[:3, 3] == pytest.approx([-5, -6, 7])


@pytest.mark.parametrize("pointer", [0x00181063, 0x3004000C, None])
@pytest.mark.parametrize("offsets", [[0, 2.5, 5, 7.5], [30, 32.5, 35, 37.5]])
def test_dose_grid_relative_and_absolute(tmp_path, offsets, pointer):
    dataset = samples.placed(
        samples.volume(4, dtype=np.uint16),
        (10, 20, 30),
        SOPClassUID=DOSE,
        Modality="RTDOSE",
        DoseGridScaling=0.25,
        GridFrameOffsetVector=offsets,
        FrameIncrementPointer=pointer,
    )
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    array, affine = by_sitk(tmp_path / "a.dcm")
    np.testing.assert_allclose(source.affine, affine)
    assert source.affine[2, 2:].tolist() == [2.5, 30]
    np.testing.assert_allclose(everything(source)[0], array.transpose(2, 1, 0) * 0.25)


@pytest.mark.parametrize(
    ("elements", "match"),
    [
        ({"GridFrameOffsetVector": [31, 32, 33, 34]}, "begins at 31 mm"),
        (
            {
                "GridFrameOffsetVector": [30, 32, 34, 36],
                "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
            },
            "for axial frames, the height",
        ),
        ({"GridFrameOffsetVector": [0, 2, 4]}, "neither|does not say"),
    ],
)
def test_dose_grid_that_does_not_say_where(tmp_path, elements, match):
    dataset = samples.placed(samples.volume(4), (10, 20, 30), **elements)
    refused("NO_POSITION", samples.save(dataset, tmp_path / "a.dcm"), match)


def test_frames_of_one_position_and_a_spacing(tmp_path):
    dataset = samples.placed(
        samples.volume(), (10, 20, 30), SpacingBetweenSlices=2.5, ImageOrientationPatient=SAGITTAL
    )
    path = samples.save(dataset, tmp_path / "a.dcm")
    with pytest.warns(VoxarrayWarning, match=r"2\.5 mm apart \(Spacing Between Slices\)"):
        source = open_source(path)
    array, affine = by_sitk(path)
    np.testing.assert_allclose(source.affine, affine, atol=1e-12)
    assert np.array_equal(everything(source)[0], array.transpose(2, 1, 0))


@pytest.mark.parametrize("pointer", [0x00182005, 0x00181063])
def test_frames_counted_by_something_else_are_refused(tmp_path, pointer):
    """One spacing says nothing where the file leads to another element."""
    dataset = samples.placed(
        samples.volume(), (0, 0, 0), SpacingBetweenSlices=2.5, FrameIncrementPointer=pointer
    )
    path = samples.save(dataset, tmp_path / "a.dcm")
    refused("NO_POSITION", path, rf"\({pointer >> 16:04X},{pointer & 0xFFFF:04X}\)")


def nuclear(path, vectors, step=4.0, **elements):
    """Frames of nuclear medicine, counted by vectors; each holds its own number."""
    count = len(next(iter(vectors.values())))
    pixels = np.stack([np.full((5, 4), n + 1, np.uint16) for n in range(count)])
    dataset = samples.plane(pixels, SOPClassUID=PET_NM, Modality="NM", PixelSpacing=[3, 2])
    dataset.DetectorInformationSequence = samples.group(
        ImagePositionPatient=[0, -20, 30], ImageOrientationPatient=list(samples.AXIAL)
    )
    dataset.SpacingBetweenSlices = step
    samples.put(dataset, vectors)
    dataset.FrameIncrementPointer = [dataset[keyword].tag for keyword in vectors]
    return samples.save(samples.put(dataset, elements), path)


@pytest.mark.parametrize("step", [4.0, -4.0])
def test_nuclear_slices_follow_the_sign_of_their_spacing(tmp_path, step):
    """PS3.3, C.8.4.15: positive, they are behind the first slice, along the normal."""
    source = open_source(nuclear(tmp_path / "a.dcm", {"SliceVector": [1, 2, 3, 4]}, step))
    values = everything(source)[0, 0, 0]
    for z in range(4):
        world = source.affine @ [0, 0, z, 1]
        assert world[:3] == pytest.approx([0, 20, 30 + step * (values[z] - 1)])
    assert source.grid.spacing == pytest.approx((2, 3, 4))


def test_nuclear_gates_are_volumes(tmp_path):
    vectors = {"TimeSlotVector": [1, 2, 1, 2, 1, 2], "SliceVector": [1, 1, 2, 2, 3, 3]}
    source = open_source(nuclear(tmp_path / "a.dcm", vectors))
    assert everything(source)[:, 0, 0].tolist() == [[1, 3, 5], [2, 4, 6]]
    assert source.channels.kind == "time"


def test_nuclear_slices_without_a_place_are_refused(tmp_path):
    vectors = {"SliceVector": [1, 2, 3]}
    path = nuclear(tmp_path / "a.dcm", vectors, SpacingBetweenSlices=None)
    refused("NO_POSITION", path, "counts 3 slices and does not say where")
    path = nuclear(tmp_path / "b.dcm", vectors, SliceVector=[1, 2])
    refused("NO_POSITION", path, r"\(0054,0080\)")


# --- Axes of other things than the patient --------------------------------------------------------


def test_ultrasound_volumes_are_placed_before_the_transducer(tmp_path):
    frames = [
        samples.item(PlanePositionVolumeSequence=samples.group(ImagePositionVolume=[1, 2, 3 + z]))
        for z in range(6)
    ]
    shared = samples.shared_groups()
    del shared.PlaneOrientationSequence
    shared.PlaneOrientationVolumeSequence = samples.group(
        ImageOrientationVolume=list(samples.AXIAL)
    )
    path = samples.save(samples.enhanced(samples.volume(), frames, shared), tmp_path / "a.dcm")
    with pytest.warns(VoxarrayWarning, match="relative to the transducer"):
        source = open_source(path)
    assert source.shape == (1, 4, 5, 6)
    assert source.affine[:3, 3] == pytest.approx([-1, -2, 3])
    assert source.grid.spacing == pytest.approx((0.75, 0.5, 1))


def slide(path, columns, rows, **elements):
    shared = samples.shared_groups()
    del shared.PlaneOrientationSequence
    dataset = samples.enhanced(samples.volume(1), [samples.item()], shared, Modality="SM")
    dataset.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = columns, rows
    dataset.TotalPixelMatrixOriginSequence = samples.group(
        XOffsetInSlideCoordinateSystem=20, YOffsetInSlideCoordinateSystem=40
    )
    return samples.save(samples.put(dataset, elements), path)


def test_a_slide_that_fills_its_plane_is_placed_on_the_glass(tmp_path):
    with pytest.warns(VoxarrayWarning, match="relative to the slide"):
        source = open_source(slide(tmp_path / "a.dcm", 4, 5))
    expected = LPS @ [[0, -0.5, 0, 20], [-0.75, 0, 0, 40], [0, 0, -2, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(source.affine, expected, atol=1e-12)
    path = slide(tmp_path / "b.dcm", 4, 5, TotalPixelMatrixOriginSequence=None)
    refused("NO_POSITION", path, "planes lack Image Position")


@pytest.mark.parametrize(("columns", "rows"), [(8, 5), (4, 10), (8, 10)])
def test_tiles_of_a_slide_are_no_image(tmp_path, columns, rows):
    refused("TILED", slide(tmp_path / "a.dcm", columns, rows), f"plane of {columns} x {rows}")


# --- Pixel sizes of pictures ----------------------------------------------------------------------


def region(x=0.02, y=0.03, **elements):
    stated = {
        "PhysicalDeltaX": x,
        "PhysicalDeltaY": y,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "RegionSpatialFormat": 1,
    }
    return samples.item(**(stated | elements))


SIZES = {
    "NominalScannedPixelSpacing": ({"NominalScannedPixelSpacing": [0.4, 0.5]}, (0.5, 0.4)),
    "ImagerPixelSpacing": ({"ImagerPixelSpacing": [0.4, 0.5]}, (0.5, 0.4)),
    "ImagePlanePixelSpacing": ({"ImagePlanePixelSpacing": [0.4, 0.5]}, (0.5, 0.4)),
    "PixelSpacing first": (
        {"PixelSpacing": [0.3, 0.2], "NominalScannedPixelSpacing": [0.4, 0.5]},
        (0.2, 0.3),
    ),
    "PixelAspectRatio": ({"PixelAspectRatio": ["2", "1"]}, (1, 2)),
    "ultrasound": ({"SequenceOfUltrasoundRegions": [region()]}, (0.2, 0.3)),
    "ultrasound beside a spectrum": (
        {"SequenceOfUltrasoundRegions": [region(9, 9, RegionSpatialFormat=3), region()]},
        (0.2, 0.3),
    ),
    "ultrasound on both sides": (
        {"SequenceOfUltrasoundRegions": [region(), region()]},
        (0.2, 0.3),
    ),
}


@pytest.mark.parametrize("what", SIZES)
@pytest.mark.parametrize("frames", [1, 3])
def test_pixel_size_of_a_picture(tmp_path, what, frames):
    elements, expected = SIZES[what]
    time = {"FrameTime": 40} if frames > 1 else {}
    dataset = samples.plane(samples.volume(frames), SOPClassUID=CAPTURE, **elements, **time)
    path = samples.save(dataset, tmp_path / "a.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_source(path).grid.spacing[:2] == pytest.approx(expected)


def test_nominal_pixel_size_is_simpleitks(tmp_path):
    elements = SIZES["NominalScannedPixelSpacing"][0]
    dataset = samples.plane(samples.volume()[0], SOPClassUID=CAPTURE, **elements)
    path = samples.save(dataset, tmp_path / "a.dcm")
    spacing = sitk.ReadImage(str(path)).GetSpacing()
    assert open_source(path).grid.spacing[:2] == pytest.approx(spacing[:2])


@pytest.mark.parametrize(
    ("regions", "match"),
    [
        ([region(), region(0.04, 0.04)], r"0\.2 x 0\.3, 0\.4 x 0\.4 mm"),
        ([region(PhysicalUnitsXDirection=4)], "no ultrasound region states"),
    ],
)
def test_ultrasound_regions_that_do_not_agree_are_remarked(tmp_path, regions, match):
    dataset = samples.plane(
        samples.volume()[0], SOPClassUID=ULTRASOUND, SequenceOfUltrasoundRegions=regions
    )
    path = samples.save(dataset, tmp_path / "a.dcm")
    with pytest.warns(VoxarrayWarning, match=match):
        assert open_source(path).grid.spacing[:2] == (1, 1)


def test_pixel_size_at_the_detector_is_none_in_the_patient(tmp_path):
    dataset = samples.placed(
        samples.volume()[0], (0, 0, 0), PixelSpacing=None, NominalScannedPixelSpacing=[1, 1]
    )
    refused("NO_SPACING", samples.save(dataset, tmp_path / "a.dcm"), "pixel spacing")


def test_sizes_of_nothing(tmp_path):
    dataset = samples.plane(samples.volume()[0], NominalScannedPixelSpacing=[0, 1])
    refused("BAD_SPACING", samples.save(dataset, tmp_path / "a.dcm"), "two positive numbers")


# --- Slices that are missing evenly, and scalings that are missing ------------------------------


def every_other(folder, numbers, **elements):
    return samples.series(
        folder,
        step=(0, 0, 6.0),
        each=lambda z: {"InstanceNumber": numbers[z]},
        **elements,
    )


def test_every_second_slice_missing_is_remarked(tmp_path):
    every_other(tmp_path, range(1, 13, 2), SpacingBetweenSlices=3)
    with pytest.warns(VoxarrayWarning, match="1 of every 2 slices may be missing"):
        assert open_source(tmp_path).grid.spacing[2] == pytest.approx(6)


@pytest.mark.parametrize(
    ("numbers", "elements"),
    [
        (range(1, 7), {"SpacingBetweenSlices": 3}),  # the gap between slices, for some makers
        (range(1, 13, 2), {"SpacingBetweenSlices": 6}),  # two echoes, exported apart
        (range(1, 13, 2), {"SpacingBetweenSlices": 4}),
        ([1, 3, 5, 7, 9, 10], {"SpacingBetweenSlices": 3}),
    ],
)
def test_one_hint_alone_is_none(tmp_path, numbers, elements):
    every_other(tmp_path, numbers, **elements)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_source(tmp_path)


@pytest.mark.parametrize("elements", [{"RescaleSlope": 2}, {"RescaleIntercept": -100}])
def test_slices_with_and_without_a_rescale_do_not_mix(tmp_path, elements):
    both = {"RescaleSlope": 1, "RescaleIntercept": 0} | elements
    samples.series(tmp_path, each=lambda z: both if z % 2 else {})
    refused("MIXED_SCALING", tmp_path, "3 of 6 planes state no rescale")


def test_frames_with_and_without_a_rescale_do_not_mix(tmp_path):
    transformation = samples.group(RescaleSlope=2, RescaleIntercept=0, RescaleType="US")
    frames = [
        samples.frame_groups(
            2.0 * z, **({"PixelValueTransformationSequence": transformation} if z else {})
        )
        for z in range(6)
    ]
    dataset = samples.enhanced(samples.volume(), frames, samples.shared_groups())
    refused("MIXED_SCALING", samples.save(dataset, tmp_path / "a.dcm"), "1 of 6 planes")
