"""Saving as NIfTI: ``.nii`` and ``.nii.gz``, from any source, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

import numpy as np
from isal import igzip_threaded

from voxarray import settings
from voxarray.errors import UnsupportedError
from voxarray.sources.base import Source
from voxarray.sources.nifti_build import header_for, stored_dtype
from voxarray.sources.nifti_fields import EXTENSION_FLAG_BYTES
from voxarray.sources.nifti_header import NiftiHeader
from voxarray.sources.raw_voxels import as_bytes
from voxarray.sources.registry import suffix_of
from voxarray.sources.slabs import Slabs
from voxarray.writers.whole_file import whole_file

SUFFIXES = (".nii", ".nii.gz")

_SLAB_BYTES = 32 << 20

_LEVEL = 2  # ISA-L's own choice: level 3 takes three times as long and gains nothing on scans


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: memoryview | bytes, /) -> object:
        """Take all of ``data``."""


def write_nifti(source: Source, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Save an image; the file appears, or replaces another, when it is complete.

    Stored voxels are copied with their slope and intercept where the header can hold both
    exactly; otherwise the intensities are written. Either way the file brings back the same
    voxels, and the same affine where the source came from NIfTI (see `header_for` for others).

    Args:
        source: What to save; read once, in disk order.
        path: Ends in ``.nii`` or ``.nii.gz``.
        overwrite: Whether a file that exists is replaced.

    Raises:
        UnsupportedError: NIfTI cannot hold the data type, or the suffix is another
            (``UNSUPPORTED_DTYPE``, ``UNKNOWN_SUFFIX``).
        ArchiveExistsError: The file exists and ``overwrite`` is False.
        ArchiveError: The disk is full or fails.
    """
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise UnsupportedError(
            f"NIfTI files end in {' or '.join(SUFFIXES)}, not {suffix!r}",
            code="UNKNOWN_SUFFIX",
            path=path,
        )
    voxels, header = _representation(source)
    with whole_file(path, overwrite=overwrite) as file, _sink(file, suffix) as sink:
        sink.write(header + bytes(EXTENSION_FLAG_BYTES))
        _write_voxels(voxels, sink)


def _representation(source: Source) -> tuple[Source, bytes]:
    """What to write: stored voxels with a scaling if that is exact, else intensities."""
    raw = source.unscaled()
    if source.scaling is not None:
        header = _header(raw, source)
        if NiftiHeader.parse(header).scaling == source.scaling:
            return raw, header
        raw = source
    return raw, _header(raw, None)


def _header(voxels: Source, scaled: Source | None) -> bytes:
    return header_for(
        voxels.shape,
        voxels.dtype,
        voxels.affine,
        voxels.channels,
        None if scaled is None else scaled.scaling,
        voxels.nifti_header,
    )


@contextmanager
def _sink(file: BinaryIO, suffix: str) -> Iterator[Sink]:
    if suffix == ".nii":
        yield file
        return
    # It writes neither a time nor a name into the gzip header: equal images make equal files.
    with igzip_threaded.open(file, "wb", _LEVEL, threads=settings.threads()) as compressor:
        yield compressor


def _write_voxels(source: Source, sink: Sink) -> None:
    stored = stored_dtype(source.dtype)
    slabs = _slabs(source)
    buffer = np.empty(slabs.largest, source.dtype)
    with source.stream() as stream:
        for volumes, planes in slabs:
            part = buffer[: len(volumes), : len(planes)]
            stream.read_into(part)
            sink.write(as_bytes(part.astype(stored, copy=False)))
        stream.finish()


def _slabs(source: Source) -> Slabs:
    """Slabs that cut as few of the source's chunks as the bound allows.

    A chunk that is cut is decoded twice, or computed twice: then the bound has to yield.
    """
    count, width, height, depth = source.shape
    plane = width * height * source.dtype.itemsize
    planes = min(source.chunks[3], depth)
    while planes > 1 and planes * plane > _SLAB_BYTES and not source.lazy:
        planes = -(-planes // 2)
    volumes = min(source.chunks[0], _SLAB_BYTES // (depth * plane)) if planes == depth else 1
    return Slabs((count, depth, height, width), (max(1, volumes), planes))
