"""Series of several volumes, and files of several frames."""

from __future__ import annotations

from itertools import product

import numpy as np
import pydicom
import pytest

import dicom_samples as samples
import voxarray as vx
from voxarray.core.errors import VoxarrayError, VoxarrayWarning
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection


def everything(source):
    return source.read(Selection.whole(source.shape))


def as_image(volumes):
    """(V, D, H, W) as (V, W, H, D)."""
    return np.asarray(volumes).transpose(0, 3, 2, 1)


def four(count=3, depth=4, dtype=np.int16):
    return np.stack([samples.volume(depth, dtype=dtype) + 10 * v for v in range(count)]).astype(
        dtype
    )


def write(folder, volumes, elements, numbers=None):
    """A file per plane of (V, D, H, W).

    ``elements`` are those of all planes, or say for each volume what tells it apart; ``numbers``
    (V, D) are those of the instances, by default counted volume by volume.
    """
    count, depth = volumes.shape[:2]
    numbers = np.arange(count * depth).reshape(count, depth) if numbers is None else numbers
    for v, z in product(range(count), range(depth)):
        own = elements(v) if callable(elements) else elements
        dataset = samples.placed(volumes[v, z], (0, 0, 2.0 * z), int(numbers[v, z]) + 1, **own)
        samples.save(dataset, folder / f"{(v * 5 + 3 * z) % 7}_{z}_{v}.dcm")


def refused(code, path, match):
    with pytest.raises(VoxarrayError, match=match) as caught:
        open_source(path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("elements", "kind", "step"),
    [
        (lambda v: {"TemporalPositionIdentifier": v + 1}, "time", 0),
        (lambda v: {"TemporalPositionIdentifier": v, "TemporalResolution": 2500}, "time", 2.5),
        (lambda v: {"TriggerTime": 40.0 * v}, "time", 0.04),
        (lambda v: {"FrameReferenceTime": 1000.0 + 500 * v}, "time", 0.5),
        (lambda v: {"AcquisitionTime": f"0959{50 + 3 * v:02}.5"}, "time", 3),
        (lambda v: {"AcquisitionNumber": v}, "time", 0),
        (lambda v: {"EchoTime": 5.0 + 7 * v}, "channel", 0),
        (lambda v: {"DiffusionBValue": 1000.0 * v}, "channel", 0),
        (lambda v: {"ImageType": ["ORIGINAL", "PRIMARY", "MPR"[v]]}, "channel", 0),
        ({}, "channel", 0),
        ({"NumberOfTemporalPositions": 3}, "time", 0),
    ],
)
def test_what_tells_volumes_apart(tmp_path, elements, kind, step):
    volumes = four()
    write(tmp_path, volumes, elements)
    source = open_source(tmp_path)
    assert source.channels.kind == kind
    assert source.channels.step == pytest.approx(step)
    assert np.array_equal(everything(source), as_image(volumes))


def test_time_across_seconds(tmp_path):
    write(tmp_path, four(), lambda v: {"AcquisitionTime": f"10{5 * v:02}00"})
    assert open_source(tmp_path).channels.step == 300


@pytest.mark.parametrize("days", [("20260131", "20260201"), ("", ""), ("20260131", "")])
def test_time_across_midnight(tmp_path, days):
    volumes, times = four(), ("235950", "235958", "000006")

    def elements(v):
        return {"AcquisitionTime": times[v], "AcquisitionDate": days[v > 1]}

    write(tmp_path, volumes, elements)
    source = open_source(tmp_path)
    assert np.array_equal(everything(source), as_image(volumes))
    assert source.channels.kind == "time"
    assert source.channels.step == 8


def test_numbered_position_by_position(tmp_path):
    volumes = four()
    write(tmp_path, volumes, {}, np.arange(12).reshape(4, 3).T)
    assert np.array_equal(everything(open_source(tmp_path)), as_image(volumes))


