"""Verification of an archive: against its manifest, and against its source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import manifest as manifests
from voxarray.archive import zip_file
from voxarray.archive.contradictions import contradictions, of_labels, of_layer
from voxarray.archive.digests import digest_of_blob
from voxarray.archive.generations import interrupted
from voxarray.archive.layer_leftovers import layer_leftovers, old_list
from voxarray.archive.locate import open_store
from voxarray.archive.manifest import Manifest
from voxarray.archive.problems import Problem as Problem
from voxarray.archive.problems import change_left, link_left
from voxarray.archive.problems import problem_of as _problem
from voxarray.archive.reader import ShardedArray
from voxarray.archive.replaced_manifests import is_replaced, of_replaced
from voxarray.archive.root_prefix import TOP, is_leftover, root_of
from voxarray.archive.source import ArchiveSource, label_names, open_archive
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import (
    MissingDataError,
    MissingFileError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.core.progress import Progress
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.storage.store import LINK, Store, TreeStore
from voxarray.storage.zip_store import ZipStore

AFFINE_TOLERANCE_MM = 1e-6

_LEFTOVER = "LEFTOVER"
_ADD_AGAIN = (
    "; remove the label map (voxarray remove-labels) and add it again (voxarray add-labels)"
)
_CONVERT_AGAIN = f"; {MAKE_AGAIN}"


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of verifying an archive.

    Attributes:
        problems: Empty if the archive is intact.
        version: Of its format; None if no manifest states it.
        files: Number of files that its manifest names.
        bytes: Of these files.
        leftovers: Whether interrupted writers have left objects in a bucket, which nobody reads.
        source: Facts about its source, from the manifest.
    """

    problems: list[Problem]
    version: int | None = None
    files: int = 0
    bytes: int = 0
    leftovers: bool = False
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """Remarks on the archive that are no problems."""
        return [VERSION_1] * (self.version == 1) + [LEFTOVERS] * self.leftovers


VERSION_1 = (
    "of format version 1, in which most files of the same size have the same digest: a file that "
    "comes from another archive may not be noticed; to get version 2, convert the source again "
    "with --overwrite (overwrite=True), which makes ALL archives of a cohort again, without label "
    "maps and notes that were added to them"
)

LEFTOVERS = (
    "accompanied by objects that interrupted writers left behind and that no reader uses: voxarray "
    "clean removes them"
)


def verify(
    path: str | os.PathLike[str], progress: Progress | None = None, *, quick: bool = False
) -> list[Problem]:
    """Compare every byte of an archive with its manifest, and its metadata with each other.

    Affine, type and sizes are stored several times, for readers of several formats: all copies must
    agree. Reads files in pieces of 1 MiB and decodes nothing. In archives of version 1, digests of
    files prove little more than their sizes (`VERSION_1`).

    Args:
        path: The archive.
        progress: Called with the bytes done and in all.
        quick: Compare names and sizes only, and open no file except the manifest, or the directory
            of a zip.

    Returns:
        All problems; an empty list for an intact archive.

    Raises:
        MissingFileError: If there is nothing at the path.
    """
    return examine(path, progress, quick=quick).problems


def examine(
    path: str | os.PathLike[str], progress: Progress | None = None, *, quick: bool = False
) -> Examination:
    """As `verify`, with facts about the archive besides its problems."""
    store = open_store(path)
    try:
        manifest = Manifest.read(store)
        for _ in range(_ATTEMPTS):
            examination = _examined(store, manifest, progress, quick=quick)
            current = Manifest.read(store) if examination.problems else manifest
            if current.digest == manifest.digest or current.identity != manifest.identity:
                return examination
            manifest = current  # label maps came or went meanwhile
    except VoxarrayError as error:
        return Examination([_problem(manifests.KEY, error)])
    return examination


_ATTEMPTS = 5
"""How often an archive is examined again, if others keep adding to it."""


