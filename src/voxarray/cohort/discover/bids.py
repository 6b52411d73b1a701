"""BIDS: what the names of files say, and which of them count."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pathspec import GitIgnoreSpec

from voxarray.cohort.discover.input import DiscoveredInput, stem
from voxarray.cohort.discover.text_table import TableError, TextTable, not_once, read_table
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
    """Whether a folder says that it is a BIDS dataset."""
    return is_file(os.path.join(folder, DESCRIPTION))


def entities(path: str) -> dict[str, str]:
    """Entities of a file by their short names, its ``suffix``, ``datatype`` and ``modality``.

    Examples:
        >>> entities("sub-01/anat/sub-01_run-2_T1w.nii.gz")
        {'sub': '01', 'run': '2', 'suffix': 'T1w', 'datatype': 'anat', 'modality': 'MR'}
    """
    folder, name = os.path.split(stem(path))
    *parts, last = name.split("_")
    found = {match[1]: match[2] for part in parts if (match := _ENTITY.fullmatch(part))}
    if not found:
        return {}
    found["suffix"] = last
    datatype = os.path.basename(folder)
    if datatype in _DATATYPES:
        found["datatype"] = datatype
    if datatype in _MODALITIES:  # microscopes have no modality in common
        found["modality"] = _MODALITIES[datatype]
    return found


def subject_of(found: Mapping[str, str]) -> str:
    """Subject and session, which share images: ``sub-01/ses-2``."""
    return "/".join(f"{key}-{found[key]}" for key in _OF_SUBJECT if key in found)


def image_of(path: str) -> str:
    """What a file is called within its session: its name without ``sub-`` and ``ses-``."""
    parts = os.path.basename(stem(path)).split("_")
    return "_".join(part for part in parts if part.split("-")[0] not in _OF_SUBJECT)


def ruled_out(path: str, ignored: Ignored) -> str:
    """Which rule says that a file is no image of a dataset; empty if it is one.

    Args:
        path: Below the root, with ``/``.
        ignored: What ``.bidsignore`` says.
    """
    top, *_ = path.split("/")
    found = entities(path)
    if top in _NOT_DATA:
        return f"in {top} of a BIDS dataset"
    if ignored.holds(path):
        return "by .bidsignore"
    if "sub" not in found:
        return "whose names do not begin with sub- in a BIDS dataset"
    if top == _DERIVATIVES and found["suffix"] not in LABEL_SUFFIXES:
        return "derivatives that are no label maps"
    return ""


def is_ruled_out(folder: str, ignored: Ignored) -> bool:
    """Whether nothing in a folder of a dataset is an image, whatever it holds."""
    return folder.split("/")[0] in _NOT_DATA or ignored.holds(f"{folder}/_")


def state_of(folder: str, ignored: Ignored) -> tuple[bool, bool]:
    """What the name of a folder says of whether its files are images of the dataset."""
    return is_ruled_out(folder.rstrip("/"), ignored), folder.split("/")[0] == _DERIVATIVES


@dataclass(frozen=True, slots=True)
class Ignored:
    """What the ``.bidsignore`` of a dataset says, which is read as git reads ``.gitignore``.

    Attributes:
        spec: Its patterns; None without any.
    """

    spec: GitIgnoreSpec | None = None

    @classmethod
    def of(cls, folder: str) -> Ignored:
        """What is ignored in a dataset.

        Raises:
            FormatError: The file, or a pattern, cannot be read (``BAD_BIDSIGNORE``): then nobody
                knows what is to be left out.
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
        # As git goes down: what is in a folder that is left out cannot be taken in again, and a
        # folder that is taken in again says nothing of what is in it.
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


def participants(folder: str, columns: Iterable[str]) -> dict[str, dict[str, str]] | None:
    """Some columns of ``participants.tsv``, by ``sub-`` label; None if it has none of them.

    Raises:
        FormatError: It is no table, has a column of these twice, or says two things of one
            participant (``BAD_PARTICIPANTS``).
    """
    path = os.path.join(folder, PARTICIPANTS)
    columns = list(columns)
    if not columns or not is_file(path):
        return None
    text = read_file(path).decode("utf-8-sig", "surrogateescape")
    try:
        table = read_table(text, "\t")
        wanted = [name for name in columns if name in table.names]
        if not wanted:
            return None
        for name in (_PARTICIPANT, *wanted):
            if table.names.count(name) != 1:
                raise not_once(table.names, name)
        return _by_participant(table, wanted)
    except TableError as error:
        raise FormatError(
            f"{path} cannot be read as a table ({error}): expected columns with tabs between them, "
            f"of which the first is {_PARTICIPANT}, and a row for each participant",
            code="BAD_PARTICIPANTS",
            path=path,
        ) from None


def _by_participant(table: TextTable, wanted: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in table.rows:
        cells = {name: row[name] for name in wanted if name in row}
        whose = row.get(_PARTICIPANT, "")
        known = found.setdefault(whose, cells)
        if whose and known != cells:
            differing = next(n for n in wanted if known.get(n) != cells.get(n))
            raise TableError(
                f"two rows of {whose} differ in {differing}: {known.get(differing)!r} and "
                f"{cells.get(differing)!r}; keep one of them"
            )
    return found


def with_participants(
    folder: str, prefix: str, inputs: Iterable[DiscoveredInput], columns: Sequence[str]
) -> Iterator[DiscoveredInput]:
    """Inputs of a folder with what ``participants.tsv`` says of the subject of that very name.

    Args:
        folder: That was searched.
        prefix: Of the names of its subjects.
        inputs: As they were found.
        columns: To keep.
    """
    rows = participants(folder, columns)
    unlisted = set[str]()
    for one in inputs:
        whose = one.subject.removeprefix(prefix)
        if rows is not None and whose not in rows:
            unlisted.add(whose)
        yield replace(one, kept=rows[whose]) if rows is not None and whose in rows else one
    if rows is not None and unlisted:
        warn_of_unlisted(unlisted, rows, columns)


def warn_of_unlisted(
    subjects: Collection[str], rows: Collection[str], columns: Sequence[str]
) -> None:
    """Say which subjects lack what was to be kept of them, since no row is theirs."""
    count, listed = len(subjects), next(iter(rows), None)
    warn_by_code(
        "METADATA_ABSENT",
        f"{count} subject{'s have' if count > 1 else ' has'} no row in {PARTICIPANTS}, such as "
        f"{min(subjects)}, so there is no {' or '.join(columns)} of "
        f"{'them' if count > 1 else 'it'} to keep; {_PARTICIPANT} must be the name of the "
        f"subject{f', and is {listed!r} in the first row' if listed is not None else ''}",
    )


def agreement(one: Mapping[str, str], other: Mapping[str, str]) -> int | None:
    """How many entities two files share; None if one contradicts the other.

    What only says how a derivative was made, or what kind of file it is, contradicts nothing.
    """
    free = {"suffix", "desc", "label", "space", "seg", "atlas", "res", "den", "modality"}
    shared = (one.keys() & other.keys()) - free
    if any(one[key] != other[key] for key in shared):
        return None
    return len(shared)


def _names(regex: re.Pattern[Any] | None, path: str) -> bool:
    """Whether a compiled pattern names a path itself, not a folder that it lies in."""
    if regex is None:
        return False
    if regex.groupindex:  # it ends with the name
        return regex.fullmatch(path) is not None
    found = regex.match(path)  # it ends in ``**``
    return found is not None and len(path.rstrip("/")) >= found.end()