def test_time_wins_over_numbers(tmp_path):
    """Planes numbered backwards: volumes follow the time, not the numbers."""
    volumes = four()
    write(
        tmp_path,
        volumes,
        lambda v: {"TemporalPositionIdentifier": v + 1},
        np.arange(12)[::-1].reshape(3, 4),
    )
    assert np.array_equal(everything(open_source(tmp_path)), as_image(volumes))


def test_numbers_that_tell_nothing(tmp_path):
    order = np.random.default_rng(0).permutation(12).reshape(3, 4)
    write(tmp_path, four(), {}, order)
    refused("AMBIGUOUS_VOLUMES", tmp_path, "3 planes at each position")


def test_a_volume_with_a_hole(tmp_path):
    write(tmp_path, four(), lambda v: {"TemporalPositionIdentifier": v + 1})
    next(tmp_path.glob("*_2_1.dcm")).unlink()
    refused("MISSING_SLICE", tmp_path, r"fewer than 3 planes at slice 2 \(counted from 0\)")


def test_echoes_of_a_time_series(tmp_path):
    volumes = four(6)
    write(
        tmp_path,
        volumes,
        lambda v: {"EchoTime": 5.0 * (v % 2 + 1), "TemporalPositionIdentifier": v // 2},
    )
    source = open_source(tmp_path)
    assert np.array_equal(everything(source), as_image(volumes))
    assert source.channels.kind == "channel"
    assert source.metadata["echo_time"] == (5, 10, 5, 10, 5, 10)


def test_diffusion_keeps_the_order_of_acquisition(tmp_path):
    volumes = four(4)
    b_values = [0.0, 1000, 1000, 0]
    directions = [None, [0.6, 0.8, 0], [0, 0.6, -0.8], None]

    def elements(v):
        found = {"DiffusionBValue": b_values[v], "AcquisitionNumber": v}
        return found | {"DiffusionGradientOrientation": directions[v]}

    write(tmp_path, volumes, elements)
    source = open_source(tmp_path)
    assert np.array_equal(everything(source), as_image(volumes))
    assert source.metadata["b_value"] == tuple(b_values)
    # Towards the patient's left and back in LPS is towards -x and -y in RAS+.
    assert source.metadata["gradient_direction"] == (
        None,
        (-0.6, -0.8, 0.0),
        (0.0, -0.6, -0.8),
        None,
    )


def test_facts_of_volumes_follow_a_choice_of_volumes(tmp_path):
    """b-values of volumes that were left out would be paired with others."""
    facts = [
        {"DiffusionBValue": 0.0, "EchoTime": 7.0},
        {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [0.6, 0.8, 0]},
        {"DiffusionBValue": 2000.0, "DiffusionGradientOrientation": [0, 0.6, -0.8]},
        {"DiffusionBValue": 2000.0, "DiffusionGradientOrientation": [0, 0.6, -0.8]},
    ]
    write(tmp_path, four(4), lambda v: facts[v] | {"AcquisitionNumber": v})
    scan = vx.ScalarImage(tmp_path)
    assert scan["b_value"] == (0, 1000, 2000, 2000)
    assert scan[2:0:-1, :, :, :]["b_value"] == (2000, 1000)
    assert scan[::2, :, 1:3, :]["b_value"] == (0, 2000)
    shells = scan[1:, :, :, :]
    assert shells["gradient_direction"] == ((-0.6, -0.8, 0), (0, -0.6, -0.8), (0, -0.6, -0.8))
    shell = shells[1:, :, :, :]
    assert (shell["b_value"], shell["gradient_direction"]) == (2000, (0, -0.6, -0.8))
    unweighted = scan[:1, :, :, :]
    assert unweighted["b_value"] == 0
    assert "gradient_direction" not in unweighted
    assert scan[:, 1:, :, :]["b_value"] == (0, 1000, 2000, 2000)
    # A direction is three numbers, and none per volume, though there are three volumes.
    assert scan[1:, :, :, :][0:1, :, :, :]["gradient_direction"] == (-0.6, -0.8, 0)


def test_siemens_b_values(tmp_path):
    dataset = samples.placed(samples.volume()[0], (0, 0, 0))
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "700")
    block.add_new(0x0E, "FD", [1.0, 0.0, 0.0])
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    assert source.metadata["b_value"] == 700
    assert source.metadata["gradient_direction"] == (-1, 0, 0)


