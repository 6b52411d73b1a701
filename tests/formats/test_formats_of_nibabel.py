"""Formats that nibabel reads, on the files of its own tests and on files that it writes."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import nibabel_coverage
from header_samples import everything, numbers, opened
from voxarray.core.errors import (
    FormatError,
    MissingFileError,
    MissingPackageError,
    SourceChangedError,
    TruncatedError,
)
from voxarray.formats._voxels.file_array import PlainFile
from voxarray.formats._voxels.hdf5_array import Hdf5File
from voxarray.formats._voxels.slice_scaling import PartScaled
from voxarray.formats.minc import netcdf3
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.source.base import Channels

DATA = Path(nib.__file__).parent / "tests/data"
AFFINE = np.array([[0.0, -2, 0.2, 10], [1.5, 0, 0.3, -20], [0, 0.1, 3, 30], [0, 0, 0, 1]])


def test_the_table_of_nibabels_files_is_true():
    made = nibabel_coverage.table()
    assert "**" not in made
    if nib.__version__ in nibabel_coverage.TABLE.read_text():
        assert nibabel_coverage.TABLE.read_text() == made


READABLE = [
    "test.mgz", "tiny.mnc", "minc1_4d.mnc", "minc1_1_scale.mnc", "small.mnc", "minc2_4d.mnc",
    "minc2-4d-d.mnc", "phantom_EPI_asc_CLEAR_2_1.PAR", "phantom_varscale.REC",
    "example4d+orig.HEAD", "scaled+tlrc.BRIK",
]  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_parts(name):
    """Any part is what the same part of the whole is."""
    source, _ = opened(DATA / name)
    whole = everything(source)
    rng = np.random.default_rng(0)
    for _ in range(12):
        starts = [int(rng.integers(n)) for n in source.shape]
        key = tuple(
            slice(start, None, int(rng.integers(1, 4))) if rng.random() < 0.6 else start
            for start in starts
        )
        part = Selection.whole(source.shape)[key]
        assert np.array_equal(source.read(part), whole[part.slices()])
    flipped = Selection.whole(source.shape)[::-1, ::-2, ::-1]
    assert np.array_equal(source.read(flipped), whole[:, ::-1, ::-2, ::-1])


def test_stored_types_stay():
    scaled = {"tiny.mnc": "u1", "phantom_varscale.PAR": "u2", "scaled+tlrc.HEAD": "i2"}
    for name, stored in scaled.items():
        source, _ = opened(DATA / name)
        assert isinstance(source, PartScaled)
        assert source.base.dtype == np.dtype(stored)
        assert source.dtype == np.float32
    assert open_source(DATA / "example4d+orig.HEAD").channels == Channels("time", 3.0)


@pytest.mark.parametrize("cls", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("suffix", [".img", ".img.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "f4", "f8", "i8", "c8"])
def test_nifti_pairs(tmp_path, cls, suffix, dtype):
    array = numbers((4, 5, 6, 2), dtype)
    image = cls(array, AFFINE, dtype=array.dtype)
    nib.save(image, tmp_path / f"a{suffix}")
    for given in (f"a{suffix}", f"a{suffix.replace('img', 'hdr')}"):
        source, _ = opened(tmp_path / given)
        assert np.array_equal(everything(source), np.moveaxis(array, -1, 0))
        assert source.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_allclose(source.affine, nib.load(tmp_path / f"a{suffix}").affine)
    assert isinstance(source, PlainFile) == (suffix == ".img")


@pytest.mark.parametrize("cls", [nib.AnalyzeImage, nib.Spm99AnalyzeImage, nib.Spm2AnalyzeImage])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_analyze(tmp_path, cls, dtype):
    array = (numbers((4, 5, 6), dtype) // 2).astype(dtype)
    image = cls(array, np.diag([2.0, 3, 4, 1]))
    image.set_data_dtype(dtype)
    nib.save(image, tmp_path / "a.img")
    source, _ = opened(tmp_path / "a.hdr")
    loaded = nib.load(tmp_path / "a.img")
    found = everything(source)
    assert np.array_equal(found[0], np.asanyarray(loaded.dataobj).astype(found.dtype))
    np.testing.assert_allclose(source.affine, loaded.affine)


def test_analyze_scaling(tmp_path):
    image = nib.Spm2AnalyzeImage(numbers((4, 5, 6), "f4"), np.eye(4))
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "a.img")
    source, _ = opened(tmp_path / "a.img")
    assert source.unscaled().dtype == np.int16
    assert source.dtype == np.float32
    expected = np.asanyarray(nib.load(tmp_path / "a.img").dataobj)
    np.testing.assert_allclose(everything(source)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4"])
@pytest.mark.parametrize("frames", [1, 3])
def test_mgh(tmp_path, suffix, dtype, frames):
    array = numbers((4, 5, 6, frames), dtype)
    nib.save(nib.MGHImage(array.squeeze(), AFFINE), tmp_path / f"a{suffix}")
    source, _ = opened(tmp_path / f"a{suffix}")
    assert np.array_equal(everything(source), np.moveaxis(array, -1, 0))
    assert source.dtype == array.dtype
    np.testing.assert_allclose(source.affine, nib.load(tmp_path / f"a{suffix}").affine, atol=1e-6)


def test_which_sources_read_parts():
    kinds = {name: type(getattr(open_source(DATA / name), "base", open_source(DATA / name)))
             for name in ("tiny.mnc", "small.mnc", "scaled+tlrc.HEAD")}  # fmt: skip
    assert kinds == {"tiny.mnc": PlainFile, "small.mnc": Hdf5File, "scaled+tlrc.HEAD": PlainFile}


@pytest.mark.parametrize("order", "<>")
def test_complex_numbers_of_afni_are_two_floats(tmp_path, order):
    """README.attributes of AFNI, BRICK_TYPES: structs of two floats."""
    text = (DATA / "scaled+tlrc.HEAD").read_text("latin-1")
    text = re.sub(r"(BRICK_TYPES\ncount = 1\n) 1", r"\1 5", text)
    text = text.replace("3.883363e-08", "0").replace(" 47 54 43 0 0", " 2 3 4 0 0")
    text = text.replace("LSB_FIRST", "LSB_FIRST" if order == "<" else "MSB_FIRST")
    (tmp_path / "a+orig.HEAD").write_text(text, "latin-1")
    array = numbers((2, 3, 4), "f4") + 1j * numbers((2, 3, 4), "f4")[::-1]
    (tmp_path / "a+orig.BRIK").write_bytes(array.astype(f"{order}c8").tobytes("F"))
    source, _ = opened(tmp_path / "a+orig.HEAD")
    assert source.dtype == np.complex64
    assert np.array_equal(everything(source)[0], array.astype("c8"))


@pytest.mark.parametrize("name", ["scaled+tlrc", "example4d+orig"])
def test_afni_without_a_matrix_is_placed_by_its_axes(tmp_path, name):
    voxels = next(DATA.glob(f"{name}.BRIK*"))
    (tmp_path / voxels.name.replace(name, "a")).symlink_to(voxels)
    text = (DATA / f"{name}.HEAD").read_text("latin-1")
    (tmp_path / "a.HEAD").write_text(text.replace("IJK_TO_DICOM", "NONE_TO_DICOM"), "latin-1")
    expected = open_source(DATA / f"{name}.HEAD")
    source, _ = opened(tmp_path / "a.HEAD")
    assert np.array_equal(source.affine, expected.affine)
    assert np.array_equal(everything(source), everything(expected))


@pytest.mark.parametrize(
    ("old", "new"),
    [("ORIENT_SPECIFIC", "NONE"), ("ORIGIN", "NONE"), (" 1 2 4\n", " 1 1 4\n"),
     (" 1 2 4\n", " 1 2 6\n")],
)  # fmt: skip
def test_afni_that_places_no_voxels_is_refused(tmp_path, old, new):
    (tmp_path / "a.BRIK").symlink_to(DATA / "scaled+tlrc.BRIK")
    text = (DATA / "scaled+tlrc.HEAD").read_text("latin-1")
    assert old in text
    text = text.replace("IJK_TO_DICOM", "NONE_TO_DICOM").replace(old, new)
    (tmp_path / "a.HEAD").write_text(text, "latin-1")
    with pytest.raises(FormatError, match="3dcopy") as caught:
        opened(tmp_path / "a.HEAD")
    assert caught.value.code == "BAD_AFFINE"


def par_with_slices(folder, numbers):
    """A scan of two dynamics whose table lists slices in an order of its own.

    Voxels of a slice are 100 times its dynamic, and its number.
    """
    lines = (DATA / "T2_.PAR").read_text("latin-1").splitlines()
    places = [n for n, line in enumerate(lines) if line[:3].strip().isdigit()]
    rows = [lines[places[n]] for n in numbers]
    for place, row in zip(places, rows, strict=True):
        lines[place] = row
    (folder / "a.PAR").write_text("\n".join(lines) + "\n", "latin-1")
    stored = [100 * int(row.split()[2]) + int(row.split()[0]) for row in rows]
    np.repeat(np.array(stored, "<u2"), 80 * 80).tofile(folder / "a.REC")
    return folder / "a.PAR"


def test_volumes_of_a_scan_whose_slices_are_listed_in_disorder(tmp_path):
    """As in nibabel's own T1_dual_echo.PAR, which lists an echo of some slices before the other."""
    expected = np.add.outer([100, 200], np.arange(1, 11))
    for seed in range(5):
        path = par_with_slices(tmp_path, np.random.default_rng(seed).permutation(20))
        source, _ = opened(path)
        stored = everything(source.base)[:, 0, 0]
        assert np.array_equal(stored, expected)