def _examined(
    store: Store, manifest: Manifest, progress: Progress | None, *, quick: bool
) -> Examination:
    traces = _traces(store, manifest)
    all_problems = [change_left(key, what) for key, what in traces.items()]
    if quick:
        all_problems += _by_names_and_sizes(store, manifest, traces)
    else:
        all_problems += _by_content(store, manifest, traces, progress)
    sizes = [entry.size for entry in manifest.files.values()]
    problems = [problem for problem in all_problems if problem.code != _LEFTOVER]
    has_leftovers = len(problems) < len(all_problems)
    return Examination(
        problems, manifest.version, len(sizes), sum(sizes), has_leftovers, source=manifest.source
    )


def _traces(store: Store, manifest: Manifest) -> dict[str, str]:
    """Traces of interrupted writers of label maps: text by key in the archive."""
    if isinstance(store, TreeStore):
        return interrupted(store.path, manifest)
    return {} if isinstance(store, ZipStore) else old_list(manifest, _reader(store))


def _reader(store: Store) -> Callable[[str], bytes | None]:
    def read(key: str) -> bytes | None:
        try:
            return store.read(key)
        except (MissingDataError, MissingFileError):
            return None

    return read


def _by_content(
    store: Store, manifest: Manifest, traces: Mapping[str, str], progress: Progress | None
) -> list[Problem]:
    problems = list(_unexpected(store, manifest, traces))
    total, done = sum(entry.size for entry in manifest.files.values()), 0
    keys = [key for key in manifest.files if key not in traces]
    with ThreadPoolExecutor(store.requests or 1, "voxarray-verify") as threads:
        checks = threads.map(lambda key: _checked(key, lambda: _check(store, manifest, key)), keys)
        for key, problems_of_file in zip(keys, checks, strict=True):
            problems += problems_of_file
            done += manifest.files[key].size
            if progress is not None:
                progress(done, total)
    if isinstance(store, ZipStore):
        with store.whole() as blob:
            check = partial(zip_file.check, store.path, blob, manifest.version)
            problems += _checked(store.path, check)
    else:
        with suppress(UnsupportedError):  # a web server does not list
            problems += list(of_replaced(store, manifest))
    if not traces and all(problem.code == _LEFTOVER for problem in problems):
        problems += _checked(store.path, lambda: problems.extend(_inconsistent(store)))
    return problems


def _check(store: Store, manifest: Manifest, key: str) -> None:
    """Compare a file with the manifest, in as few requests as it can be read."""
    blob = store.open_known(key, manifest.files[key].size)
    if blob is not None:
        with suppress(VoxarrayError), blob:
            if digest_of_blob(blob, manifest.version)[1] == manifest.files[key].digest:
                return
    manifest.check(store, key)  # says what is wrong


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
                "SHAPE_MISMATCH",
                "shape",
                f"is {archived.shape}, but the source has {source.shape}: give the source that "
                f"the archive was made from, or {MAKE_AGAIN}",
            )
        ]
    problems = []
    deviation = float(np.abs(archived.affine - source.affine).max())
    if deviation > AFFINE_TOLERANCE_MM:
        text = (
            f"differs from the source's by up to {deviation:g} mm: give the source that the "
            f"archive was made from, or {MAKE_AGAIN}"
        )
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
            archived_voxels = archived.read(selection).transpose(0, 3, 2, 1)
            _require_equal(archived_voxels, expected, (n.start, z.start))
            done += expected.nbytes
            if progress is not None:
                progress(done, total)
        stream.finish()


