"""Siemens mosaics: two of a scanner's files, which nibabel ships without their pixels."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

import dicom_samples as samples
from header_samples import everything
from voxarray.core.errors import UnsupportedError, VoxarrayWarning
from voxarray.formats.dicom.read import DicomReader
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.storage import raw_voxels

with warnings.catch_warnings():  # nibabel's DICOM is experimental, it says
    warnings.simplefilter("ignore", UserWarning)
    from nibabel.nicom.dicomwrappers import wrapper_from_file

DATA = Path(nib.__file__).parent / "nicom/tests/data"
FILES = ["siemens_dwi_0", "siemens_dwi_1000"]
DCM2NIIX = Path(sys.executable).parent / "dcm2niix"
TO_RAS = np.diag([-1.0, -1, 1, 1])
CSA = (0x0029, 0x1010)


def scan(path, name=FILES[0], seed=0, **elements):
    """A scanner's file with pixels in it, of 12 bits; the one tile that holds no slice is empty."""
    with warnings.catch_warnings(), gzip.open(DATA / f"{name}.dcm.gz") as file:
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(file)
        samples.put(dataset, elements)
        pixels = np.random.default_rng(seed).integers(0, 4096, (dataset.Rows, dataset.Columns))
        pixels[-128:, -128:] = 0
        dataset.PixelData = pixels.astype("<u2").tobytes()
        path.parent.mkdir(exist_ok=True)
        dataset.save_as(path)
    return path