def philips_asl(v):
    """Two phases of a cardiac cycle, each with and without label; numbers tell nothing."""
    return {"phase": v // 2 + 1, "label": ["CONTROL", "LABEL"][v % 2]}


@pytest.mark.parametrize("moved", [False, True])
def test_philips_phases_and_labels_tell_volumes_apart(tmp_path, moved):
    """Also where an anonymiser has given the private elements other blocks."""
    volumes = four(4)
    order = np.random.default_rng(0).permutation(16).reshape(4, 4)
    for v, z in product(range(4), range(4)):
        dataset = samples.placed(volumes[v, z], (0, 0, 2.0 * z), int(order[v, z]) + 1)
        for number in range(0x10, 0x14 - 4 * moved):
            dataset.add_new((0x2005, number), "LO", f"Philips MR Imaging DD {number - 15:03}")
        told = philips_asl(v)
        if moved:
            dataset.private_block(0x2001, "Another", create=True).add_new(0x08, "IS", "99")
        block = dataset.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x08, "IS", str(told["phase"]))
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x29, "CS", told["label"])
        samples.save(dataset, tmp_path / f"{(v * 5 + 3 * z) % 7}_{z}_{v}.dcm")
    found = everything(open_source(tmp_path))
    firsts = np.argsort(order.min(axis=1))
    assert np.array_equal(found, as_image(volumes)[firsts])


def test_enhanced_arterial_spin_labelling(tmp_path):
    volumes = four(2)
    frames = [
        samples.frame_groups(
            2.0 * z,
            MRArterialSpinLabelingSequence=samples.group(ASLContext=["CONTROL", "LABEL"][v]),
        )
        for z, v in product(range(4), range(2))
    ]
    pixels = np.ascontiguousarray(volumes.transpose(1, 0, 2, 3)).reshape(8, 5, 4)
    dataset = samples.enhanced(pixels, frames, samples.shared_groups())
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    assert np.array_equal(everything(source), as_image(volumes))
    assert source.metadata["asl_context"] == ("CONTROL", "LABEL")


def test_echo_planar_volumes_take_a_repetition_time(tmp_path):
    write(
        tmp_path,
        four(),
        {
            "NumberOfTemporalPositions": 3,
            "RepetitionTime": 2000,
            "ScanningSequence": ["EP", "GR"],
            "MRAcquisitionType": "2D",
        },
    )
    assert open_source(tmp_path).channels.step == 2


# --- Multi-frame ----------------------------------------------------------------------------------


def test_enhanced_volume(tmp_path):
    voxels = samples.volume()
    order = [3, 0, 5, 1, 4, 2]
    dataset = samples.enhanced(
        voxels[order], [samples.frame_groups(2.0 * z) for z in order], samples.shared_groups()
    )
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    assert np.array_equal(everything(source), as_image(voxels[None]))
    assert source.grid.spacing == pytest.approx((0.75, 0.5, 2))
    assert source.chunks == (1, 4, 5, 1)
    assert source.metadata["modality"] == "MR"


def test_enhanced_scaling_and_echo_of_each_frame(tmp_path):
    volumes = four(2)
    frames = [
        samples.frame_groups(
            2.0 * z,
            MREchoSequence=samples.group(EffectiveEchoTime=5.0 * (v + 1)),
            PixelValueTransformationSequence=samples.group(
                RescaleSlope=v + 0.5, RescaleIntercept=-v, RescaleType="US"
            ),
        )
        for v, z in product(range(2), range(4))
    ]
    dataset = samples.enhanced(volumes.reshape(8, 5, 4), frames, samples.shared_groups())
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    expected = np.stack([volumes[0] * 0.5, volumes[1] * 1.5 - 1]).astype(np.float32)
    assert np.array_equal(everything(source), as_image(expected))
    assert source.metadata["echo_time"] == (5, 10)
    assert source.metadata["rescale_type"] == "US"


