"""Real files, compressed ones, what the registry and the command line make of them, and damage."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless

import dicom_coverage
import dicom_samples as samples
import voxarray as vx
from voxarray.cli.main import main
from voxarray.core.errors import (
    FormatError,
    TruncatedError,
    UnsupportedError,
    VoxarrayError,
    VoxarrayWarning,
)
from voxarray.formats.dicom.header import read_header
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.source.block_cache import BLOCKS
from voxarray.testing.counting import count_reads

SHARED = Path(__file__).parents[3] / "../shared/data"
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no scans in {SHARED}")


def everything(source):
    return source.read(Selection.whole(source.shape))


def as_image(voxels):
    return voxels.transpose(2, 1, 0)[None]


# --- Real scans -----------------------------------------------------------------------------------


@needs_shared
def test_ge_time_series_is_dcm2niix_s():
    """In world space: dcm2niix turns rows round."""
    source = open_source(SHARED / "dicom_ge_epi")
    reference = nib.load(SHARED / "dicom_reference" / "ge_epi_dcm2niix.nii.gz")
    expected = np.asarray(reference.dataobj)
    assert source.shape == (10, 64, 64, 15)
    assert source.channels.kind == "time"
    assert source.channels.step == pytest.approx(reference.header.get_zooms()[3])
    voxels = everything(source)
    index = np.stack(np.meshgrid(*map(np.arange, source.shape[1:]), indexing="ij"), -1)
    world = index.reshape(-1, 3) @ source.affine[:3, :3].T + source.affine[:3, 3]
    inverse = np.linalg.inv(reference.affine)
    there = world @ inverse[:3, :3].T + inverse[:3, 3]
    i, j, k = np.rint(there).astype(int).T
    assert np.abs(there - np.rint(there)).max() < 1e-4
    assert np.array_equal(expected[i, j, k].T.ravel(), voxels.reshape(10, -1).ravel())


@needs_shared
def test_philips_enhanced():
    path = SHARED / "dicom_enhanced" / "philips_fmap.dcm"
    source = open_source(path)
    pixels = pydicom.dcmread(path).pixel_array.reshape(2, 32, 64, 64)
    expected = np.stack([pixels[0] * 1.27985347985347, pixels[1] * 0.24420024420024 - 500])
    assert np.array_equal(everything(source), expected.astype(np.float32).transpose(0, 3, 2, 1))
    assert source.metadata["complex_component"] == ("MAGNITUDE", "REAL")
    assert source.grid.spacing == pytest.approx((4, 4, 4))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_table_of_bundled_files_is_true():
    pytest.importorskip("openjpeg", reason="the table needs the extra dicom")
    pytest.importorskip("jpeg_ls", reason="the table needs the extra dicom")
    pytest.importorskip("PIL", reason="the table needs the extra plot")
    versions = f"pydicom {pydicom.__version__}, nibabel {nib.__version__} "
    if versions not in dicom_coverage.TABLE.read_text().replace("\n", " "):
        pytest.skip("the table is of other versions of pydicom and nibabel")
    if "gdcm" in sys.modules:
        pytest.skip("the table is without GDCM")
    assert dicom_coverage.table() == dicom_coverage.TABLE.read_text()
    assert "differs" not in dicom_coverage.TABLE.read_text()


# --- Compressed pixels ----------------------------------------------------------------------------


def compressed(path, voxels, syntax=RLELossless):
    for z, pixels in enumerate(voxels):
        dataset = samples.placed(pixels, (0, 0, 2.0 * z), z + 1)
        dataset.compress(syntax)
        samples.save(dataset, path / f"{z}.dcm")


def test_compressed_planes_are_decoded_once(tmp_path):
    voxels = samples.volume(6, 32, 32)
    compressed(tmp_path, voxels)
    source = open_source(tmp_path)
    before = BLOCKS.blocks_made
    part = Selection.box((0, 1), (3, 9), (0, 32), (2, 4))
    for _ in range(2):
        assert np.array_equal(source.read(part), as_image(voxels)[part.slices()])
    assert BLOCKS.blocks_made == before + 2
    # What is read as a whole is not kept beside the result.
    assert np.array_equal(everything(source), as_image(voxels))
    assert BLOCKS.blocks_made == before + 2


def test_compressed_frames(tmp_path):
    voxels = samples.volume(6, 32, 32)
    dataset = samples.enhanced(
        voxels, [samples.frame_groups(2.0 * z) for z in range(6)], samples.shared_groups()
    )
    dataset.compress(RLELossless)
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    assert np.array_equal(everything(source), as_image(voxels))


@pytest.mark.parametrize("cut", [1, 8, 9, 40])
def test_compressed_and_cut(tmp_path, cut):
    compressed(tmp_path, samples.volume(1, 32, 32))
    path = tmp_path / "0.dcm"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(TruncatedError, match="compressed pixels"):
        open_source(path)


def test_compressed_and_damaged(tmp_path):
    compressed(tmp_path, samples.volume(1, 32, 32))
    path = tmp_path / "0.dcm"
    content = bytearray(path.read_bytes())
    start = read_header(str(path)).layout.element.offset
    content[start + 20 : start + 90] = bytes([255]) * 70  # the header of the run lengths
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        everything(open_source(path))
    assert caught.value.code == "BAD_PIXEL_DATA"


def lossless_jpeg(path, voxels):
    """A file of lossless JPEG that SimpleITK writes, of one frame or several (D, H, W)."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(path))
    writer.Execute(sitk.GetImageFromArray(voxels))
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
    return path


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_lossless_jpeg_is_decoded_through_simpleitk(tmp_path, dtype, depth):
    if dtype == np.int16 and depth > 1:
        pytest.skip("SimpleITK does not write it")
    range_ = np.iinfo(dtype)
    voxels = np.random.default_rng(0).integers(range_.min, range_.max, (depth, 32, 24), dtype)
    source = open_source(lossless_jpeg(tmp_path / "a.dcm", voxels))
    assert np.array_equal(everything(source), as_image(voxels))
    part = Selection.box((0, 1), (3, 9), (1, 32), (0, 1))
    assert np.array_equal(source.read(part), as_image(voxels)[part.slices()])


