"""`Archive`: an archive that is there, its image and its label maps, and what is added to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from voxarray.archive.layer_names import FOLDER, names_in
from voxarray.archive.layers import add_layer, change_notes, remove_layer
from voxarray.archive.locate import locate
from voxarray.archive.manifest import Manifest
from voxarray.archive.metadata import Label
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.root_prefix import root_of
from voxarray.archive.source import open_archive
from voxarray.cohort.catalogue.refresh import refresh
from voxarray.cohort.catalogue.taken_names import require_free
from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayError, VoxarrayWarning
from voxarray.core.given_paths import path_text
from voxarray.core.keys import LABEL
from voxarray.core.label_colours import rgba_of
from voxarray.core.names_elsewhere import listed
from voxarray.core.progress import ProgressOption, reporting
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.storage.remote.address import Address, as_local, is_url


class Archive:
    """An archive on disk or in a bucket: an image in one OME-Zarr store with checksums.

    Label maps and notes can be added and removed. The voxels of the image never change.

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

    A change takes effect in one step, completely or not at all, and increases `generation` by one.
    Images that are already open can still be read, except for a label map that was removed
    (`SourceChangedError`). Several processes may change one archive at the same time. If the
    archive belongs to a cohort, the cohort's catalogue is updated, too.

    Args:
        path: Path of an archive that voxarray wrote: a folder, a zip (which cannot be changed) or a
            URL.

    Raises:
        MissingFileError: If there is nothing at the path.
        FormatError: If voxarray did not write it (``NOT_AN_ARCHIVE``).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = as_local(path_text(path))
        self._path = text if is_url(text) else os.path.abspath(os.path.expanduser(text))
        location = locate(self._path)
        if not location.is_ours or location.key:
            raise FormatError(
                f"{text} is not an archive that voxarray wrote: convert it to one (vx.convert), or "
                "open it as an image (vx.ScalarImage or vx.LabelMap)",
                code="NOT_AN_ARCHIVE",
                path=self._path,
            )
        self._store = location.store

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
        """Its current label maps by name, sorted; no voxel is read."""
        files = self._manifest.files
        return _Labels(self._path, tuple(names_in(files, root_of(files))))

    @property
    def notes(self) -> Mapping[str, Any]:
        """Its current notes, as added by `add_notes`."""
        return dict(self._manifest.metadata)

    @property
    def generation(self) -> int:
        """Number of changes since the archive was made."""
        return self._manifest.generation

    @property
    def identity(self) -> str:
        """Digest that identifies the archive; adding label maps or notes does not change it."""
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
        """Add a label map on the image's grid, completely or not at all.

        Args:
            name: Name of the label map: a plain word, without slashes.
            label_map: A `LabelMap`, or the path of one.
            names: Names by value. If names are given, every value in the label map except 0 needs
                one. By default, the names in the archive that the label map comes from.
            colours: Colours by value, as ``(r, g, b)`` or ``(r, g, b, a)`` from 0 to 255, or
                ``"#rrggbb"``; by default the label map's own.
            codec: One of the profiles that `Image.save` lists; by default ``"labels"``.
            chunks: Edge of a chunk in voxels.
            memory: Memory budget, in bytes or as ``"512 MiB"``; by default the setting
                ``voxarray.memory-budget`` (in dask's configuration).
            progress: True shows a progress bar, False none, None (the default) only in a terminal
                or notebook; or a function of (bytes done, bytes in all).

        Returns:
            The label map in the archive, lazily.

        Raises:
            FormatError: If the name is not allowed (``BAD_NAME``), values have no names
                (``UNNAMED_VALUES``) or are not whole numbers (``FRACTIONAL_LABELS``), or a name or
                colour of a value is invalid (``BAD_LABELS``).
            ArchiveExistsError: If the name is taken, by a label map of the archive or, in a cohort,
                by an image of the subject (``NAME_TAKEN``).
            GridError: If it is on another grid (``GRID_MISMATCH``).
            UnsupportedError: If the archive cannot be added to: a zip (``SEALED``), one on a web
                server (``UNSUPPORTED_DESTINATION``), of format version 1 (``OLD_VERSION``); or if
                an image of another type is given (``NO_LABEL_MAP``).
            AccessDeniedError: If this user may not write to the archive (``READ_ONLY``).
            ArchiveError: If writing fails (``NO_SPACE``, ``IO_ERROR``), or, in a bucket, if another
                writer is adding this name or was interrupted (``INTERRUPTED``).
            MemoryBudgetError: If the projected peak exceeds the budget; nothing was read.
        """
        image = label_map if isinstance(label_map, Image) else LabelMap(label_map)
        if image.type != LABEL:
            raise UnsupportedError(
                f"a label map is expected, but {name!r} is an image of type {image.type!r}: if its "
                "voxels are labels, make a vx.LabelMap of it",
                code="NO_LABEL_MAP",
                path=self._path,
            )
        require_free(self._path, name)
        source = image.source
        table = _table(source.label_table, names, colours)
        told = self._told_cohorts(lambda: name in self.labels)
        with told, _budget(memory), reporting(progress, str(name)) as report:
            add_layer(
                self._path,
                name,
                LabelLayer(source, table),
                all_named=names is not None,
                options=Options(chunk=chunks, codec=codec),
                progress=report,
            )
        return LabelMap(f"{self._path}/{FOLDER}/{name}")

    def remove_labels(self, name: str) -> None:
        """Remove a label map and its files.

        Raises:
            MissingFileError: If there is no label map of that name (``NO_LABELS``).
            VoxarrayError: As `add_labels`.
        """
        with self._told_cohorts(lambda: name not in self.labels):
            remove_layer(self._path, name)

    def add_notes(self, **notes: Any) -> None:
        """Add notes to the archive: texts, numbers, lists and objects, as in JSON.

        Notes are for facts that become known after an archive was made, such as a result of quality
        control. An existing note with other content is not replaced.

        Raises:
            FormatError: If a note is not JSON, or the notes exceed 64 KiB (``BAD_METADATA``).
            ArchiveExistsError: If there is another note of that name (``NAME_TAKEN``).
            VoxarrayError: As `add_labels`.
        """
        change_notes(self._path, notes)

    def remove_notes(self, *names: str) -> None:
        """Remove notes.

        Raises:
            MissingFileError: If there is no note of a given name (``NO_NOTE``).
            VoxarrayError: As `add_labels`.
        """
        change_notes(self._path, {}, names)

    def __repr__(self) -> str:
        return (
            f"Archive({self._path!r}; labels: {list(self.labels)}; generation: {self.generation})"
        )

    @contextmanager
    def _told_cohorts(self, is_done: Callable[[], bool]) -> Iterator[None]:
        """Tell cohorts of the change that the body makes.

        A signal or Ctrl-C may come when the change is there and no catalogue knows it yet.

        Args:
            is_done: Whether the change is there.
        """
        try:
            yield
            tell_cohorts([self._path])
        except KeyboardInterrupt:
            if is_done():
                tell_cohorts([self._path])
            raise

    @property
    def _manifest(self) -> Manifest:
        return Manifest.read(self._store)