def test_enhanced_time(tmp_path):
    volumes = four(3)
    frames = [
        samples.frame_groups(2.0 * z, FrameContentSequence=samples.group(TemporalPositionIndex=v))
        for z, v in product(range(4), (1, 2, 3))
    ]
    pixels = np.ascontiguousarray(volumes.transpose(1, 0, 2, 3)).reshape(12, 5, 4)
    dataset = samples.enhanced(pixels, frames, samples.shared_groups())
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    assert source.channels.kind == "time"
    assert np.array_equal(everything(source), as_image(volumes))


def test_one_enhanced_file_per_volume(tmp_path):
    volumes = four(3)
    for v in range(3):
        dataset = samples.enhanced(
            volumes[v],
            [samples.frame_groups(2.0 * z) for z in range(4)],
            samples.shared_groups(),
            InstanceNumber=v + 1,
        )
        samples.save(dataset, tmp_path / f"{(v + 1) % 3}.dcm")
    assert np.array_equal(everything(open_source(tmp_path)), as_image(volumes))


def test_frames_without_groups(tmp_path):
    dataset = samples.enhanced(
        samples.volume(), [samples.frame_groups(0.0)], samples.shared_groups()
    )
    refused(
        "BAD_FRAMES",
        samples.save(dataset, tmp_path / "a.dcm"),
        "6 frames .* by 1 functional groups",
    )


def test_film(tmp_path):
    dataset = samples.plane(samples.volume(dtype=np.uint8), Modality="US", FrameTime=40)
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    assert source.shape == (6, 4, 5, 1)
    assert (source.channels.kind, source.channels.step) == ("time", pytest.approx(0.04))
    assert np.array_equal(everything(source)[..., 0], samples.volume().transpose(0, 2, 1))
    still = samples.plane(samples.volume(), Modality="NM")
    refused("NO_POSITION", samples.save(still, tmp_path / "b.dcm"), "where or when")


def test_dose_grid(tmp_path):
    voxels = samples.volume(dtype=np.uint32)
    dataset = samples.placed(
        voxels,
        (0, 0, 5),
        Modality="RTDOSE",
        GridFrameOffsetVector=[0, 2, 4, 6, 8, 10],
        DoseGridScaling=0.25,
        DoseUnits="GY",
    )
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    assert source.dtype == np.float64
    assert np.array_equal(everything(source), as_image(voxels[None] * 0.25))
    assert source.affine[:3, 3] == pytest.approx([0, 0, 5])
    assert source.metadata["dose_units"] == "GY"


def segmentation(path, places, bits=8, spacing=2.0, **elements):
    """Segments with planes at (segment, slice); each plane holds its own number."""
    pixels = np.stack([np.full((8, 8), n + 1, np.uint8) for n in range(len(places))])
    frames = [
        samples.frame_groups(
            spacing * z, SegmentIdentificationSequence=samples.group(ReferencedSegmentNumber=s)
        )
        for s, z in places
    ]
    dataset = samples.enhanced(
        pixels, frames, samples.shared_groups(), SOPClassUID=samples.SEG, Modality="SEG"
    )
    dataset.SegmentationType = "LABELMAP"
    samples.put(dataset, elements)
    if bits == 1:
        dataset.SegmentationType = "BINARY"
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = 0
        dataset.PixelData = np.packbits(pixels.ravel() % 2, bitorder="little").tobytes()
    return samples.save(dataset, path)


def test_segments_are_channels_and_absent_planes_are_empty(tmp_path):
    places = [(1, 0), (1, 1), (2, 1), (2, 4)]
    source = open_source(segmentation(tmp_path / "a.dcm", places))
    assert source.shape == (2, 8, 8, 5)
    assert source.metadata["segment"] == (1, 2)
    found = everything(source)[:, 0, 0]
    assert found.tolist() == [[1, 2, 0, 0, 0], [0, 3, 0, 0, 4]]


