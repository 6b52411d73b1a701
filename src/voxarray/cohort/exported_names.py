"""Paths of exported files: below the destination, and different for different images."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping

from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.enclosing import refuse_results_around
from voxarray.core.errors import FormatError
from voxarray.storage.remote.address import is_url

_PLAIN = re.compile(r"[^./\\\0-\x1f\x7f][^/\\\0-\x1f\x7f]*")
"""Names of files and folders: they cannot lead out of the destination, and are not hidden."""

Name = tuple[str, str]
"""Names of a subject and of an image."""


def target_of(subject: str, image: str, root: str, suffix: str) -> str:
    """Path of the file of an image.

    Raises:
        FormatError: If its names could lead out of the destination, or are hidden (``BAD_NAME``).
    """
    parts = [*subject.split("/"), image]
    if not all(map(_PLAIN.fullmatch, parts)):
        raise FormatError(
            f"the subject {subject!r} and the image {image!r} cannot name a file: no part of these "
            "names may be empty, begin with a dot, or hold a backslash or a control character; "
            "give the subject or the image another name",
            code="BAD_NAME",
        )
    return os.path.join(root, *parts) + suffix


def refuse_linked_place(target: str, root: str) -> None:
    """Refuse a file that a link below the destination puts into an archive or a cohort.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    if is_url(root):
        return
    real_path = os.path.realpath(target)
    if not real_path.startswith(os.path.join(os.path.realpath(root), "")):
        refuse_results_around(os.path.dirname(real_path))


def names_of(members: Iterable[Member]) -> list[Name]:
    """Names of all images and label maps of some subjects."""
    return [
        (member.name, image)
        for member in members
        for part in member.parts
        for image in (part.image, *part.labels)
    ]


def names_for_one_file(names: Iterable[Name], root: str) -> Mapping[Name, Name]:
    """Names that the file system does not tell from that of another image, with the other name.

    On most file systems of macOS and Windows, ``Pat`` and ``pat`` are the same name, and so are the
    two forms of ``é`` in Unicode.
    """
    by_folded_name: dict[str, list[Name]] = {}
    for name in names:
        by_folded_name.setdefault(_folded(os.path.join(*name)), []).append(name)
    suspects = [group for group in by_folded_name.values() if len(set(group)) > 1]
    if not suspects or is_url(root):  # buckets compare bytes
        return {}
    namesakes: dict[Name, Name] = {}
    for first, *others in suspects:
        for other in others:
            if other != first and _is_one_file(os.path.join(*first), os.path.join(*other), root):
                namesakes[other] = first
                namesakes.setdefault(first, other)
    return namesakes


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _is_one_file(first: str, second: str, root: str) -> bool:
    """Whether two names are one on the file system of the destination; tried with a real file."""
    first_part, second_part = next(
        parts
        for parts in zip(first.split("/"), second.split("/"), strict=True)
        if len({*parts}) > 1
    )
    folder_above = root
    while not os.path.isdir(folder_above) and os.path.dirname(folder_above) != folder_above:
        folder_above = os.path.dirname(folder_above)
    try:
        with tempfile.TemporaryDirectory(prefix=".voxarray-names-", dir=folder_above) as folder:
            open(os.path.join(folder, first_part), "xb").close()
            return os.path.lexists(os.path.join(folder, second_part))
    except OSError:  # the name is too long, or the folder read-only: writing reports it
        return False
