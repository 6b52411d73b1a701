"""`Archive`: an archive that is there, its image and its label maps, and what is added to it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from voxarray.archive.layer_names import FOLDER, names_in
from voxarray.archive.layers import add_layer, change_notes, remove_layer
from voxarray.archive.locate import locate
from voxarray.archive.manifest import Manifest
from voxarray.archive.metadata import Label
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.roots import root_of
from voxarray.archive.source import open_archive
from voxarray.cohort.catalogue.refresh import refresh
from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayError, VoxarrayWarning
from voxarray.core.given_paths import path_text
from voxarray.core.keys import LABEL
from voxarray.core.progress import ProgressOption, reporting
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.storage.remote.address import as_local, is_url

_HEX = re.compile(r"#([0-9a-fA-F]{6})([0-9a-fA-F]{2})?")


class Archive:
    """An archive and what may change in it: label maps and notes come and go, voxels never.

    Examples:
        >>> import voxarray as vx
        >>> scan = vx.testing.sample()
        >>> done = vx.convert(scan, "scan.ome.zarr", overwrite=True)
        >>> archive = vx.Archive("scan.ome.zarr")
        >>> bright = vx.LabelMap(tensor=(scan.data > 100).byte(), affine=scan.affine)
        >>> archive.add_labels("bright", bright, names={1: "bright"}, colours={1: "#ff8800"})
        LabelMap(...)
        >>> list(archive.labels)
        ['bright']
        >>> archive.remove_labels("bright")

    Each change publishes a new generation of the archive in one step. Images that are open go on;
    those of a label map that was removed say so (`SourceChangedError`). Several processes may
    change one archive at once. The catalogue of a cohort follows.

    Args:
        path: Of an archive that voxarray wrote: a folder, a zip (which is sealed) or a URL.

    Raises:
        MissingFileError: If there is nothing.
        FormatError: If it is no archive of ours (``NOT_AN_ARCHIVE``).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = as_local(path_text(path))
        self._path = text if is_url(text) else os.path.abspath(os.path.expanduser(text))
        place = locate(self._path)
        if not place.is_ours or place.key:
            raise FormatError(
                f"{text} is not an archive that voxarray wrote: convert it (vx.convert), or open "
                "what is in it as an image",
                code="NOT_AN_ARCHIVE",
                path=self._path,
            )
        self._store = place.store

    @property
    def path(self) -> str:
        """Where it is."""
        return self._path

    @property
    def image(self) -> Image:
        """Its image, lazily: a `ScalarImage` or a `LabelMap`."""
        kind = LabelMap if open_archive(self._path).image.kind == "label" else ScalarImage
        return kind(self._path)

    @property
    def labels(self) -> Mapping[str, LabelMap]:
        """Its label maps by name, sorted, as they are now; no voxel is read."""
        files = self._manifest.files
        return _Labels(self._path, tuple(names_in(files, root_of(files))))

    @property
    def notes(self) -> Mapping[str, Any]:
        """What was noted of it by `add_notes`, as it is now."""
        return dict(self._manifest.metadata)

    @property
    def generation(self) -> int:
        """How often it was changed since it was made."""
        return self._manifest.generation

    @property
    def identity(self) -> str:
        """Digest that stays the same whatever is added, and that no other archive has."""
        return self._manifest.identity

    def add_labels(
        self,
        name: str,
        label_map: LabelMap | str | os.PathLike[str],
        *,
        names: Mapping[int, str] | None = None,
        colours: Mapping[int, Any] | None = None,
        codec: str | None = None,
        chunks: int | None = None,
        memory: int | str | None = None,
        progress: ProgressOption = None,
    ) -> LabelMap:
        """Add a label map on the image's grid; it is there as a whole or not at all.

        Args:
            name: Of the label map: a plain word, without slashes.
            label_map: A `LabelMap`, or the path of one.
            names: Of values; then every value in the label map but 0 needs one. By default those
                that the label map has, if it comes from an archive.
            colours: Of values, as ``(r, g, b)`` or ``(r, g, b, a)`` from 0 to 255, or
                ``"#rrggbb"``; by default those that the label map has.
            codec: Profile; by default ``"labels"``.
            chunks: Edge of a chunk in voxels.
            memory: Budget, in bytes or as ``"512 MiB"``.
            progress: True, False, a function of bytes done and in all, or None: a bar where
                somebody looks.

        Returns:
            The label map in the archive, lazily.

        Raises:
            FormatError: For a name that cannot be (``BAD_NAME``), values without names
                (``UNNAMED_VALUES``), or that are no whole numbers (``FRACTIONAL_LABELS``), and
                names or colours that are none (``BAD_LABELS``).
            ArchiveExistsError: If the name is taken (``NAME_TAKEN``).
            GridError: If it is on another grid (``GRID_MISMATCH``).
            UnsupportedError: If the archive cannot be added to: a zip (``SEALED``), one on a web
                server (``UNSUPPORTED_DESTINATION``), of format version 1 (``OLD_VERSION``); or if
                an image of another type is given (``NO_LABEL_MAP``).
            AccessDeniedError: If it may not be written (``READ_ONLY``).
            ArchiveError: What the disk refuses (``NO_SPACE``, ``IO_ERROR``); in a bucket, that
                another writer of this name is at work or was interrupted (``INTERRUPTED``).
            MemoryBudgetError: If the projected peak exceeds the budget; nothing was read.
        """
        given = label_map if isinstance(label_map, Image) else LabelMap(label_map)
        if given.type != LABEL:
            raise UnsupportedError(
                f"{name!r} is given as an image of type {given.type!r}: make a LabelMap of it",
                code="NO_LABEL_MAP",
                path=self._path,
            )
        source = given.source
        table = _table(source.label_table, names, colours)
        with _budget(memory), reporting(progress, str(name)) as report:
            add_layer(
                self._path,
                name,
                LabelLayer(source, table),
                all_named=names is not None,
                options=Options(chunk=chunks, codec=codec),
                progress=report,
            )
        self._tell_cohort()
        return LabelMap(f"{self._path}/{FOLDER}/{name}")

    def remove_labels(self, name: str) -> None:
        """Remove a label map and its files.

        Raises:
            MissingFileError: If there is no label map of that name (``NO_LABELS``).
            VoxarrayError: As `add_labels`.
        """
        remove_layer(self._path, name)
        self._tell_cohort()

    def add_notes(self, **notes: Any) -> None:
        """Note something of the archive: texts, numbers, lists and objects, as JSON has them.

        Notes are for what is learned after an archive was made, such as a result of quality
        control. Nothing is put in the place of a note that says something else.

        Raises:
            FormatError: If it is no JSON, or more than 64 KiB (``BAD_METADATA``).
            ArchiveExistsError: If there is another note of that name (``NAME_TAKEN``).
            VoxarrayError: As `add_labels`.
        """
        change_notes(self._path, notes)

    def remove_notes(self, *names: str) -> None:
        """Remove notes.

        Raises:
            MissingFileError: If there is none of a name (``NO_NOTE``).
            VoxarrayError: As `add_labels`.
        """
        change_notes(self._path, {}, names)

    def __repr__(self) -> str:
        return (
            f"Archive({self._path!r}; labels: {list(self.labels)}; generation: {self.generation})"
        )

    def _tell_cohort(self) -> None:
        try:
            refresh([self._path])
        except (VoxarrayError, OSError) as error:
            text = (
                f"{self._path} was changed, and the catalogue of its cohort could not follow "
                f"({error}): run voxarray finalise on the cohort"
            )
            warnings.warn(text, VoxarrayWarning, stacklevel=3)

    @property
    def _manifest(self) -> Manifest:
        return Manifest.read(self._store)