def test_a_scan_whose_slices_nothing_sorts(tmp_path):
    path = par_with_slices(tmp_path, np.random.default_rng(0).permutation(20))
    text = path.read_text("latin-1").replace("1    2  1 0 2", "1    1  1 0 3")
    path.write_text(re.sub(r"(number of dynamics +: +)2", r"\g<1>1", text), "latin-1")
    with pytest.raises(
        FormatError, match="slices of one volume differ in scanning sequence"
    ) as caught:
        open_source(path)
    assert caught.value.code == "AMBIGUOUS_VOLUMES"
    assert caught.value.path == str(path)


# --- What is not right ------------------------------------------------------------------------


PAIRS = {
    ".PAR": ("phantom_EPI_asc_CLEAR_2_1", ".REC"),
    ".HEAD": ("scaled+tlrc", ".BRIK"),
}


def copied(folder, name):
    stem = name.split(".")[0]
    for path in DATA.glob(f"{stem}.*"):
        shutil.copy(path, folder)
    return folder / name


@pytest.mark.parametrize("name", READABLE)
def test_cut_short(tmp_path, name):
    path = copied(tmp_path, name)
    if path.suffix in PAIRS:
        path = path.with_suffix(PAIRS[path.suffix][1])
    if not path.exists():
        path = path.parent / f"{path.name}.gz"
    data, whole = path.read_bytes(), everything(opened(tmp_path / name)[0])
    for count in (0, 3, 100, len(data) // 2, len(data) - 25):
        path.write_bytes(data[:count])
        try:
            found = everything(opened(tmp_path / name)[0])
        except FormatError:
            continue
        # netCDF may end with something that is not needed, but nothing may be made up.
        assert count > len(data) // 2
        assert np.array_equal(found, whole)


@pytest.mark.parametrize("name", READABLE)
def test_changed_after_opening(tmp_path, name):
    path = copied(tmp_path, name)
    source, _ = opened(path)
    others = [p for p in tmp_path.iterdir() if p.stem.split(".")[0] == path.stem.split(".")[0]]
    for other in others:
        if other.suffix in (".mat",):
            continue
        stamp = other.stat().st_mtime_ns
        os.utime(other, ns=(stamp, stamp + 1))
        with pytest.raises(SourceChangedError):
            everything(source)
        os.utime(other, ns=(stamp, stamp))
    # The time of the last change of its status tells of it even then.
    everything(opened(path)[0])


def test_a_missing_half(tmp_path):
    for name, (stem, other) in [("a.hdr", ("a", ".img")), ("a.img", ("a", ".hdr")),
                                ("a.PAR", ("a", ".rec")), ("a.HEAD", ("a", ".brik"))]:  # fmt: skip
        (tmp_path / name).write_bytes(bytes(400))
        with pytest.raises(MissingFileError, match=f"there is no {stem}\\{other}"):
            open_source(tmp_path / name)
        (tmp_path / name).unlink()


@pytest.mark.parametrize("name", ["a.hdr", "a.PAR", "a.HEAD", "a.mnc", "a.mgz", "a.mgh"])
def test_noise(tmp_path, name):
    rng = np.random.default_rng(0)
    for other in ("a.img", "a.REC", "a.BRIK"):
        (tmp_path / other).write_bytes(bytes(1000))
    for _ in range(20):
        (tmp_path / name).write_bytes(rng.integers(0, 256, 1000, np.uint8).tobytes())
        with pytest.raises(FormatError) as caught:
            everything(opened(tmp_path / name)[0])
        assert caught.value.path is not None


def test_dimensions_that_no_file_can_hold(tmp_path):
    image = nib.MGHImage(numbers((4, 5, 6)), AFFINE)
    nib.save(image, tmp_path / "a.mgh")
    data = bytearray((tmp_path / "a.mgh").read_bytes())
    data[4:16] = (32767).to_bytes(4, "big") * 3
    (tmp_path / "a.mgh").write_bytes(data)
    with pytest.raises(TruncatedError):
        open_source(tmp_path / "a.mgh")
    (tmp_path / "a.mgz").write_bytes(gzip.compress(data))
    with pytest.raises(FormatError) as caught:
        open_source(tmp_path / "a.mgz")
    assert caught.value.code == "DIMS_EXCEED_FILE"


def test_netcdf_headers_that_lie():
    start = (DATA / "tiny.mnc").read_bytes()
    variables = netcdf3.parse(start)
    assert variables["image"].shape == (10, 20, 20)
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(start[:2000])
        for _ in range(3):
            changed[rng.integers(4, 2000)] = rng.integers(256)
        with contextlib.suppress(FormatError):
            netcdf3.parse(bytes(changed))


def test_without_h5py(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'voxarray\[hdf5\]'") as caught:
        open_source(DATA / "small.mnc")
    assert caught.value.code == "NOT_INSTALLED"
    assert caught.value.path == str(DATA / "small.mnc")


def test_a_large_mat_is_not_parsed(tmp_path):
    nib.save(nib.Spm2AnalyzeImage(numbers((4, 5, 6)), np.eye(4)), tmp_path / "a.img")
    (tmp_path / "a.mat").write_bytes(bytes(1 << 20))
    with warnings.catch_warnings(), pytest.raises(FormatError, match="too large"):
        open_source(tmp_path / "a.img")