def test_lossless_jpeg_of_colours(tmp_path):
    path = BUNDLED / "SC_rgb_jpeg_gdcm.dcm"
    source = open_source(path)
    assert source.metadata["modality"] == "OT"
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert np.array_equal(everything(source), expected.transpose(3, 2, 1, 0))


def test_damaged_lossless_jpeg(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (1, 32, 24), np.uint8)
    path = lossless_jpeg(tmp_path / "a.dcm", voxels)
    content = bytearray(path.read_bytes())
    start = content.index(b"\xff\xd8\xff")
    content[start + 2 : start + 60] = bytes(58)
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        everything(open_source(path))
    assert caught.value.code == "BAD_PIXEL_DATA"


def test_a_missing_codec_is_named(tmp_path):
    dataset = pydicom.dcmread(BUNDLED / "SC_rgb_jpeg_gdcm.dcm")
    dataset.PhotometricInterpretation = "YBR_FULL"  # SimpleITK would convert it to RGB
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    with pytest.raises(
        UnsupportedError, match="Install one with pip: python-gdcm, or pylibjpeg-libjpeg"
    ):
        everything(source)


def test_half_a_codec_is_named():
    with pytest.raises(UnsupportedError, match=r"JPEG Extended.*Install one with pip") as caught:
        everything(open_source(BUNDLED / "JPEG-lossy.dcm"))
    assert caught.value.code == "NO_CODEC"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.3", "Smith^John"])
def test_unknown_transfer_syntaxes(tmp_path, syntax):
    compressed(tmp_path, samples.volume(1, 32, 32))
    path = tmp_path / "0.dcm"
    content = path.read_bytes()
    old = RLELossless.encode()
    start = content.index(old)
    room = len(old) + len(old) % 2
    path.write_bytes(
        content[:start] + syntax.encode()[:room].ljust(room, b"\0") + content[start + room :]
    )
    with warnings.catch_warnings(record=True) as warned, pytest.raises(UnsupportedError) as caught:
        everything(open_source(path))
    assert caught.value.code == "NO_CODEC"
    assert not warned
    assert "Smith" not in str(caught.value)


# --- Registry, command line, imports --------------------------------------------------------------


def test_an_image_counts(tmp_path):
    samples.series(tmp_path)
    with count_reads() as reads:
        image = vx.ScalarImage(tmp_path)[1:3]
        assert image.shape == (1, 2, 5, 6)
        assert reads.voxels == 0
        image.load()
    assert reads.voxels == 60


def test_without_suffix(tmp_path):
    path = samples.save(samples.placed(samples.volume()[0], (0, 0, 0)), tmp_path / "IM0001")
    assert open_source(path).shape == (1, 4, 5, 1)
    path = path.rename(tmp_path / "scan.xyz")
    assert open_source(path).shape == (1, 4, 5, 1)