def changed(path, change):
    """The same file with something done to its data set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)
    return path


@pytest.mark.parametrize("name", FILES)
def test_voxels_and_place_are_nibabels(tmp_path, name):
    path = scan(tmp_path / "a.dcm", name)
    source = open_source(path)
    theirs = wrapper_from_file(path)
    assert source.shape == (1, 128, 128, 48)
    np.testing.assert_array_equal(everything(source)[0], theirs.get_data().transpose(1, 0, 2))
    # Their first axis counts rows, and their world is DICOM's. Millimetres: the header holds the
    # normal of the slices and the directions in the plane with six decimals.
    affine = (TO_RAS @ theirs.affine)[:, [1, 0, 2, 3]]
    np.testing.assert_allclose(source.affine, affine, rtol=0, atol=3e-4)


@pytest.mark.skipif(not DCM2NIIX.exists(), reason="dcm2niix is not installed")
@pytest.mark.parametrize("name", FILES)
def test_voxels_and_place_are_dcm2niixs(tmp_path, name):
    source = open_source(scan(tmp_path / "in/a.dcm", name))
    command = [DCM2NIIX, "-f", "a", "-o", tmp_path, tmp_path / "in"]
    subprocess.run(command, check=True, capture_output=True)
    theirs = nib.load(tmp_path / "a.nii")
    from_ours = np.linalg.inv(theirs.affine) @ source.affine
    corners = np.stack(np.meshgrid([0, 127], [0, 127], [0, 47], [1])).reshape(4, -1)
    places = (from_ours @ corners)[:3]
    np.testing.assert_allclose(places, np.rint(places), atol=1e-3)
    index = np.indices(source.shape[1:]).reshape(3, -1)
    w, h, d = np.rint(from_ours[:3, :3] @ index + from_ours[:3, 3:]).astype(int)
    values = np.asanyarray(theirs.dataobj)[w, h, d].reshape(source.shape[1:])
    np.testing.assert_array_equal(everything(source)[0], values)


@pytest.mark.parametrize("compressed", [False, True])
def test_parts(tmp_path, compressed):
    path = scan(tmp_path / "a.dcm")
    if compressed:
        changed(path, lambda dataset: dataset.compress(RLELossless))
    source = open_source(path)
    whole = everything(source)
    rng = np.random.default_rng(0)
    for _ in range(10):
        key = tuple(
            range(*sorted(rng.integers(0, n + 1, 2)), int(rng.integers(1, 4)))
            or range(n - 1, -1, -1)
            for n in source.shape
        )
        np.testing.assert_array_equal(source.read(Selection(key)), whole[np.ix_(*key)])


def test_a_slice_reads_its_tile(tmp_path, monkeypatch):
    source = open_source(scan(tmp_path / "a.dcm"))
    assert source.chunks == source.shape  # tiles share rows of pixels, so they are read together
    taken = []
    read = raw_voxels.read_exactly

    def counted(fd, view, start):
        taken.append(len(view))
        read(fd, view, start)

    monkeypatch.setattr(raw_voxels, "read_exactly", counted)
    source.read(Selection.box((0, 1), (0, 128), (0, 128), (7, 8)))
    assert 0 < sum(taken) <= 128 * 896 * 2


def test_a_series_of_them(tmp_path):
    """Diffusion: one volume per file, in the order of acquisition."""
    first = everything(open_source(scan(tmp_path / "a.dcm", FILES[0])))
    second = everything(open_source(scan(tmp_path / "b.dcm", FILES[1], seed=1)))
    uid = pydicom.dcmread(tmp_path / "a.dcm", stop_before_pixels=True).SeriesInstanceUID
    changed(tmp_path / "b.dcm", lambda dataset: setattr(dataset, "SeriesInstanceUID", uid))
    source = open_source(tmp_path)
    assert source.shape == (2, 128, 128, 48)
    np.testing.assert_array_equal(everything(source), np.concatenate([first, second]))
    assert source.metadata["b_value"] == (0.0, 1000.0)


def test_slices_that_run_against_the_normal_of_the_plane(tmp_path):
    """Then the last tile is our first slice, and every voxel stays where it is."""
    path = scan(tmp_path / "a.dcm")
    forward = open_source(path)

    def turn(dataset):
        raw = bytearray(dataset[CSA].value)
        at = raw.index(b"SliceNormalVector") + 84
        for _ in range(3):  # items: four numbers, then text
            length = struct.unpack_from("<4i", raw, at)[1]
            at += 16
            number = -float(raw[at : at + length].split(b"\0")[0])
            raw[at : at + length] = f"{number:.7f}".encode()[: length - 1].ljust(length, b"\0")
            at += length + -length % 4
        dataset[CSA].value = bytes(raw)

    backward = open_source(changed(path, turn))
    theirs = wrapper_from_file(path)
    affine = (TO_RAS @ theirs.affine)[:, [1, 0, 2, 3]]
    last = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 47], [0, 0, 0, 1]])
    np.testing.assert_allclose(backward.affine, last, atol=3e-4)
    np.testing.assert_array_equal(
        everything(backward)[0], theirs.get_data().transpose(1, 0, 2)[:, :, ::-1]
    )
    assert not np.allclose(forward.affine, backward.affine)


def test_texts_of_the_csa_header_are_dropped(tmp_path):
    """The CSA header holds hundreds of texts; none of it is kept."""
    assert b"MrPhoenixProtocol" not in repr(open_source(scan(tmp_path / "a.dcm"))).encode()


BREAKS = {
    "no CSA header": lambda d: d.__delitem__(CSA),
    "SV10": lambda d: setattr(d[CSA], "value", b"\0" * 400),
    "is damaged": lambda d: setattr(d[CSA], "value", d[CSA].value[:1001]),
    "direction": lambda d: setattr(
        d[CSA], "value", d[CSA].value.replace(b"SliceNormalVector", b"SliceNormalVektor")
    ),
    "number of its slices": lambda d: setattr(d[(0x0019, 0x100A)], "value", 47),
    "distance between its slices": lambda d: d.__delitem__("SpacingBetweenSlices"),
    "tiles of one size": lambda d: samples.put(d, {"Rows": 895}),
    "along their normal": lambda d: samples.put(d, {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}),
}


@pytest.mark.parametrize("why", BREAKS)
def test_mosaics_with_missing_facts_are_refused(tmp_path, why):
    path = changed(scan(tmp_path / "a.dcm"), BREAKS[why])
    with pytest.raises(UnsupportedError, match=why) as caught:
        open_source(path)
    assert caught.value.code == "MOSAIC"
    assert "dcm2niix" in str(caught.value)


def without_private(dataset):
    dataset.remove_private_tags()


@pytest.mark.parametrize("name", FILES)
def test_a_mosaic_needs_no_word_in_image_type(tmp_path, name):
    path = scan(tmp_path / "a.dcm", name)
    expected = open_source(path)
    voxels = everything(expected)
    source = open_source(
        changed(path, lambda d: samples.put(d, {"ImageType": ["DERIVED", "SECONDARY"]}))
    )
    np.testing.assert_array_equal(everything(source), voxels)
    np.testing.assert_array_equal(source.affine, expected.affine)


def test_private_blocks_may_have_been_moved(tmp_path):
    path = scan(tmp_path / "a.dcm")
    voxels = everything(open_source(path))

    def move(dataset):
        raw = dataset[CSA].value
        dataset.remove_private_tags()
        dataset.private_block(0x0029, "ANOTHER", create=True).add_new(0x10, "OB", b"no")
        dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", raw)

    np.testing.assert_array_equal(everything(open_source(changed(path, move))), voxels)


def test_the_word_alone_makes_no_mosaic_of_a_slice(tmp_path):
    """Slices that were taken apart keep what their mosaic said of itself."""
    pixels = (np.arange(128 * 128) % 4096).astype(np.uint16).reshape(128, 128)

    def take_apart(dataset):
        dataset.Rows = dataset.Columns = 128
        dataset.PixelData = pixels.tobytes()

    path = changed(scan(tmp_path / "a.dcm"), take_apart)
    assert open_source(path).shape == (1, 128, 128, 1)
    changed(path, without_private)
    source = open_source(path)
    np.testing.assert_array_equal(everything(source)[0, :, :, 0], pixels.T)


def test_the_word_makes_no_mosaic_of_frames(tmp_path):
    dataset = samples.enhanced(
        samples.volume(),
        [samples.frame_groups(2.0 * z) for z in range(6)],
        samples.shared_groups(),
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
    )
    assert open_source(samples.save(dataset, tmp_path / "a.dcm")).shape == (1, 4, 5, 6)
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:1]
    dataset.NumberOfFrames = 1
    assert open_source(samples.save(dataset, tmp_path / "b.dcm")).shape == (1, 4, 5, 1)


def test_a_mosaic_without_private_elements(tmp_path):
    """With the word it is refused; without it, only its size is odd, and that is remarked."""
    path = changed(scan(tmp_path / "a.dcm"), without_private)
    with pytest.raises(UnsupportedError, match="no CSA header"):
        open_source(path)
    changed(path, lambda d: samples.put(d, {"ImageType": ["DERIVED", "SECONDARY"]}))
    with pytest.warns(VoxarrayWarning, match="Acquisition Matrix"):
        assert open_source(path).shape == (1, 896, 896, 1)


def test_a_zero_filled_slice_is_not_remarked(tmp_path):
    dataset = samples.placed(
        samples.volume(1, 512, 512)[0], (0, 0, 0), AcquisitionMatrix=[128, 0, 0, 128]
    )
    path = samples.save(dataset, tmp_path / "a.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_source(path)


def test_an_acquisition_matrix_in_words_is_none(tmp_path):
    dataset = samples.placed(samples.volume()[0], (0, 0, 0))
    dataset.add_new(0x00181310, "SH", "64*64")
    assert open_source(samples.save(dataset, tmp_path / "a.dcm")).shape == (1, 4, 5, 1)


# --- Grids of United Imaging ----------------------------------------------------------------------


def grid(path, voxels, **elements):
    """A plane of tiles (D, H, W), in rows, each with a position; the last ones may be empty."""
    depth, rows, columns = voxels.shape
    across = int(np.ceil(np.sqrt(depth)))
    down = int(np.ceil(depth / across))
    plane = np.zeros((down, across, rows, columns), voxels.dtype)
    plane.reshape(-1, rows, columns)[:depth] = voxels
    dataset = samples.placed(
        plane.transpose(0, 2, 1, 3).reshape(down * rows, across * columns),
        (0, 0, 0),
        ImagePositionPatient=None,
        ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"],
    )
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", str(depth))
    tiles = [samples.item(ImagePositionPatient=[-10, -20, 30 + 4 * z]) for z in range(depth)]
    block.add_new(0x51, "SQ", samples.Sequence(tiles))
    return samples.save(samples.put(dataset, elements), path)


@pytest.mark.parametrize("depth", [2, 4, 6, 20])
@pytest.mark.parametrize("compressed", [False, True])
def test_grids_of_united_imaging(tmp_path, depth, compressed):
    """Compared with dcm2niix on a scanner's files by `make external`."""
    voxels = samples.volume(depth, 6, 7)
    path = grid(tmp_path / "a.dcm", voxels)
    if compressed:
        changed(path, lambda dataset: dataset.compress(RLELossless))
    source = open_source(path)
    np.testing.assert_array_equal(everything(source)[0], voxels.transpose(2, 1, 0))
    expected = TO_RAS @ [[0.75, 0, 0, -10], [0, 0.5, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(source.affine, expected)
    part = Selection.box((0, 1), (2, 5), (1, 6), (depth - 1, depth))
    np.testing.assert_array_equal(source.read(part), everything(source)[part.slices()])


def test_grids_that_do_not_place_their_tiles_are_refused(tmp_path):
    def forget(dataset):
        dataset[0x0065, 0x1051].value[2].ImagePositionPatient = None

    path = changed(grid(tmp_path / "a.dcm", samples.volume(6)), forget)
    with pytest.raises(UnsupportedError, match="the position of 5 of its 6 slices") as caught:
        open_source(path)
    assert caught.value.code == "MOSAIC"
    path = grid(tmp_path / "b.dcm", samples.volume(6), Columns=11)
    with pytest.raises(UnsupportedError, match="do not make 3 x 2 tiles"):
        open_source(path)


def test_slices_that_were_taken_from_a_grid(tmp_path):
    def take_apart(dataset):
        dataset.Rows, dataset.Columns = 5, 4
        dataset.PixelData = samples.volume()[0].tobytes()
        dataset.ImagePositionPatient = [0, 0, 0]
        dataset.AcquisitionMatrix = [5, 0, 0, 4]

    path = changed(grid(tmp_path / "a.dcm", samples.volume(6)), take_apart)
    assert open_source(path).shape == (1, 4, 5, 1)


def test_a_mosaic_of_another_series_is_nobodys_concern(tmp_path):
    changed(scan(tmp_path / "z.dcm"), BREAKS["distance between its slices"])
    samples.series(tmp_path, SeriesNumber=7, SeriesInstanceUID="1.2.7")
    assert DicomReader(series=7).open(tmp_path).shape == (1, 4, 5, 6)
