"""BIDS: entities in the names of files, and rules which files are images."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pathspec import GitIgnoreSpec

from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.input import DiscoveredInput, stem
from voxarray.cohort.discover.listing import BESIDE
from voxarray.cohort.discover.text_table import (
    NOT_UTF8,
    UTF16,
    TableError,
    TextTable,
    not_once,
    read_table,
)
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.errors import FormatError
from voxarray.storage.small_files import is_file, read_file

DESCRIPTION = "dataset_description.json"
PARTICIPANTS = "participants.tsv"
_PARTICIPANT = "participant_id"

LABEL_SUFFIXES = {"dseg", "mask", "defacemask"}
"""Suffixes of label maps (BIDS derivatives, "Segmentations" and "Masks"; masks of defacing)."""

_DATATYPES = {
    *("anat", "func", "dwi", "fmap", "perf", "mrs", "pet", "micr"),
    *("meg", "eeg", "ieeg", "nirs", "emg", "beh", "motion"),
}
_MODALITIES = {
    **dict.fromkeys(("anat", "func", "dwi", "fmap", "perf", "mrs"), "MR"),
    "pet": "PT",
}
_NOT_DATA = ("sourcedata", "code", "stimuli")
_DERIVATIVES = "derivatives"
_ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9+]+)")
_OF_SUBJECT = ("sub", "ses")


def is_dataset(folder: str) -> bool:
    """Whether a folder has the description of a BIDS dataset."""
    return is_file(os.path.join(folder, DESCRIPTION))


def entities(path: str) -> dict[str, str]:
    """Entities of a file by their short names, its ``suffix``, ``datatype`` and ``modality``.

    Examples:
        >>> entities("sub-01/anat/sub-01_run-2_T1w.nii.gz")
        {'sub': '01', 'run': '2', 'suffix': 'T1w', 'datatype': 'anat', 'modality': 'MR'}
    """
    folder, name = os.path.split(stem(path))
    *parts, last = name.split("_")
    labels = {match[1]: match[2] for part in parts if (match := _ENTITY.fullmatch(part))}
    if not labels:
        return {}
    labels["suffix"] = last
    datatype = os.path.basename(folder)
    if datatype in _DATATYPES:
        labels["datatype"] = datatype
    if datatype in _MODALITIES:  # not ``micr``, which covers several modalities
        labels["modality"] = _MODALITIES[datatype]
    return labels


def subject_of(labels: Mapping[str, str]) -> str:
    """Subject and session, which share images: ``sub-01/ses-2``."""
    return "/".join(f"{key}-{labels[key]}" for key in _OF_SUBJECT if key in labels)


def image_of(path: str) -> str:
    """Name of an image within its session: the file name without these two entities."""
    parts = os.path.basename(stem(path)).split("_")
    return "_".join(part for part in parts if part.split("-")[0] not in _OF_SUBJECT)


def ruled_out(path: str, ignored: Ignored) -> str:
    """The rule by which a file is no image of a dataset; empty if it is one.

    Args:
        path: Below the root, with ``/``.
        ignored: Patterns of ``.bidsignore``.
    """
    top, *_ = path.split("/")
    labels = entities(path)
    if top in _NOT_DATA:
        return f"in {top} of a BIDS dataset"
    if ignored.holds(path):
        return "by .bidsignore"
    if "sub" not in labels:
        return "whose names do not begin with sub- in a BIDS dataset"
    if top == _DERIVATIVES and labels["suffix"] not in LABEL_SUFFIXES:
        return "derivatives that are no label maps"
    return ""


def is_ruled_out(folder: str, ignored: Ignored) -> bool:
    """Whether all files in a folder of a dataset are left out."""
    return folder.split("/")[0] in _NOT_DATA or ignored.holds(f"{folder}/_")


def state_of(folder: str, ignored: Ignored) -> tuple[bool, bool]:
    """What the name of a folder says of whether its files are images of the dataset."""
    return is_ruled_out(folder.rstrip("/"), ignored), folder.split("/")[0] == _DERIVATIVES


@dataclass(frozen=True, slots=True)
class Ignored:
    """The patterns of a dataset's ``.bidsignore``, with the meaning that ``.gitignore`` has in git.

    Attributes:
        spec: Its patterns; None without any.
    """

    spec: GitIgnoreSpec | None = None

    @classmethod
    def of(cls, folder: str) -> Ignored:
        """The patterns of a dataset.

        Raises:
            FormatError: If the file, or a pattern, cannot be read (``BAD_BIDSIGNORE``): then it is
                unknown what to leave out.
        """
        path = os.path.join(folder, ".bidsignore")
        try:
            text = read_file(path).decode("utf-8-sig", "surrogateescape")
            return cls(GitIgnoreSpec.from_lines(text.splitlines()))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise FormatError(
                f"{path} cannot be read ({error}): expected one pattern per line, as in .gitignore",
                code="BAD_BIDSIGNORE",
                path=path,
            ) from None

    def holds(self, path: str) -> bool:
        """Whether a file of the dataset is to be left out."""
        # As in git: if a folder is left out, no pattern can bring back a file in it; and a pattern
        # that brings back a folder does not bring back the files in it.
        parts = path.split("/")
        folders = ("/".join(parts[:n]) + "/" for n in range(1, len(parts)))
        return any(map(self._holds_itself, (*folders, path)))

    def _holds_itself(self, path: str) -> bool:
        """Whether the last pattern that names a file or folder itself leaves it out."""
        for pattern in reversed(list(self.spec.patterns) if self.spec is not None else []):
            regex = pattern.regex
            if pattern.include is not None and regex is not None and _names(regex, path):
                return bool(pattern.include)
        return False


def participants(
    folder: str, columns: Iterable[str], census: Census
) -> dict[str, dict[str, str]] | None:
    """Some columns of ``participants.tsv``, by ``sub-`` label; None if it has none of them.

    Args:
        folder: In which the table may lie.
        columns: To keep.
        census: Told that the table is not ignored, if it has one of the columns.

    Raises:
        FormatError: It is no table, has one of these columns twice, or two rows of one participant
            differ (``BAD_PARTICIPANTS``).
    """
    path = os.path.join(folder, PARTICIPANTS)
    columns = list(columns)
    if not columns or not is_file(path):
        return None
    text = read_file(path).decode("utf-8-sig", "surrogateescape")
    try:
        if text.startswith(UTF16):
            raise TableError(NOT_UTF8)
        table = read_table(text, "\t")
        present = [name for name in columns if name in table.names]
        if not present:
            return None
        for name in (_PARTICIPANT, *present):
            if table.names.count(name) != 1:
                raise not_once(table.names, name)
        census.use_table(BESIDE)
        return _by_participant(table, present)
    except TableError as error:
        raise FormatError(
            f"{path} cannot be read as a table ({error}): expected columns separated by tabs, the "
            f"first of which is {_PARTICIPANT}, and one row for each participant",
            code="BAD_PARTICIPANTS",
            path=path,
        ) from None


def _by_participant(table: TextTable, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    cells_by_participant: dict[str, dict[str, str]] = {}
    for row in table.rows:
        cells = {name: row[name] for name in columns if name in row}
        if any("\udc80" <= letter <= "\udcff" for cell in cells.values() for letter in cell):
            raise TableError(NOT_UTF8)
        participant = row.get(_PARTICIPANT, "")
        earlier = cells_by_participant.setdefault(participant, cells)
        if participant and earlier != cells:
            differing = next(n for n in columns if earlier.get(n) != cells.get(n))
            raise TableError(
                f"two rows of {participant} differ in {differing}: {earlier.get(differing)!r} and "
                f"{cells.get(differing)!r}; keep one of them"
            )
    return cells_by_participant


def with_participants(
    rows: Mapping[str, Mapping[str, str]] | None,
    prefix: str,
    inputs: Iterable[DiscoveredInput],
    columns: Sequence[str],
) -> Iterator[DiscoveredInput]:
    """Inputs of a folder with what ``participants.tsv`` says of the subject of that very name.

    Args:
        rows: Of the table, by subject; None if it has none of the columns.
        prefix: Of the names of its subjects.
        inputs: As they were found.
        columns: To keep.
    """
    unlisted = set[str]()
    for item in inputs:
        participant = item.subject.removeprefix(prefix)
        if rows is not None and participant not in rows:
            unlisted.add(participant)
        yield (
            replace(item, kept=rows[participant])
            if rows is not None and participant in rows
            else item
        )
    if rows is not None and unlisted:
        warn_of_unlisted(unlisted, rows, columns)


def warn_of_unlisted(
    subjects: Collection[str], rows: Collection[str], columns: Sequence[str]
) -> None:
    """Warn of subjects without a row in the table, whose metadata cannot be kept."""
    count, listed = len(subjects), next(iter(rows), None)
    warn_by_code(
        "METADATA_ABSENT",
        f"{count} subject{'s have' if count > 1 else ' has'} no row in {PARTICIPANTS}, such as "
        f"{min(subjects)}, so {' and '.join(columns)} cannot be kept for "
        f"{'them' if count > 1 else 'it'}; {_PARTICIPANT} must be the name of the "
        f"subject{f', and is {listed!r} in the first row' if listed is not None else ''}",
    )


def agreement(first: Mapping[str, str], second: Mapping[str, str]) -> int | None:
    """How many entities two files share; None if an entity differs.

    Entities that only tell how a derivative was made, or the kind of a file, may differ.
    """
    ignored = {"suffix", "desc", "label", "space", "seg", "atlas", "res", "den", "modality"}
    shared = (first.keys() & second.keys()) - ignored
    if any(first[key] != second[key] for key in shared):
        return None
    return len(shared)


def _names(regex: re.Pattern[Any] | None, path: str) -> bool:
    """Whether a compiled pattern names a path itself, not a folder that it lies in."""
    if regex is None:
        return False
    if regex.groupindex:  # the expression ends with the name
        return regex.fullmatch(path) is not None
    match = regex.match(path)  # it ends in ``**``
    return match is not None and len(path.rstrip("/")) >= match.end()
