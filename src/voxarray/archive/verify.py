"""Whether an archive is what was written, and whether it is what it was made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import handle_cache, zip_file
from voxarray.archive import manifest as manifests
from voxarray.archive.documents import chunk_key
from voxarray.archive.locate import open_store
from voxarray.archive.manifest import Manifest
from voxarray.archive.source import ArchiveSource, label_names, open_archive
from voxarray.core.errors import ArchiveError, UnsupportedError, VoxarrayError
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.storage.store import Store, TreeStore
from voxarray.storage.zip_store import ZipStore

Progress = Callable[[int, int], None]

AFFINE_TOLERANCE_MM = 1e-6


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written.

    Attributes:
        code: As errors have.
        where: The file, or the voxel.
        message: What was seen and what was expected.
    """

    code: str
    where: str
    message: str


def verify(
    path: str | os.PathLike[str], progress: Progress | None = None, *, quick: bool = False
) -> list[Problem]:
    """Compare every byte of an archive with its manifest, and its images with their metadata.

    Reads files in pieces of 1 MiB and decodes nothing.

    Args:
        path: The archive.
        progress: Called with the bytes done and in all.
        quick: Look at names and sizes alone; of a zip, at its directory.

    Returns:
        All problems; an empty list for an archive that is whole.

    Raises:
        MissingFileError: If there is nothing at the path.
    """
    store = open_store(path)
    try:
        manifest = Manifest.read(store)
    except VoxarrayError as error:
        return [_problem(manifests.KEY, error)]
    problems = list(_unexpected(store, manifest))
    total, done = sum(entry.size for entry in manifest.files.values()), 0
    for key, entry in manifest.files.items():
        problems += _checked(key, lambda key=key: _check(store, manifest, key, quick))  # type: ignore[misc]
        done += entry.size
        if progress is not None:
            progress(done, total)
    if isinstance(store, ZipStore) and not quick:
        problems += _checked(store.path, lambda: zip_file.check(store.path, manifest.version))
    if not problems:
        problems += _checked(store.path, lambda: _require_complete(store))
    return problems


def compare(
    path: str | os.PathLike[str], source: Source, progress: Progress | None = None
) -> list[Problem]:
    """Compare an archive with its source, voxel by voxel and bit by bit, and their affines.

    Memory: one slab of one chunk's depth of each.

    Args:
        path: The archive.
        source: What it was made from.
        progress: Called with the bytes of voxels done and in all.

    Returns:
        What differs; the first differing voxel of the first slab that differs.
    """
    archived = open_archive(path)
    if archived.shape != source.shape:
        return [
            Problem(
                "SHAPE_MISMATCH", "shape", f"{archived.shape} where the source has {source.shape}"
            )
        ]
    problems = []
    off = float(np.abs(archived.affine - source.affine).max())
    if off > AFFINE_TOLERANCE_MM:
        text = f"differs from the source's by up to {off:g} mm"
        problems.append(Problem("AFFINE_MISMATCH", "affine", text))
    return problems + _checked("source", lambda: _compare_voxels(archived, source, progress))


def _compare_voxels(archived: ArchiveSource, source: Source, progress: Progress | None) -> None:
    channels, width, height, depth = source.shape
    count, planes = archived.array.layout.slab
    total, done = channels * width * height * depth * source.dtype.itemsize, 0
    with source.stream() as stream:
        for n, z in _slabs(channels, depth, count, planes):
            expected = np.empty((len(n), len(z), height, width), source.dtype)
            stream.read_into(expected)
            selection = Selection((n, range(width), range(height), z))
            seen = archived.read(selection).transpose(0, 3, 2, 1)
            _require_equal(seen, expected, (n.start, z.start))
            done += expected.nbytes
            if progress is not None:
                progress(done, total)
        stream.finish()


def _require_equal(seen: NDArray, expected: NDArray, start: tuple[int, int]) -> None:
    if seen.dtype != expected.dtype:
        raise VoxarrayError(
            f"voxels are {seen.dtype} where the source has {expected.dtype}", code="DTYPE_MISMATCH"
        )
    different = (_bytes(seen) != _bytes(expected)).any(axis=-1)
    if not different.any():
        return
    n, z, y, x = (int(i) for i in np.argwhere(different)[0])
    raise VoxarrayError(
        f"voxel (c, x, y, z) = {(n + start[0], x, y, z + start[1])} is {seen[n, z, y, x]} where "
        f"the source has {expected[n, z, y, x]}",
        code="VOXEL_MISMATCH",
    )


def _bytes(voxels: NDArray) -> NDArray[np.uint8]:
    """The bytes of each voxel along a new last axis: NaN equals itself, and -0.0 is not 0.0."""
    flat = np.ascontiguousarray(voxels)
    return flat.view(np.uint8).reshape(*flat.shape, flat.dtype.itemsize)


def _slabs(channels: int, depth: int, count: int, planes: int) -> Iterator[tuple[range, range]]:
    for n in range(0, channels, count):
        for z in range(0, depth, planes):
            yield range(n, min(n + count, channels)), range(z, min(z + planes, depth))


def _unexpected(store: Store, manifest: Manifest) -> Iterator[Problem]:
    try:
        keys = store.keys()
    except UnsupportedError:  # a web server does not list: what is not named stays unseen
        return
    for key in keys:
        if isinstance(store, TreeStore) and os.path.islink(f"{store.path}/{key}"):
            yield Problem("SYMLINK", key, "is a link, and an archive holds only files of its own")
        elif key not in manifest.files and key != manifests.KEY:
            yield Problem("EXTRA_FILE", key, "is not named by the manifest")


def _check(store: Store, manifest: Manifest, key: str, quick: bool) -> None:
    if not quick:
        manifest.check(store, key)
        return
    with store.open(key) as blob:
        if blob.size != manifest.files[key].size:
            raise ArchiveError(
                f"{key} of {store.path} has {blob.size} bytes where {manifest.files[key].size} "
                "were written: restore it or convert the source again",
                code="BAD_SIZE",
                path=store.path,
            )


def _require_complete(store: Store) -> None:
    """Open every image and level, and look for every shard in the manifest."""
    manifest = handle_cache.manifest(store, handle_cache.identity(store))
    paths = [store.path, *(f"{store.path}/labels/{name}" for name in label_names(store.path))]
    for path in paths:
        image = open_archive(path)
        for number in range(image.levels):
            array = image.level(number).array
            for shard in array.layout.shards():
                manifest.shard(f"{array.key}/{chunk_key(shard)}", store.path)


def _checked(where: str, check: Callable[[], None]) -> list[Problem]:
    try:
        check()
    except VoxarrayError as error:
        return [_problem(where, error)]
    except OSError as error:
        return [Problem("IO_ERROR", where, f"cannot be read: {error}")]
    return []


def _problem(where: str, error: VoxarrayError) -> Problem:
    return Problem(error.code, where, error.message)