def test_fractions_are_shares_of_the_largest(tmp_path):
    """PS3.3, C.8.20.2.3."""
    stated = {"SegmentationType": "FRACTIONAL", "SegmentationFractionalType": "PROBABILITY"}
    places = [(1, 0), (1, 1), (2, 1), (2, 4)]
    path = segmentation(tmp_path / "a.dcm", places, MaximumFractionalValue=4, **stated)
    source = open_source(path)
    found = everything(source)[:, 0, 0]
    assert found.tolist() == [[0.25, 0.5, 0, 0, 0], [0, 0.75, 0, 0, 1]]
    assert source.metadata["maximum_fractional_value"] == 4
    assert source.metadata["segmentation_fractional_type"] == "PROBABILITY"
    path = segmentation(tmp_path / "b.dcm", places, **stated)
    with pytest.warns(VoxarrayWarning, match="which number stands for 1"):
        assert everything(open_source(path)).max() == 4


def test_binary_segments(tmp_path):
    source = open_source(segmentation(tmp_path / "a.dcm", [(1, 0), (1, 1), (1, 2)], bits=1))
    assert everything(source)[0, 3, 3].tolist() == [1, 0, 1]
    assert source.dtype == np.uint8


@pytest.mark.parametrize("size", [(5, 7), (3, 5), (7, 9), (1, 1), (6, 5)])
@pytest.mark.parametrize("signed", [0, 1])
def test_binary_segments_that_begin_within_a_byte(tmp_path, size, signed):
    """PS3.5, 8.1.1: nothing is put between the bits of one frame and those of the next."""
    path = segmentation(tmp_path / "a.dcm", [(1, z) for z in range(9)], bits=1)
    pixels = np.random.default_rng(0).integers(0, 2, (9, *size), np.uint8)
    dataset = pydicom.dcmread(path)
    dataset.Rows, dataset.Columns = size
    dataset.PixelRepresentation = signed
    packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + bytes(len(packed) % 2)
    dataset.save_as(path)
    source = open_source(path)
    assert np.array_equal(everything(source), as_image(pixels[None]))
    box = Selection((range(1), range(size[1] - 1, -1, -2), range(size[0] // 2, size[0]), range(9)))
    expected = as_image(pixels[None])[:, ::-2, size[0] // 2 :]
    assert np.array_equal(source.read(box), expected)


def test_segments_off_their_spacing(tmp_path):
    path = segmentation(tmp_path / "a.dcm", [(1, 0), (1, 1), (1, 2.5)])
    refused("NON_UNIFORM_SPACING", path, "multiples of 2 mm")
    path = segmentation(tmp_path / "b.dcm", [(1, 0), (1, 0), (1, 1)])
    refused("DUPLICATE_POSITION", path, "segment 1 has two planes at slice 0")


# --- Colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_are_channels(tmp_path, planar):
    colours = np.random.default_rng(1).integers(0, 255, (3, 6, 5, 4), np.uint8)
    for z in range(6):
        plane = colours[:, z] if planar else colours[:, z].transpose(1, 2, 0)
        dataset = samples.placed(colours[0, z], (0, 0, 2.0 * z), z + 1)
        dataset.SamplesPerPixel = 3
        dataset.PhotometricInterpretation = "RGB"
        dataset.PlanarConfiguration = planar
        dataset.PixelData = plane.tobytes()
        samples.save(dataset, tmp_path / f"{z}.dcm")
    source = open_source(tmp_path)
    assert source.shape == (3, 4, 5, 6)
    assert np.array_equal(everything(source), as_image(colours))
    part = Selection((range(2, 0, -1), range(1, 3), range(0, 5, 2), range(5, 2, -1)))
    assert np.array_equal(source.read(part), as_image(colours)[part.slices()])
