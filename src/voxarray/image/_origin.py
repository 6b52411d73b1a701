"""The files that an image comes from, before any of them is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxarray.core.errors import MissingFileError, StateError, naming_errors_of_system
from voxarray.core.given_paths import path_text
from voxarray.formats.file_sets import files_of
from voxarray.formats.registry import format_of, open_source
from voxarray.formats.suffixes import is_inside_zip, names_label_map
from voxarray.source.base import Source
from voxarray.source.concat import ConcatSource
from voxarray.source.custom_reader import Reader, open_with
from voxarray.storage.file_identity import FileIdentity, absent
from voxarray.storage.remote.address import Address, as_local, is_url
from voxarray.storage.remote.zarr_objects import is_zarr_store

PathLike = str | os.PathLike[str]
OnePath = Any
"""A `Path`, the text of a URL, whose double slash a `Path` would lose, or a Zarr store."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One path, or several whose voxels are concatenated along C.

    Attributes:
        paths: The paths as the user wrote them, ``~`` expanded.
        resolved: The same, absolute: the working directory may change before they are opened.
        single: Whether one path was given, not a sequence of them.
        reader: What turns a path into an array and an affine; None for voxarray's own readers.
        guarded: Files of images that lie in sets of files (OME-TIFF), as they were found: which
            files these are is told by the files themselves.
    """

    paths: tuple[OnePath, ...]
    resolved: tuple[Any, ...]
    single: bool
    reader: Reader | None
    guarded: tuple[FileIdentity, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, path: Any, reader: Reader | None, *, verify: bool, owner: str) -> Origin:
        """Check a ``path`` argument and remember it.

        Args:
            path: A path or URL, or a sequence of them.
            reader: As in `Origin`.
            verify: Whether the files must exist now.
            owner: Class of the image, for messages.

        Raises:
            TypeError: For anything else.
            ValueError: For an empty sequence.
            MissingFileError: If there is no such file and ``verify`` is set.
            StateError: If ``~user`` names no user.
        """
        single = isinstance(path, (str, os.PathLike)) or is_zarr_store(path)
        paths = (_single(path, owner),) if single else _several(path, owner)
        if verify:
            for item in paths:
                _require_existing(item)
        resolved = tuple(map(_resolved, paths))
        guarded = tuple(_guarded(resolved)) if verify and reader is None else ()
        return cls(paths, resolved, single, reader, guarded)

    @property
    def path(self) -> OnePath | list[OnePath]:
        """What `Image.path` says."""
        return self.paths[0] if self.single else list(self.paths)

    @property
    def text(self) -> str | list[str]:
        """What ``image["path"]`` says."""
        texts = [str(path) for path in self.paths]
        return texts[0] if self.single else texts

    @property
    def stem(self) -> str | list[str]:
        """Names up to the first dot."""
        stems = [_name(path).split(".")[0] for path in self.paths]
        return stems[0] if self.single else stems

    def open(self) -> Source:
        """Read the headers.

        Raises:
            SourceChangedError: If a file of a set is no longer the one that was found.
        """
        for item in self.guarded:
            os.close(item.open())
        sources = [self._open(item) for item in self.resolved]
        return sources[0] if self.single else ConcatSource.of(sources)

    def _open(self, path: Any) -> Source:
        return open_source(path) if self.reader is None else open_with(path, self.reader)


def _several(path: Any, owner: str) -> tuple[OnePath, ...]:
    _refuse_voxels(path, owner)
    if isinstance(path, dict):
        raise TypeError(f"The path argument cannot be a dictionary: use {owner}(path, key=value)")
    if not isinstance(path, Sequence) or isinstance(path, (bytes, bytearray)):
        raise TypeError(
            f"Input path must be a path or sequence of paths, not {type(path).__name__}"
        )
    if not path:
        raise ValueError("The sequence of paths is empty; an image needs at least one")
    return tuple(_single(item, owner) for item in path)


def _single(path: Any, owner: str) -> OnePath:
    _refuse_voxels(path, owner)
    if is_zarr_store(path):
        return path
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"Expected type str or Path but found an object of type {type(path)}")
    text = path_text(path)
    as_local(text)  # which refuses URLs of files that cannot be
    if is_url(text):
        return text
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise StateError(
            f"Conversion to path not possible for {text!r}: {error} Check the name after ~, or "
            "write the path in full",
            code="BAD_PATH",
        ) from None


def _refuse_voxels(path: Any, owner: str) -> None:
    if hasattr(path, "__array__"):
        raise TypeError(
            "Expected type str or Path but found a tensor/array. Instead of "
            f"{owner}(your_tensor), use {owner}(tensor=your_tensor)."
        )


def _require_existing(path: OnePath) -> None:
    if not isinstance(path, Path):
        return
    with naming_errors_of_system(str(path)):
        is_there = path.exists() or is_inside_zip(path)
    if not is_there:
        if path.is_symlink():
            raise absent(str(path))
        if names_label_map(path):
            open_source(path)  # fails, and says which label maps there are
        where = "" if path.is_absolute() else f" (looked for in {Path.cwd()})"
        raise MissingFileError(f'File not found: "{path}"{where}', path=path)


def _guarded(paths: Sequence[Any]) -> Iterator[FileIdentity]:
    for path in paths:
        file_format = None if is_zarr_store(path) or is_url(path) else format_of(path)
        if file_format is not None and file_format.identity == "set":
            yield from (FileIdentity.of(file) for file in files_of(path) if os.path.isfile(file))


def _resolved(path: OnePath) -> Any:
    return os.path.abspath(path) if isinstance(path, Path) else path


def _name(path: OnePath) -> str:
    if isinstance(path, Path):
        return path.name
    return Address.parse(path).name if is_url(path) else Path(str(path)).name