def test_a_folder_without_images(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UnsupportedError, match="no DICOM files") as caught:
        open_source(tmp_path)
    assert caught.value.code == "UNKNOWN_DIRECTORY"


def test_command_line(tmp_path):
    voxels = samples.volume()
    samples.series(tmp_path / "study" / "ct.1.2.840", voxels)
    samples.series(tmp_path / "study" / "deep" / "mr", voxels + np.int16(1))
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "study" / "scan.nii")
    run = CliRunner().invoke(main, ["convert", str(tmp_path / "study"), str(tmp_path / "out")])
    assert run.exit_code == 0, run.output
    made = sorted((tmp_path / "out").rglob("*.ome.zarr"))
    assert [path.name.rpartition("-")[0] for path in made] == ["ct.1.2.840", "deep-mr", "scan"]
    archived = vx.ScalarImage(made[1])
    assert np.array_equal(archived.numpy(), as_image(voxels + 1))
    one = str(tmp_path / "study" / "deep" / "mr")
    run = CliRunner().invoke(main, ["convert", one, str(tmp_path / "one")])
    assert run.exit_code == 0, run.output
    assert len(list((tmp_path / "one").rglob("mr*.ome.zarr"))) == 1
    run = CliRunner().invoke(main, ["info", one])
    assert "(1, 4, 5, 6)" in run.output


def test_info_says_the_modality_and_what_series_there_are(tmp_path):
    samples.series(tmp_path / "one", Modality="MR")
    said = CliRunner().invoke(main, ["info", str(tmp_path / "one")]).output
    assert re.search(r"^  modality +MR$", said, re.MULTILINE)
    run = CliRunner().invoke(main, ["convert", str(tmp_path / "one"), str(tmp_path / "a.ome.zarr")])
    assert run.exit_code == 0, run.output
    for number in (1, 2):
        uid = {"SeriesInstanceUID": f"1.2.{number}", "SeriesNumber": number}
        for path in samples.series(tmp_path / f"in-{number}", **uid):
            path.rename(tmp_path / "one" / f"{number}-{path.name}")
    said = CliRunner().invoke(main, ["info", str(tmp_path / "one")])
    assert said.exit_code == 1
    assert "MULTIPLE_SERIES" in said.output
    assert re.search(r"number 1 \(CT.*number 2 \(CT", said.output, re.DOTALL)