def _require_equal(archived: NDArray, expected: NDArray, start: tuple[int, int]) -> None:
    if archived.dtype != expected.dtype:
        raise VoxarrayError(
            f"the voxels have the type {archived.dtype}, but those of the source have the type "
            f"{expected.dtype}: {MAKE_AGAIN}",
            code="DTYPE_MISMATCH",
        )
    different = (_bytes(archived) != _bytes(expected)).any(axis=-1)
    if not different.any():
        return
    n, z, y, x = (int(i) for i in np.argwhere(different)[0])
    raise VoxarrayError(
        f"voxel (c, x, y, z) = {(n + start[0], x, y, z + start[1])} is {archived[n, z, y, x]}, but "
        f"in the source it is {expected[n, z, y, x]}: give the source that the archive was made "
        f"from, or {MAKE_AGAIN}",
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


def _unexpected(store: Store, manifest: Manifest, traces: Mapping[str, str]) -> Iterator[Problem]:
    try:
        keys = store.keys()
    except UnsupportedError:  # a web server cannot list, so unexpected files cannot be found
        return
    leftovers = _left(store, keys, manifest)
    for key in keys:
        if isinstance(store, TreeStore) and os.path.islink(f"{store.path}/{key}"):
            yield link_left(key)
        elif not _is_expected(key, manifest, traces):
            yield from _unnamed(key, root_of(manifest.files), leftovers)


def _is_expected(key: str, manifest: Manifest, traces: Mapping[str, str]) -> bool:
    if key in manifest.files or key == manifests.KEY or key in traces or is_replaced(key, manifest):
        return True
    layer = "/".join(key.split("/")[:2])
    return layer in traces and layer != key


def _by_names_and_sizes(
    store: Store, manifest: Manifest, traces: Mapping[str, str]
) -> Iterator[Problem]:
    """Problems that a listing of the archive shows."""
    try:
        sizes = store.sizes()
    except UnsupportedError:
        answers = ((key, _size_of(store, key)) for key in manifest.files)
        sizes = {key: size for key, size in answers if size is not None}
    leftovers = _left(store, sizes, manifest)
    for key, size in sizes.items():
        if size == LINK:
            yield link_left(key)
        elif not _is_expected(key, manifest, traces):
            yield from _unnamed(key, root_of(manifest.files), leftovers)
    for key, entry in manifest.files.items():
        if key not in sizes and key not in traces:
            text = f"the archive {store.path} lacks its file {key}: restore it, or {MAKE_AGAIN}"
            yield Problem("MISSING_DATA", key, text)
        elif key not in traces and sizes[key] not in (entry.size, LINK):
            text = (
                f"has {sizes[key]} bytes, but {entry.size} were written: "
                f"restore it, or {MAKE_AGAIN}"
            )
            yield Problem("BAD_SIZE", key, text)


def _size_of(store: Store, key: str) -> int | None:
    try:
        with store.open(key) as blob:
            return blob.size
    except MissingDataError:
        return None


def _left(store: Store, keys: Iterable[str], manifest: Manifest) -> set[str]:
    """Keys that interrupted writers have left among an archive in a bucket."""
    if isinstance(store, TreeStore | ZipStore):
        return {key for key in keys if is_leftover(key, root_of(manifest.files))}
    return layer_leftovers(keys, manifest, _reader(store))


def _unnamed(key: str, root: str, leftovers: set[str]) -> Iterator[Problem]:
    """The problem of a file that the manifest of the archive at ``root`` does not name."""
    if root and key == TOP:  # the signpost to the root, for other readers
        return
    code = _LEFTOVER if key in leftovers else "EXTRA_FILE"
    yield Problem(
        code,
        key,
        "is not in manifest.json, the list of the archive's files: move it elsewhere",
    )


def _inconsistent(store: Store) -> list[Problem]:
    """Open every image and level, check the tail of every shard, and compare the metadata."""
    base = open_archive(store.path)
    names = label_names(store.path)
    layers = [open_archive(f"{store.path}/labels/{name}") for name in names]
    contradicting = list(of_labels(base, names))
    for image in (base, *layers):
        for number in range(image.levels):
            _require_shards(image.level(number).array)
        contradicting += contradictions(image)
    for layer in layers:
        contradicting += of_layer(base, layer)
    return [Problem("CONTRADICTION", key, text + _cure(base, key)) for key, text in contradicting]


def _cure(base: ArchiveSource, key: str) -> str:
    return _ADD_AGAIN if key.startswith(f"{base.prefix}labels/") else _CONVERT_AGAIN


def _require_shards(array: ShardedArray) -> None:
    for shard in array.layout.shards():
        array.check_shard(shard)


def _checked(where: str, check: Callable[[], None]) -> list[Problem]:
    try:
        check()
    except VoxarrayError as error:
        return [_problem(where, error)]
    except OSError as error:
        text = f"cannot be read: {error}; check the disk and the permissions, and verify again"
        return [Problem("IO_ERROR", where, text)]
    return []