def tell_cohorts(archives: Sequence[str]) -> None:
    """Bring the catalogues of the cohorts that archives belong to up to date; else warn.

    Args:
        archives: Paths or URLs of archives whose label maps have changed.
    """
    try:
        refresh(archives)
    except (VoxarrayError, OSError) as error:
        others = len(archives) - 1
        more = f" and {others} other archive{'s' * (others > 1)} were" if others else " was"
        text = (
            f"{archives[0]}{more} changed, but the catalogue of the cohort could not be updated "
            f"({error}): run voxarray finalise on the cohort"
        )
        warn_caller(text, VoxarrayWarning)


class _Labels(Mapping[str, LabelMap]):
    """Label maps of an archive by name."""

    def __init__(self, path: str, names: tuple[str, ...]) -> None:
        self._path, self._names = path, names

    def __getitem__(self, name: str) -> LabelMap:
        if name not in self._names:
            # The query of a signed URL is a secret, and errors end up in logs.
            path = Address.parse(self._path).shown if is_url(self._path) else self._path
            raise KeyError(f"no label map {name!r} in {path}; its label maps: {listed(self)}")
        return LabelMap(f"{self._path}/{FOLDER}/{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<label maps {list(self._names)} of {self._path}>"


def _table(
    existing: tuple[Label, ...], names: Mapping[int, str] | None, colours: Mapping[int, Any] | None
) -> tuple[Label, ...]:
    """Names and colours by value."""
    for argument in (names, colours):
        if not isinstance(argument, Mapping | None):
            raise _bad(
                f"{argument!r:.80} is not a dict whose keys are label values: give one, such as "
                "{1: 'core'}"
            )
    named = (
        {label.value: label.name for label in existing if label.name}
        if names is None
        else {_value(value): _name(name) for value, name in names.items()}
    )
    coloured = (
        {label.value: label.colour for label in existing if label.colour is not None}
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
        raise _bad(f"{name!r:.80} is not the name of a label: give text, such as 'core'")
    return name


def _colour(colour: Any) -> tuple[int, int, int, int]:
    rgba = rgba_of(colour)
    if rgba is None:
        raise _bad(f"{colour!r:.80} is not a colour: give (r, g, b), 0 to 255 each, or '#rrggbb'")
    return rgba


def _bad(message: str) -> FormatError:
    return FormatError(message, code="BAD_LABELS")


def _budget(memory: int | str | None) -> AbstractContextManager[Any]:
    if memory is None:
        return nullcontext()
    import dask.config

    budget: AbstractContextManager[Any] = dask.config.set({"voxarray.memory-budget": memory})
    return budget