def test_pydicom_is_not_loaded_to_open(tmp_path):
    samples.series(tmp_path)
    code = (
        "import sys, voxarray as vx; vx.ScalarImage(sys.argv[1]).shape;"
        "print(sorted({'pydicom', 'torch', 'xarray', 'SimpleITK'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_a_thousand_headers_in_two_seconds(tmp_path):
    dataset = samples.placed(samples.volume()[0], (0, 0, 1000.5), 1, PatientName="A^B")
    content = samples.save(dataset, tmp_path / "0").read_bytes()
    assert content.count(b"1000.5") == 1
    for z in range(1000):
        (tmp_path / str(z)).write_bytes(content.replace(b"1000.5", b"%d.5" % (1000 + z)))
    began = time.process_time()
    assert open_source(tmp_path).shape == (1, 4, 5, 1000)
    assert time.process_time() - began < 2


def test_read_in_a_forked_child(tmp_path):
    compressed(tmp_path, samples.volume(2, 32, 32))
    image = vx.ScalarImage(tmp_path)
    expected = float(image.source.read(Selection.whole(image.shape)).sum())
    child = os.fork()
    if child == 0:
        found = float(image.source.read(Selection.whole(image.shape)).sum())
        os._exit(0 if found == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


# --- Damage ---------------------------------------------------------------------------------------


def opened_or_refused(path):
    with contextlib.suppress(VoxarrayError):
        everything(open_source(path))


@pytest.fixture(scope="module")
def victims(tmp_path_factory):
    """Contents of a classic and of an enhanced file."""
    folder = tmp_path_factory.mktemp("victims")
    classic = samples.save(samples.placed(samples.volume()[0], (0, 0, 0)), folder / "a.dcm")
    dataset = samples.enhanced(
        samples.volume(3),
        [samples.frame_groups(2.0 * z) for z in range(3)],
        samples.shared_groups(),
    )
    return [path.read_bytes() for path in (classic, samples.save(dataset, folder / "b.dcm"))]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_bytes_changed_anywhere(victims, tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(victims)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(132, len(content) - 4))
        content[start : start + 4] = data.draw(
            st.one_of(
                st.binary(min_size=4, max_size=4),
                st.sampled_from([b"\xff" * 4, b"\0" * 4, struct.pack("<I", 1 << 31)]),
            )
        )
    path = tmp_path_factory.mktemp("damaged") / "a.dcm"
    path.write_bytes(content)
    opened_or_refused(path)


POINTERS = [0x00181063, 0x3004000C, 0x00540080, [0x00540020, 0x00540080], 0x00280010]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_numbers_that_make_no_sense(tmp_path_factory, data):
    numbers = st.sampled_from([0, 1, -1, 1e300, -1e-300, 0.5, 7])
    elements = {
        "ImagePositionPatient": [data.draw(numbers) for _ in range(3)],
        "ImageOrientationPatient": [data.draw(numbers) for _ in range(6)],
        "PixelSpacing": [data.draw(numbers) for _ in range(2)],
        "RescaleSlope": data.draw(numbers),
        "SliceThickness": data.draw(numbers),
        "Rows": data.draw(st.sampled_from([0, 1, 5, 65535])),
        "NumberOfFrames": data.draw(st.sampled_from([0, 1, 2, 2**31 - 1])),
        "BitsStored": data.draw(st.sampled_from([0, 1, 12, 16, 17])),
        "SpacingBetweenSlices": data.draw(numbers),
        "AcquisitionMatrix": data.draw(st.sampled_from([[], [5], [0, 1, 1, 0], [65535] * 4])),
        "FrameTime": data.draw(numbers),
        "PixelAspectRatio": data.draw(st.sampled_from([["0", "0"], ["1"], ["-3", "2"]])),
        "NominalScannedPixelSpacing": [data.draw(numbers) for _ in range(2)],
        "GridFrameOffsetVector": [data.draw(numbers) for _ in range(data.draw(st.integers(1, 3)))],
        "FrameIncrementPointer": data.draw(st.sampled_from(POINTERS)),
        "SliceVector": data.draw(st.sampled_from([[0], [1, 2], [65535, 1], []])),
        "DetectorVector": data.draw(st.sampled_from([[0], [1, 0], [3, 1]])),
        "TotalPixelMatrixColumns": data.draw(st.sampled_from([0, 4, 9])),
        "SequenceOfUltrasoundRegions": [
            samples.item(
                PhysicalDeltaX=float(data.draw(numbers)),
                PhysicalUnitsXDirection=3,
                PhysicalUnitsYDirection=3,
                RegionSpatialFormat=1,
            )
        ],
        "DetectorInformationSequence": [samples.item(ImagePositionPatient=[1, 2, 3])],
        "SegmentationType": "FRACTIONAL",
        "MaximumFractionalValue": data.draw(st.sampled_from([0, 1, 65535])),
    }
    chosen = {k: v for k, v in elements.items() if data.draw(st.booleans())}
    pixels = samples.volume(2) if data.draw(st.booleans()) else samples.volume()[0]
    lacking = data.draw(st.sets(st.sampled_from(["ImagePositionPatient", "PixelSpacing"])))
    dataset = samples.placed(pixels, (0, 0, 0), **(dict.fromkeys(lacking) | chosen))
    path = samples.save(dataset, tmp_path_factory.mktemp("nonsense") / "a.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        opened_or_refused(path)


def test_nested_without_end(tmp_path):
    deep = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 3000
    path = samples.save(samples.empty(), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:400][:144] + deep)
    with pytest.raises(FormatError):
        open_source(path)


def test_inverted_greys_are_left_as_they_are_and_said(tmp_path):
    """Photometric Interpretation MONOCHROME1: small values are shown bright."""
    pixels = samples.volume(1)[0].astype(np.uint16)
    elements = {"PhotometricInterpretation": "MONOCHROME1"}
    path = samples.save(samples.placed(pixels, (0, 0, 0), **elements), tmp_path / "a.dcm")
    with pytest.warns(VoxarrayWarning, match=r"MONOCHROME1: small values .* SimpleITK inverts"):
        source = open_source(path)
    np.testing.assert_array_equal(everything(source)[0, :, :, 0].T, pixels)
    inverted = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    assert (inverted.astype(int) + pixels == inverted[0, 0]).all()
    assert source.metadata["photometric_interpretation"] == "MONOCHROME1"
