"""Decoded blocks leave the cache with the source that they are of, whatever names them."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from dicom_samples import series
from voxarray.formats.registry import open_source
from voxarray.source.block_cache import BLOCKS
from voxarray.source.concat import ConcatSource
from voxarray.source.dropped_blocks import dropped_afterwards
from voxarray.source.sliced import SlicedSource


def dicom(folder):
    for path in series(folder / "dicom"):
        dataset = dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    return folder / "dicom"


def nifti(folder):
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), "i2"), np.eye(4)), folder / "a.nii.gz")
    return folder / "a.nii.gz"


def nrrd(folder):
    text = b"NRRD0004\ntype: int16\ndimension: 3\nsizes: 8 8 8\nencoding: gzip\nendian: little\n\n"
    (folder / "a.nrrd").write_bytes(text + gzip.compress(np.ones(512, "<i2").tobytes()))
    return folder / "a.nrrd"


def tiff(folder):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(
        folder / "a.tif", np.ones((4, 32, 32), "u1"), compression="zlib", photometric="minisblack"
    )
    return folder / "a.tif"


@pytest.mark.parametrize("made", [dicom, nifti, nrrd, tiff])
def test_blocks_leave_with_their_source(tmp_path, made):
    BLOCKS.clear()
    source = open_source(made(tmp_path))
    for whole in (source, SlicedSource.of(source)[:, 1:], ConcatSource.of([source, source])):
        with dropped_afterwards([whole]):
            source.read(SlicedSource.of(source)[:, 1:3, 1:2, 1:2].selection)
            assert BLOCKS.nbytes
        assert not BLOCKS.nbytes
