"""Saved files bring voxels and affine back exactly, and are there as a whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
from dataclasses import dataclass, field

import dask
import dask.array as da
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from real_files import real_files
from voxarray.core.errors import ArchiveError, ArchiveExistsError, UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.formats._voxels import write_voxels as writer
from voxarray.formats.nifti.read import open_nifti
from voxarray.formats.nifti.write import write_nifti
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource, DaskSource
from voxarray.source.base import Channels
from voxarray.source.sliced import SlicedSource
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import affines, shapes

SUFFIXES = [".nii", ".nii.gz"]


def whole(source):
    return source.read(Selection.whole(source.shape))


def volume(shape=(2, 5, 6, 7), dtype="i2"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@dataclass(frozen=True, eq=False)
class Scaled(ArraySource):
    """Voxels in memory with a slope and an intercept."""

    scaling: Scaling | None = None

    @property
    def dtype(self):
        return self.scaling.dtype(self.array.dtype)

    def read(self, selection):
        return self.scaling.apply(super().read(selection)) if self.scaling else None

    def unscaled(self):
        return ArraySource(self.array, self.affine)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("path", real_files())
def test_real_files_come_back_exactly(tmp_path, path, suffix):
    source = open_nifti(path)
    write_nifti(source, tmp_path / f"a{suffix}")
    again, image = open_nifti(tmp_path / f"a{suffix}"), nib.load(tmp_path / f"a{suffix}")
    assert (again.shape, again.dtype, again.channels) == (
        source.shape,
        source.dtype,
        source.channels,
    )
    assert np.array_equal(again.affine, source.affine)
    assert np.array_equal(image.affine, source.affine)
    assert again.scaling == source.scaling
    assert again.header.stored.newbyteorder("=") == source.header.stored.newbyteorder("=")
    assert np.array_equal(whole(again), whole(source), equal_nan=True)
    theirs = np.asanyarray(image.dataobj).astype(source.dtype)
    ours = np.moveaxis(whole(source), 0, -1)
    assert np.array_equal(theirs.reshape(ours.shape), ours, equal_nan=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(affines(), shapes(), st.sampled_from(SUFFIXES), st.sampled_from(["channel", "time"]))
def test_any_image(tmp_path, affine, shape, suffix, kind):
    channels = Channels(kind, 0.5 if kind == "time" else 0.0)
    source = ArraySource(volume(shape, "f4"), affine, channels)
    write_nifti(source, tmp_path / f"a{suffix}")
    again = open_nifti(tmp_path / f"a{suffix}")
    assert np.array_equal(whole(again), source.array)
    np.testing.assert_allclose(again.affine, affine, rtol=2e-7, atol=2e-5)
    assert again.channels == channels
    write_nifti(again, tmp_path / f"b{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("dtype", ["u1", ">i2", "u2", "i4", "u8", "f8", "c8", "c16", "?"])
def test_types(tmp_path, dtype):
    array = volume(dtype=dtype)
    for order in (array, np.asfortranarray(array), array[:, ::-1]):
        write_nifti(ArraySource(order, np.eye(4)), tmp_path / "a.nii.gz")
        again = open_nifti(tmp_path / "a.nii.gz")
        assert np.array_equal(whole(again), order)
        assert again.dtype == ("u1" if dtype == "?" else np.dtype(dtype).newbyteorder("="))


def test_unsupported_types_and_names(tmp_path):
    with pytest.raises(UnsupportedError, match=r"float16.*float32") as caught:
        write_nifti(ArraySource(volume(dtype="f2"), np.eye(4)), tmp_path / "a.nii")
    assert caught.value.code == "UNSUPPORTED_DTYPE"
    with pytest.raises(UnsupportedError, match=r"\.nii or \.nii\.gz"):
        write_nifti(ArraySource(volume(), np.eye(4)), tmp_path / "a.mha")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("slope", "is_raw"), [(0.25, True), (float(np.float32(0.1)), True), (0.1, False)]
)
def test_scalings_are_kept_where_the_header_can_hold_them(tmp_path, slope, is_raw):
    source = Scaled(volume(), np.eye(4), scaling=Scaling(slope, -3.0))
    write_nifti(source, tmp_path / "a.nii")
    again = open_nifti(tmp_path / "a.nii")
    assert (again.scaling == source.scaling) == is_raw
    assert again.header.stored == ("<i2" if is_raw else "<f4")
    assert np.array_equal(whole(again), whole(source))


def test_windows(tmp_path):
    write_nifti(ArraySource(volume(), np.diag([2.0, 3, 4, 1])), tmp_path / "a.nii.gz")
    window = SlicedSource.of(open_nifti(tmp_path / "a.nii.gz"))[::-1, 1:, 2]
    write_nifti(window, tmp_path / "b.nii")
    again = open_nifti(tmp_path / "b.nii")
    assert np.array_equal(whole(again), volume()[:, ::-1, 1:, 2:3])
    assert np.array_equal(again.affine, window.affine)


def test_an_image_may_replace_itself(tmp_path):
    path = tmp_path / "a.nii"
    write_nifti(ArraySource(volume(), np.eye(4)), path)
    write_nifti(SlicedSource.of(open_nifti(path))[1:3], path)
    assert np.array_equal(whole(open_nifti(path)), volume()[:, 1:3])


def test_free_text_and_extensions_stay_behind(tmp_path):
    image = nib.Nifti1Image(volume()[0], np.eye(4))
    image.header["descrip"] = b"CANARY"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"CANARY"))
    nib.save(image, tmp_path / "canary.nii")
    assert b"CANARY" in (tmp_path / "canary.nii").read_bytes()
    write_nifti(open_nifti(tmp_path / "canary.nii"), tmp_path / "b.nii.gz")
    packed = (tmp_path / "b.nii.gz").read_bytes()
    assert b"CANARY" not in gzip.decompress(packed)
    assert packed[3:8] == bytes(5)  # no name and no time in the gzip header either


# --- As a whole or not at all -----------------------------------------------------------------


def test_overwriting(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"old")
    with pytest.raises(ArchiveExistsError, match="overwrite=True"):
        write_nifti(ArraySource(volume(), np.eye(4)), path, overwrite=False)
    assert path.read_bytes() == b"old"
    write_nifti(ArraySource(volume(), np.eye(4)), path)
    assert np.array_equal(whole(open_nifti(path)), volume())
    assert os.listdir(tmp_path) == ["a.nii"]


class Broken(ArraySource):
    def read(self, selection):
        if selection.ranges[0].start > 0:
            raise OSError(errno.ENOSPC, "disk full")
        return super().read(selection)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failures_leave_the_old_file_and_nothing_else(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(writer, "_SLAB_BYTES", 1)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(ArchiveError, match="make room") as caught:
        write_nifti(Broken(volume(), np.eye(4)), path)
    assert caught.value.code == "NO_SPACE"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "no").write_text("a file")
    with pytest.raises(ArchiveError, match="check the folder") as caught:
        write_nifti(ArraySource(volume(), np.eye(4)), tmp_path / "no" / "a.nii")
    assert caught.value.code == "IO_ERROR"


# --- Each voxel once --------------------------------------------------------------------------


def test_a_compressed_source_is_decoded_once(tmp_path):
    write_nifti(ArraySource(volume((3, 40, 40, 40)), np.eye(4)), tmp_path / "a.nii.gz")
    source = open_nifti(tmp_path / "a.nii.gz")
    with count_reads() as reads:
        write_nifti(source, tmp_path / "b.nii")
    assert reads.passes == 1
    assert reads.voxels == 3 * 40**3


@dataclass
class Computations:
    blocks: list = field(default_factory=list)

    def __call__(self, block, block_info=None):
        if block_info:
            self.blocks.append(block_info[0]["chunk-location"])
        return block


def test_lazy_chunks_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_SLAB_BYTES", 1)
    computed = Computations()
    array = da.from_array(volume((2, 8, 8, 12)), chunks=(1, 4, 8, 6))
    lazy = da.map_blocks(computed, array, dtype=array.dtype, meta=np.empty((0,) * 4, array.dtype))
    with dask.config.set(scheduler="synchronous"):
        write_nifti(DaskSource(lazy, np.eye(4)), tmp_path / "a.nii")
    assert len(computed.blocks) == len(set(computed.blocks)) == 8
    assert np.array_equal(whole(open_nifti(tmp_path / "a.nii")), volume((2, 8, 8, 12)))
