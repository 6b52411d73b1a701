"""BIDS: what the names of files say, and which of them count."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from voxarray.cohort.discover.input import stem

DESCRIPTION = "dataset_description.json"
PARTICIPANTS = "participants.tsv"

LABEL_SUFFIXES = {"dseg", "mask"}
"""Suffixes of label maps (BIDS derivatives, "Segmentations" and "Masks")."""

_MODALITIES = {
    **dict.fromkeys(("anat", "func", "dwi", "fmap", "perf"), "MR"),
    "pet": "PT",
}
_NOT_DATA = ("sourcedata", "code", "stimuli")
_DERIVATIVES = "derivatives"
_ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9+]+)")
_OF_SUBJECT = ("sub", "ses")


def is_dataset(folder: str) -> bool:
    """Whether a folder says that it is a BIDS dataset."""
    return os.path.isfile(os.path.join(folder, DESCRIPTION))


def entities(path: str) -> dict[str, str]:
    """Entities of a file by their short names, its ``suffix``, ``datatype`` and ``modality``.

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
    if datatype in _MODALITIES:
        found["datatype"], found["modality"] = datatype, _MODALITIES[datatype]
    return found


def subject_of(found: Mapping[str, str]) -> str:
    """Subject and session, which share images: ``sub-01/ses-2``."""
    return "/".join(f"{key}-{found[key]}" for key in _OF_SUBJECT if key in found)


def image_of(path: str) -> str:
    """What a file is called within its session: its name without ``sub-`` and ``ses-``."""
    parts = os.path.basename(stem(path)).split("_")
    return "_".join(part for part in parts if part.split("-")[0] not in _OF_SUBJECT)


def counts(path: str, ignored: Iterable[str]) -> bool:
    """Whether a file of a dataset is an image of it, or a label map among its derivatives.

    Args:
        path: Below the root, with ``/``.
        ignored: Lines of ``.bidsignore``.
    """
    top, *_ = path.split("/")
    found = entities(path)
    if top in _NOT_DATA or "sub" not in found or _is_ignored(path, ignored):
        return False
    return top != _DERIVATIVES or found["suffix"] in LABEL_SUFFIXES


def ignored_patterns(folder: str) -> list[str]:
    """Lines of ``.bidsignore``, which is written as ``.gitignore`` is."""
    try:
        with open(os.path.join(folder, ".bidsignore"), encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except FileNotFoundError:
        return []
    return [line for line in lines if line and not line.startswith("#")]


def participants(folder: str, columns: Iterable[str]) -> dict[str, dict[str, str]]:
    """Some columns of ``participants.tsv``, by ``sub-`` label."""
    path = os.path.join(folder, PARTICIPANTS)
    if not os.path.isfile(path):
        return {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {
        row["participant_id"]: {name: row[name] for name in columns if name in row}
        for row in rows
        if row.get("participant_id")
    }


def agreement(one: Mapping[str, str], other: Mapping[str, str]) -> int | None:
    """How many entities two files share; None if one contradicts the other.

    What only says how a derivative was made, or what kind of file it is, contradicts nothing.
    """
    free = {"suffix", "desc", "label", "space", "seg", "atlas", "res", "den", "modality"}
    shared = (one.keys() & other.keys()) - free
    if any(one[key] != other[key] for key in shared):
        return None
    return len(shared)


def _is_ignored(path: str, patterns: Iterable[str]) -> bool:
    parts = path.split("/")
    for pattern in patterns:
        if "/" in pattern.rstrip("/"):
            whole = pattern.strip("/")
            if fnmatchcase(path, whole) or path.startswith(f"{whole}/"):
                return True
        elif any(fnmatchcase(part, pattern.rstrip("/")) for part in parts):
            return True
    return False
