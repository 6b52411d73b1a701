"""A change of the label maps and notes of an archive, in whatever store: its next manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from voxarray.archive import layer_names
from voxarray.archive import manifest as manifests
from voxarray.archive.layer_names import FOLDER, LIST
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.root_prefix import root_of
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import (
    ArchiveExistsError,
    FormatError,
    MissingFileError,
    SourceChangedError,
    UnsupportedError,
)

MOST_NOTES = 64 << 10
"""Bytes of the notes of an archive."""


@dataclass(frozen=True, slots=True)
class Change:
    """What the next generation has that the one before has not, and the other way round.

    Attributes:
        added: Entries of the files of new label maps, by name of the label map and full key.
        removed: Names of label maps that are removed.
        notes: New notes, by key.
        forgotten: Keys of notes that are removed.
        source: New facts about the source, by key; they replace those of the same key.
    """

    added: Mapping[str, Mapping[str, FileEntry]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    forgotten: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, current: Manifest, path: str) -> Manifest:
        """The manifest after this change.

        Args:
            current: The manifest that will be replaced.
            path: The archive, for messages.

        Raises:
            UnsupportedError: If the archive is of format version 1 (``OLD_VERSION``).
            ArchiveExistsError: If a name is taken (``NAME_TAKEN``).
            MissingFileError: If what is to be removed is not there (``NO_LABELS``, ``NO_NOTE``).
            FormatError: If notes are no JSON, or too many (``BAD_METADATA``).
        """
        if current.version < manifests.VERSION:
            raise UnsupportedError(
                f"{path} has format version {current.version}, to which nothing can be added: "
                f"{MAKE_AGAIN}",
                code="OLD_VERSION",
                path=path,
            )
        root = root_of(current.files)
        files = {key: entry for key, entry in current.files.items() if key != root + LIST}
        for name in self.removed:
            require_layer(name, current, path)
            folder = f"{root}{FOLDER}/{name}/"
            files = {key: entry for key, entry in files.items() if not key.startswith(folder)}
        for name, entries in self.added.items():
            require_free(name, layer_names.names_in(files, root), path)
            files |= entries
        if names := layer_names.names_in(files, root):
            files[root + LIST] = FileEntry.of(layer_names.list_document(names))
        return current.successor(files, self._noted(current, path), self.source)

    def _noted(self, current: Manifest, path: str) -> Mapping[str, Any]:
        notes = dict(current.metadata)
        for key in self.forgotten:
            if key not in notes:
                raise MissingFileError(
                    f"{path} has no note {key!r:.80} (see add_notes): the keys of its notes are "
                    f"{sorted(notes)!r:.200}",
                    code="NO_NOTE",
                    path=path,
                )
            del notes[key]
        for key, value in self.notes.items():
            if key in notes and notes[key] != value:
                raise ArchiveExistsError(
                    f"{path} has a note {key!r:.80} already, {notes[key]!r:.80}: remove it first",
                    code="NAME_TAKEN",
                    path=path,
                )
            notes[key] = value
        try:
            size = len(json.dumps(notes, allow_nan=False).encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise FormatError(
                f"notes must be what JSON can hold: strings, finite numbers, True, False, None, "
                f"lists, and dicts with strings as keys ({error})",
                code="BAD_METADATA",
                path=path,
            ) from error
        if size > MOST_NOTES:
            raise FormatError(
                f"the notes of {path} (see add_notes) would have {size} bytes in all, but may have "
                f"at most {MOST_NOTES}: put long notes into a file of their own",
                code="BAD_METADATA",
                path=path,
            )
        return notes


def require_free(name: str, names: Iterable[str], path: str) -> None:
    """Raise `ArchiveExistsError` (``NAME_TAKEN``) if a label map of that name is there."""
    taken = layer_names.taken_by(name, names)
    if taken is not None:
        raise ArchiveExistsError(
            f"{path} has the label map {taken!r} already: choose another name, or remove the "
            "existing one first (voxarray remove-labels, or remove_labels of vx.Archive)",
            code="NAME_TAKEN",
            path=path,
        )


def require_layer(name: str, manifest: Manifest, path: str) -> None:
    """Raise `MissingFileError` (``NO_LABELS``) unless there is a label map of that name."""
    names = layer_names.names_in(manifest.files, root_of(manifest.files))
    if name not in names:
        raise MissingFileError(
            f"{path} has no label map {name!r:.100}; its label maps are {names!r:.300}",
            code="NO_LABELS",
            path=path,
        )


def replaced_meanwhile(path: str) -> SourceChangedError:
    """The error for a change of an archive that is not there any more."""
    return SourceChangedError(
        f"another process replaced or deleted the archive {path} during this change: nothing was "
        "added or removed; if there is a new archive, try again with it",
        path=path,
    )
