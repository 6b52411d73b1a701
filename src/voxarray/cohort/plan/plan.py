"""The plan of a cohort: all images with their inputs, in one file with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from voxarray.archive.metadata import Kind
from voxarray.cohort.discover.input import source_told
from voxarray.cohort.folder import PLAN_FORMAT
from voxarray.cohort.plan.item import Input, Item
from voxarray.core.errors import ChecksumError, FormatError, MissingFileError
from voxarray.core.memory import format_bytes
from voxarray.storage.small_files import read_file, write_if_other

VERSION = 1

_MANY_INODES = 100_000
"""From here on zips are proposed: quotas of clusters begin at a few hundred thousand files."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All images of a cohort, in the order of their names.

    Attributes:
        items: The images.
        origin: Digest of the given sources; their paths are not stored.
        options: Digest of the options.
        zipped: Whether archives are single files.
        mixed: Whether the user allows archives of another pipeline in the folder.
        given: The options by name; None in plans of release 0.2.0 and before.
        choice: Digest of the patterns and columns that chose the inputs; None in such plans, and
            where no files were searched.
        selection: The patterns and columns that had an effect, as `changed_selection.noted` has
            them; None as for ``choice``.
    """

    items: tuple[Item, ...]
    origin: str
    options: str
    zipped: bool
    mixed: bool = False
    given: Mapping[str, Any] | None = None
    choice: str | None = None
    selection: Mapping[str, str] | None = None

    def write(self, path: str) -> None:
        """Write the plan in one step, unless the file has this content already.

        Raises:
            ArchiveError: If writing fails.
        """
        write_if_other(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The file, whose last line is the sha256 of all before it."""
        content = {
            "format": PLAN_FORMAT,
            "version": VERSION,
            "origin": self.origin,
            "options": self.options,
            "zipped": self.zipped,
            # A part reads only this line and its own rows.
            "order": [number for number, _ in _by_size(self.items)],
        }
        if self.mixed:
            content["mixed"] = True
        if self.given is not None:
            content["given"] = dict(self.given)
        if self.choice is not None:
            content["choice"] = self.choice
        if self.selection is not None:
            content["selection"] = dict(self.selection)
        rows = ",\n".join(json.dumps(item.to_json()) for item in self.items)
        body = f'{json.dumps(content)[:-1]},\n"items": [\n{rows}\n],\n'.encode()
        return body + f'"sha256": "{hashlib.sha256(body).hexdigest()}"}}\n'.encode()

    @classmethod
    def read(cls, path: str) -> Plan:
        """The plan at a path.

        Raises:
            MissingFileError: If there is none (``NO_PLAN``).
            ChecksumError: If it is not the one that was written.
            FormatError: If another voxarray wrote it (``UNKNOWN_VERSION``).
        """
        try:
            data = read_file(path)
        except FileNotFoundError:
            raise missing(path) from None
        body = data[: data.rfind(b'"sha256"')]
        try:
            content = json.loads(data)
            intact = content["sha256"] == hashlib.sha256(body).hexdigest()
        except (ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            raise damaged(path)
        refuse_version(content, path)
        items = tuple(Item.from_json(row) for row in content["items"])
        return cls(items, *stated(content))

    def part(self, number: int, of: int) -> list[Item]:
        """One of several parts of about the same size, which together hold all items.

        Args:
            number: Of the part, from 1 on.
            of: Parts.
        """
        return by_size(self.items)[number - 1 :: of]

    @property
    def sources(self) -> list[str]:
        """Names of all files that it is made of."""
        return [
            origin.source
            for item in self.items
            for origin in (item.origin, *(layer.origin for layer in item.layers))
        ]

    @property
    def inodes(self) -> int:
        """Files and folders of all archives, at most."""
        good = [item for item in self.items if item.failure is None]
        return sum(1 if self.zipped else item.header.inodes for item in good if item.header)

    def _files(self) -> str:
        """Line of the summary about files and folders."""
        if self.zipped or self.inodes < _MANY_INODES:
            return f"{self.inodes:,} files and folders"
        zipped = replace(self, zipped=True).inodes
        return (
            f"{self.inodes:,} files and folders; if the file system limits their number, use "
            f"--zip, which makes one file of each archive, {zipped:,} in all"
        )

    @property
    def labels_apart(self) -> int:
        """Number of label maps that go with none of their subject's images: none has their grid."""
        fine = [item for item in self.items if item.failure is None]
        scanned = {item.subject for item in fine if item.kind == "intensity"}
        return sum(item.kind == "label" and item.subject in scanned for item in fine)

    def summary(self) -> str:
        """A summary of the plan, in a few lines."""
        fine = [item for item in self.items if item.failure is None]
        peak = max((item.header.peak for item in fine if item.header), default=0)
        rows = [
            f"{_count(len(self.items), 'image')} of "
            f"{_count(len({item.subject for item in self.items}), 'subject')}",
            f"{_count(sum(len(item.layers) for item in fine), 'label map')} to be stored with "
            f"{'its' if sum(len(item.layers) for item in fine) == 1 else 'their'} image",
            *([labels_apart_told(self.labels_apart)] if self.labels_apart else []),
            f"{format_bytes(sum(item.size for item in fine))} of voxels, at most as much on disk "
            "(usually half of it)",
            self._files(),
            f"{format_bytes(peak)} of memory for the largest image",
        ]
        failing = [item for item in self.items if item.failure is not None]
        if failing:
            rows.append(f"{len(failing)} cannot be converted:")
            failure_lines = [
                f"  {source_told(bad_item.origin.source)}: {bad_item.failure.code}"
                for bad_item in failing[:20]
                if bad_item.failure
            ]
            rows += failure_lines
            rows += [f"  and {len(failing) - 20} more"] if len(failing) > 20 else []
        return "\n".join(rows)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def labels_apart_told(number: int) -> str:
    """What is said of label maps that are not stored with an image, which evaluation needs."""
    if number == 1:
        return (
            "1 label map has an archive of its own, since no image that it could belong to has the "
            "same grid"
        )
    return (
        f"{number:,} label maps have archives of their own, since no images that they could belong "
        "to have the same grids"
    )


def stated(
    content: Mapping[str, Any],
) -> tuple[str, str, bool, bool, Mapping[str, Any] | None, str | None, Mapping[str, str] | None]:
    """Fields of a plan but its items, in their order, from a file."""
    mixed = content.get("mixed", False) is True
    given = content.get("given")
    known = given if isinstance(given, dict) else None
    choice = content.get("choice")
    chosen = choice if isinstance(choice, str) else None
    selection = content.get("selection")
    return (
        content["origin"],
        content["options"],
        content["zipped"],
        mixed,
        known,
        chosen,
        selection if isinstance(selection, dict) else None,
    )


def missing(path: str) -> MissingFileError:
    """The error for a missing plan."""
    return MissingFileError(
        f"there is no plan {path}: run voxarray plan SOURCES DESTINATION first",
        code="NO_PLAN",
        path=path,
    )


def damaged(path: str) -> ChecksumError:
    """The error for a damaged plan."""
    return ChecksumError(
        f"the plan {path} is not the one that was written: delete it and plan again", path=path
    )


def refuse_version(content: Mapping[str, Any], path: str) -> None:
    """Raise `FormatError` (``UNKNOWN_VERSION``) for a plan of another version of the format."""
    if content["format"] != PLAN_FORMAT or content["version"] != VERSION:
        raise FormatError(
            f"{path} is a plan of version {content['version']}, and this voxarray reads version "
            f"{VERSION}: plan again",
            code="UNKNOWN_VERSION",
            path=path,
        )


def by_size(items: Sequence[Item]) -> list[Item]:
    """Items, the largest first, so that a large one is not started last."""
    return [item for _, item in _by_size(items)]


def _by_size(items: Sequence[Item]) -> list[tuple[int, Item]]:
    return sorted(enumerate(items), key=lambda row: (-row[1].size, row[1].slug))


def key_of(parts: Sequence[Any]) -> str:
    """Digest of all that an archive depends on."""
    return hashlib.sha256(_SORTED.encode(parts).encode()).hexdigest()


_SORTED = json.JSONEncoder(sort_keys=True)
"""Made once: `json.dumps` would make an encoder for each text."""


def archive_key(
    subject: str,
    image: str,
    kind: Kind,
    inputs: Sequence[Input],
    kept: Mapping[str, Any],
    digest: str,
    *,
    stamped: bool = True,
) -> str:
    """Digest of what an archive depends on.

    Args:
        subject: Whose image it is.
        image: Its name.
        kind: What it is.
        inputs: What it is made from.
        kept: What a table says of its image, which its archive holds, too.
        digest: Of the options.
        stamped: Whether the fingerprints of the files are part of it.
    """
    files = [[o.source, o.stamp.digest if stamped else None, o.header, o.series] for o in inputs]
    cells = [dict(kept)] if kept else []
    return key_of([subject, image, kind, files, digest, *cells])
