"""NIfTI behind a URL: headers and uncompressed voxels by ranges, compressed ones through a copy."""

from __future__ import annotations

import itertools
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import dataclass

from numpy.typing import NDArray

from voxarray.core import settings, thread_pools
from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import TruncatedError, UnsupportedError, VoxarrayWarning
from voxarray.formats._voxels import gzip_stream
from voxarray.formats._voxels.compression import decoder_of
from voxarray.formats.nifti.gzip_source import NiftiGzSource
from voxarray.formats.nifti.header_warnings import remarks
from voxarray.formats.nifti.read import open_nifti
from voxarray.formats.nifti.source import Box, NiftiFile, NiftiSource
from voxarray.formats.remote.downloaded import DownloadedSource
from voxarray.geometry.selection import Selection
from voxarray.nifti_header.header import LARGEST_HEADER, NiftiHeader
from voxarray.source.base import Source, VoxelStream, digest
from voxarray.storage.local_copies import COPIES
from voxarray.storage.raw_voxels import Costs, RawVoxels
from voxarray.storage.remote.file import RemoteFile

_FIRST = 16 << 10
"""Bytes that hold a header, compressed or not."""

_TOGETHER = 4 << 20
"""Bytes of whole planes that are asked for in one request."""

# A request waits some 30 ms, but several are under way; a connection carries some 50 MB/s.
_NETWORK = Costs(5e-3, 2e-8)


def open_remote_nifti(file: RemoteFile, open_copy: Callable[[str], Source]) -> Source:
    """A NIfTI image of which the header is read.

    Raises:
        FormatError, TruncatedError, UnsupportedError: As `open_nifti`.
    """
    try:
        start = file.read(0, _FIRST)
    except UnsupportedError as error:
        if error.code != "NO_RANGES":
            raise
        return DownloadedSource.open(file, open_copy)
    is_compressed = start.startswith(gzip_stream.MAGIC)
    if not is_compressed and decoder_of(start) is not None:  # bzip2, xz, Zstandard
        return DownloadedSource.open(file, open_copy)
    header = NiftiHeader.parse(_inflated(start) if is_compressed else start[:LARGEST_HEADER])
    if not header.is_single:
        raise UnsupportedError(
            "this is the header of an image whose voxels are in another file (.hdr and .img): "
            "convert it to a single .nii",
            code="NIFTI_PAIR",
        )
    header.check_extent(file.size, compressed=is_compressed)
    for remark in remarks(header):
        warn_caller(f"{remark} [{file.path}]", VoxarrayWarning)
    return (RemoteNiftiGz if is_compressed else RemoteNifti)(file, header)


def _inflated(start: bytes) -> bytes:
    """The first decoded bytes; the file goes on, so that a missing end is no error here."""
    with gzip_stream.named_errors():
        return zlib.decompressobj(31).decompress(start, LARGEST_HEADER)


@dataclass(frozen=True, eq=False)
class RemoteNifti(NiftiSource):
    """An uncompressed ``.nii`` behind a URL: any box costs the ranges that hold its rows.

    Attributes:
        identity: The file, as it was when its header was read.
    """

    identity: RemoteFile  # type: ignore[assignment]  # its ranges are read, it is never opened

    @property
    def bytes_on_disk(self) -> int:
        return self.identity.size

    def stream(self) -> VoxelStream:
        return Source.stream(self)

    def _read_stored(self, box: Box, out: NDArray) -> None:
        voxels = RawVoxels(self.header.offset, self.disk_shape, self.header.stored)
        jobs = list(self._jobs(box))
        pool = thread_pools.pool(max(1, int(settings.get("remote-requests"))))

        def read(job: tuple[slice, slice]) -> None:
            outer, inner = job
            part = [box[0][outer], box[1][inner], *box[2:]]
            voxels.fetch(self._fetch, part, out[outer, inner], _NETWORK)

        tasks = [pool.submit(read, job) for job in jobs[1:]]
        try:
            read(jobs[0])
        finally:
            wait(tasks)  # never leave `out` while somebody writes into it
        for task in tasks:
            task.result()

    def _jobs(self, box: Box) -> Iterator[tuple[slice, slice]]:
        """Parts of the box, each one item of the slowest axis and some planes of the next."""
        plane = self.disk_shape[2] * self.disk_shape[3] * self.header.stored.itemsize
        planes = max(1, _TOGETHER // (plane * box[1].step))
        for outer, inner in itertools.product(range(len(box[0])), range(0, len(box[1]), planes)):
            yield slice(outer, outer + 1), slice(inner, inner + planes)

    def _fetch(self, view: memoryview, start: int) -> None:
        data = self.identity.read(start, len(view))
        if len(data) != len(view):
            raise TruncatedError(
                f"expected {len(view)} bytes at {start}, got {len(data)}: the file ends too "
                "early; copy it to the store again"
            )
        view[:] = data

    def token(self) -> str:
        return _token(self)


@dataclass(frozen=True, eq=False)
class RemoteNiftiGz(NiftiGzSource):
    """A ``.nii.gz`` behind a URL: its header is read at once, its voxels from a local copy.

    Attributes:
        identity: The file, as it was when its header was read.
    """

    identity: RemoteFile  # type: ignore[assignment]  # its copy is read, it is never opened

    @property
    def bytes_on_disk(self) -> int:
        return self.identity.size

    def read(self, selection: Selection) -> NDArray:
        with COPIES.held(self.identity) as path:
            return self._local(path).read(selection)

    def stream(self) -> VoxelStream:
        # The stream keeps the copy open, also when that is dropped from the cache.
        with COPIES.held(self.identity) as path:
            return self._local(path).stream()

    def _local(self, path: str) -> NiftiFile:
        with warnings.catch_warnings(), self.identity.named_in_errors():
            warnings.simplefilter("ignore", VoxarrayWarning)  # was said when the header was read
            local = open_nifti(path)
        return local if self.is_scaled else local.unscaled()

    def token(self) -> str:
        return _token(self)


def _token(source: RemoteNifti | RemoteNiftiGz) -> str:
    return digest("nifti", source.identity.identity, source.scaling)