class _Labels(Mapping[str, LabelMap]):
    """Label maps of an archive by name."""

    def __init__(self, path: str, names: tuple[str, ...]) -> None:
        self._path, self._names = path, names

    def __getitem__(self, name: str) -> LabelMap:
        if name not in self._names:
            raise KeyError(name)
        return LabelMap(f"{self._path}/{FOLDER}/{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<label maps {list(self._names)} of {self._path}>"


def _table(
    known: tuple[Label, ...], names: Mapping[int, str] | None, colours: Mapping[int, Any] | None
) -> tuple[Label, ...]:
    """Names and colours by value."""
    for given in (names, colours):
        if not isinstance(given, Mapping | None):
            raise _bad(f"{given!r:.80} says nothing of values: give a dict, such as {{1: 'core'}}")
    named = (
        {label.value: label.name for label in known if label.name}
        if names is None
        else {_value(value): _name(name) for value, name in names.items()}
    )
    coloured = (
        {label.value: label.colour for label in known if label.colour is not None}
        if colours is None
        else {_value(value): _colour(colour) for value, colour in colours.items()}
    )
    return tuple(
        Label(value, named.get(value, ""), coloured.get(value))
        for value in sorted(named.keys() | coloured.keys())
    )


def _value(value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _bad(f"{value!r:.80} is not a label: labels are whole numbers")
    return int(value)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise _bad(f"{name!r:.80} is not a name: names of labels are texts")
    return name


def _colour(colour: Any) -> tuple[int, int, int, int]:
    if isinstance(colour, str) and (match := _HEX.fullmatch(colour)):
        parts = list(bytes.fromhex(match[1] + (match[2] or "ff")))
    elif isinstance(colour, str) or not hasattr(colour, "__iter__"):
        parts = []
    else:
        parts = [int(p) if _is_byte(p) else -1 for p in colour]
        parts += [255] * (len(parts) == 3)
    if len(parts) != 4 or min(parts) < 0:
        raise _bad(f"{colour!r:.80} is no colour: give (r, g, b), 0 to 255 each, or '#rrggbb'")
    red, green, blue, alpha = parts
    return red, green, blue, alpha


def _is_byte(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__index__") and 0 <= int(value) <= 255


def _bad(message: str) -> FormatError:
    return FormatError(message, code="BAD_LABELS")


def _budget(memory: int | str | None) -> AbstractContextManager[Any]:
    if memory is None:
        return nullcontext()
    import dask.config

    budget: AbstractContextManager[Any] = dask.config.set({"voxarray.memory-budget": memory})
    return budget
