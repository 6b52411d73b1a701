"""Archives that one call has saved together: whether those that are opened are of one call.

The images of a subject appear one after the other, each whole. Who is killed between two of them,
and two who save at once, leave some of one call beside some of another; each archive says which
call saved it, and which others it saved, so that whoever opens them as one subject is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from voxarray.core.errors import StateError
from voxarray.storage.folder_lock import random_identity

KEY = "saved_together"
"""Of the source of a manifest."""


@dataclass(frozen=True, slots=True)
class SavedTogether:
    """What an archive says of the call that saved it.

    Attributes:
        folder: The archive is in it.
        name: Of the archive.
        call: That no other call has.
        names: Of all archives that it saved to its folder.
    """

    folder: str
    name: str
    call: str
    names: frozenset[str]

    @classmethod
    def parse(cls, path: str, source: Mapping[str, Any]) -> SavedTogether | None:
        """Of the manifest of an archive; None if it was saved by itself.

        Args:
            path: Of the archive.
            source: What its manifest says of its source.
        """
        record = source.get(KEY)
        if not isinstance(record, dict):
            return None
        call, names = record.get("call"), record.get("names")
        if not isinstance(call, str) or not isinstance(names, list):
            return None
        folder, _, name = path.rstrip("/").rpartition("/")
        return cls(folder, name, call, frozenset(item for item in names if isinstance(item, str)))

    def conflicts(self, other: SavedTogether) -> bool:
        """Whether two calls have saved both archives, and one is of one call, one of the other."""
        return (
            self.call != other.call
            and self.folder == other.folder
            and {self.name, other.name} <= self.names & other.names
        )


@dataclass(slots=True)
class OpenedTogether:
    """The archives that were opened as one subject."""

    _archives: dict[tuple[str, str], SavedTogether] = field(default_factory=dict)

    def add(self, archive: SavedTogether) -> None:
        """Note an archive that was opened.

        Raises:
            StateError: If it and an earlier archive are of two calls that each saved both
                (``SAVED_APART``).
        """
        self._archives[archive.folder, archive.name] = archive
        for other in self._archives.values():
            if archive.conflicts(other):
                raise apart(other, archive)


def apart(first: SavedTogether, second: SavedTogether) -> StateError:
    """The error of two archives that may not belong together."""
    return StateError(
        f"{first.name} and {second.name} in {first.folder} come from two different calls of "
        "Subject.save, so they may not belong together. One call was interrupted or is not done "
        "yet, or both ran at the same time. Save the subject again (overwrite=True), or open the "
        "images without a Subject",
        code="SAVED_APART",
        path=first.folder,
    )


def facts_of_call(names: Iterable[str]) -> dict[str, Any]:
    """What the manifests of archives say that one call saves; new with each call."""
    return {KEY: {"call": random_identity(), "names": sorted(names)}}
