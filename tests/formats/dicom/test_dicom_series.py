"""Which DICOM files make one image, what their numbers mean, and which files are refused."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_samples as samples
import voxarray as vx
from voxarray.core.errors import FormatError, SourceChangedError, TruncatedError, VoxarrayError
from voxarray.formats.dicom import source as dicom_source
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.storage.file_identity import FileIdentity


def everything(source):
    return source.read(Selection.whole(source.shape))


def as_image(voxels):
    """(D, H, W) as (1, W, H, D)."""
    return voxels.transpose(2, 1, 0)[None]


# --- Refusals -------------------------------------------------------------------------------------


def refused(code, path, match, reader=None):
    with pytest.raises(VoxarrayError, match=match) as caught:
        (reader or vx.DicomReader()).open(path)
    assert caught.value.code == code
    assert isinstance(caught.value, FormatError)
    assert caught.value.path is not None


def test_several_series_are_listed_and_chosen(tmp_path):
    first, second = samples.volume(), samples.volume()[:4] + 1
    other = samples.generate_uid()
    samples.series(tmp_path / "a", first)
    samples.series(
        tmp_path / "b",
        second.astype(np.int16),
        SeriesInstanceUID=other,
        SeriesNumber=7,
        SeriesDescription="thin",
    )
    for path in (tmp_path / "b").iterdir():
        path.rename(tmp_path / "a" / f"b{path.name}")
    folder = tmp_path / "a"
    refused("MULTIPLE_SERIES", folder, r"list_series\(path\) has the UIDs")
    refused("MULTIPLE_SERIES", folder, r"2 series: number 1 \(CT, 6 images of 4 x 5\); number 7")
    for wanted in (7, other, "thin"):
        image = vx.ScalarImage(folder, reader=vx.DicomReader(series=wanted))
        assert image.shape == (1, 4, 5, 4)
        assert np.array_equal(image.numpy(), as_image(second))
    refused("UNKNOWN_SERIES", folder, "there are number 1", vx.DicomReader(series=3))
    assert [s.number for s in vx.DicomReader().list_series(folder)] == [1, 7]
    voxels, affine = vx.DicomReader(series=7)(folder)
    assert np.array_equal(voxels, as_image(second))
    assert affine.shape == (4, 4)


def test_series_of_the_same_number(tmp_path):
    samples.series(tmp_path)
    dataset = samples.placed(
        samples.volume()[0], (0, 0, 0), SeriesInstanceUID=samples.generate_uid()
    )
    samples.save(dataset, tmp_path / "other.dcm")
    refused("MULTIPLE_SERIES", tmp_path, "by its UID", vx.DicomReader(series=1))


def test_two_copies_of_a_series_are_refused(tmp_path):
    for path in samples.series(tmp_path):
        (tmp_path / f"copy_{path.name}").write_bytes(path.read_bytes())
    refused("DUPLICATE_POSITION", tmp_path, "at one position, and some share an Instance Number")


def test_a_localizer_among_slices(tmp_path):
    samples.series(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    scout = samples.placed(
        samples.volume()[0],
        (0, 0, 0),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
    )
    samples.save(scout, tmp_path / "scout.dcm")
    refused("LOCALIZER", tmp_path, "1 of 7 planes is a localizer")


def test_mixed_size(tmp_path):
    samples.series(tmp_path)
    samples.save(samples.placed(samples.volume(1, 6, 6)[0], (0, 0, 42)), tmp_path / "large.dcm")
    refused("MIXED_SIZE", tmp_path, "6 of 4 x 5, 1 of 6 x 6")


def test_mixed_dtype(tmp_path):
    samples.series(tmp_path)
    samples.save(
        samples.placed(samples.volume(1, dtype=np.uint16)[0], (0, 0, 42)), tmp_path / "u.dcm"
    )
    refused("MIXED_DTYPE", tmp_path, "6 of int16 x 1, 1 of uint16 x 1")


def test_no_pixel_data(tmp_path):
    report = samples.save(samples.empty(samples.REPORT), tmp_path / "report.dcm")
    refused("NO_PIXEL_DATA", report, "1 of 1 files holds no pixels")
    samples.series(tmp_path)
    refused("NO_PIXEL_DATA", tmp_path, "1 of 7 files holds no pixels")


def test_reports_in_another_series_are_no_images(tmp_path):
    samples.series(tmp_path)
    report = samples.empty(samples.REPORT, SeriesInstanceUID=samples.generate_uid())
    samples.save(report, tmp_path / "report.dcm")
    assert open_source(tmp_path).shape == (1, 4, 5, 6)


def test_a_series_with_a_plane_without_position_is_refused(tmp_path):
    samples.series(tmp_path, each=lambda z: {"ImagePositionPatient": None} if z == 1 else {})
    refused("NO_POSITION", tmp_path, "1 of 6 planes does not say where")


def test_several_pictures_are_no_volume(tmp_path):
    for n in range(2):
        samples.save(samples.plane(samples.volume()[n]), tmp_path / f"{n}.dcm")
    refused("NO_POSITION", tmp_path, "open the files one by one")


def test_a_table_of_intensities(tmp_path):
    table = samples.item(ModalityLUTType="OD", LUTDescriptor=[2, 0, 16])
    samples.series(tmp_path, ModalityLUTSequence=samples.Sequence([table]))
    refused("MODALITY_LUT", tmp_path, "table")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.dcm", b"no"), ("IM_0001", b"\0" * 4000), ("1.2.840.1", b""), ("b.IMA", b"text")],
)
def test_what_should_be_dicom_and_is_not(tmp_path, name, content):
    samples.series(tmp_path)
    (tmp_path / name).write_bytes(content)
    refused("NOT_DICOM", tmp_path, "no DICM at byte 128")


def test_a_file_that_is_not_dicom(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"\0" * 500)
    refused("NOT_DICOM", tmp_path / "a.dcm", "force=True")


def test_what_is_clearly_not_dicom_is_ignored(tmp_path):
    samples.series(tmp_path)
    for name in (".DS_Store", "notes.txt", "Thumbs.db", "scan.nii.gz", "README"):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "folder").mkdir()
    assert open_source(tmp_path).shape == (1, 4, 5, 6)


def test_a_list_of_files(tmp_path):
    paths = samples.series(tmp_path)
    source = vx.DicomReader().open(paths[1:4])
    assert source.shape == (1, 4, 5, 3)
    assert source.affine[2, 3] == pytest.approx(32)


def test_names_without_suffixes(tmp_path):
    for n, path in enumerate(samples.series(tmp_path)):
        path.rename(tmp_path / f"1.2.840.{n}")
    assert open_source(tmp_path).shape == (1, 4, 5, 6)
    assert vx.ScalarImage(tmp_path / "1.2.840.3").shape == (1, 4, 5, 1)


@pytest.mark.parametrize("cut", [1, 20, 39])
def test_truncated_pixels(tmp_path, cut):
    path = samples.series(tmp_path)[3]
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(TruncatedError, match=r"expected 40 bytes of pixels .* got") as caught:
        open_source(tmp_path)
    assert caught.value.path == str(path)


def test_any_cut_header_is_refused(tmp_path):
    whole = samples.series(tmp_path)[0].read_bytes()
    path = tmp_path / "cut" / "a.dcm"
    path.parent.mkdir()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            open_source(path)


# --- Reading --------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch):
    """Paths of the files that reading opens."""
    paths = []
    original = FileIdentity.open

    def counted(self):
        paths.append(self.path)
        return original(self)

    monkeypatch.setattr(FileIdentity, "open", counted)
    return paths


def test_only_the_files_of_a_slab_are_read(tmp_path, opened):
    paths = samples.series(tmp_path, samples.volume(20))
    image = vx.ScalarImage(tmp_path)
    assert image.shape  # headers of all files are read
    opened.clear()
    part = image[1:3, :, 4:6]
    assert part.shape == (1, 2, 5, 2)
    assert repr(part)
    assert opened == []
    assert np.array_equal(part.numpy(), as_image(samples.volume(20))[:, 1:3, :, 4:6])
    assert sorted(opened) == sorted(str(paths[z]) for z in (4, 5))


def test_one_plane_of_five_hundred_slices_reads_one_file(tmp_path, opened):
    paths = samples.series(tmp_path, samples.volume(500))
    image = vx.ScalarImage(tmp_path)
    assert image.shape
    opened.clear()
    plane = image[..., 321]
    assert opened == []
    assert np.array_equal(plane.numpy(), as_image(samples.volume(500))[..., 321:322])
    assert opened == [str(paths[321])]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_box(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("series")
    voxels = samples.volume(5, 4, 6)
    samples.series(folder, voxels)
    source = open_source(folder)
    ranges = []
    for size in source.shape:
        start, stop = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
        taken = range(size)[start : max(stop, start + 1)][:: data.draw(st.sampled_from([1, 2, -1]))]
        ranges.append(taken if len(taken) else range(1))
    selection = Selection(tuple(ranges))
    assert np.array_equal(source.read(selection), as_image(voxels)[selection.slices()])


def test_shared_rescale_is_a_scaling(tmp_path):
    voxels = samples.volume()
    samples.series(tmp_path, voxels, RescaleSlope=2.5, RescaleIntercept=-1024)
    source = open_source(tmp_path)
    assert source.dtype == np.float32
    assert (source.scaling.slope, source.scaling.intercept) == (2.5, -1024)
    assert np.array_equal(everything(source), as_image((voxels * 2.5 - 1024).astype(np.float32)))
    stored = source.unscaled()
    assert stored.dtype == np.int16
    assert stored.token() != source.token()
    assert np.array_equal(everything(stored), as_image(voxels))


def test_rescale_of_each_slice(tmp_path):
    voxels = samples.volume(dtype=np.uint16)
    slopes = [round(0.1 * (z + 1), 2) for z in range(6)]
    samples.series(
        tmp_path, voxels, each=lambda z: {"RescaleSlope": slopes[z], "RescaleIntercept": z}
    )
    source = open_source(tmp_path)
    assert source.scaling is None
    assert source.unscaled() is source
    expected = voxels * np.reshape(slopes, (6, 1, 1)) + np.arange(6).reshape(6, 1, 1)
    assert np.array_equal(everything(source), as_image(expected.astype(np.float32)))
    array, _ = samples.by_sitk(tmp_path)
    np.testing.assert_allclose(everything(source), as_image(array), rtol=1e-6)


def test_unused_bits_are_no_values(tmp_path):
    """Twelve bits are stored; what stands above them is an old overlay, or a forgotten sign."""
    raw = np.array([[0x0FFF, 0xF801], [0x8800, 0x1000]], np.uint16)
    for kind, expected in (("u", [[4095, 2049], [2048, 0]]), ("i", [[-1, -2047], [-2048, 0]])):
        dataset = samples.placed(raw.view(f"{kind}2"), (0, 0, 0), BitsStored=12, HighBit=11)
        path = samples.save(dataset, tmp_path / f"{kind}.dcm")
        assert everything(open_source(path))[0, :, :, 0].T.tolist() == expected
        assert np.array_equal(
            sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0], np.array(expected)
        )


@pytest.mark.parametrize("how", ["append", "touch", "replace", "delete"])
def test_a_file_that_changed(tmp_path, how):
    path = samples.series(tmp_path)[2]
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    content = path.read_bytes()
    if how == "append":
        path.write_bytes(content + b"\0")
    elif how == "touch":
        os.utime(path, ns=(1, 1))
    elif how == "delete":
        path.unlink()
    else:
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").rename(path)
    assert source.read(Selection.box((0, 1), (0, 4), (0, 5), (0, 2))).shape == (1, 4, 5, 2)
    with pytest.raises(SourceChangedError) as caught:
        everything(source)
    assert caught.value.path == str(path)


def test_pickled_and_shared(tmp_path):
    samples.series(tmp_path)
    source = open_source(tmp_path)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.token() == source.token() == open_source(tmp_path).token()
    assert np.array_equal(everything(copy), everything(source))
    assert dict(copy.metadata) == dict(source.metadata)


def test_the_folder_stays_as_it_is(tmp_path):
    samples.series(tmp_path)
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.iterdir()}
    tmp_path.chmod(0o555)
    try:
        vx.ScalarImage(tmp_path).load()
    finally:
        tmp_path.chmod(0o755)
    assert before == {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.iterdir()}


def test_opening_reads_headers_only(tmp_path, monkeypatch):
    reads = []
    original = os.pread

    def counted(fd, size, offset):
        data = original(fd, size, offset)
        reads.append(len(data))
        return data

    samples.series(tmp_path, samples.volume(30, 256, 256))
    monkeypatch.setattr(os, "pread", counted)
    open_source(tmp_path)
    assert sum(reads) <= 30 * (2 * (1 << 16) + 4)


def test_blocks_are_planes_until_there_are_too_many(tmp_path, monkeypatch):
    samples.series(tmp_path)
    assert open_source(tmp_path).chunks == (1, 4, 5, 1)
    monkeypatch.setattr(dicom_source, "MOST_BLOCKS", 5)
    assert open_source(tmp_path).chunks == (1, 4, 5, 6)
