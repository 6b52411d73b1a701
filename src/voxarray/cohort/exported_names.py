"""Where the file of each image of a cohort is: nowhere else, and no two in one place."""

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
"""What may name a file or folder: never one outside of the destination, and never a hidden one."""

Name = tuple[str, str]
"""Of a subject and an image."""


def target_of(subject: str, image: str, root: str, suffix: str) -> str:
    """Where the file of an image is.

    Raises:
        FormatError: Its names lead elsewhere (``BAD_NAME``).
    """
    parts = [*subject.split("/"), image]
    if not all(map(_PLAIN.fullmatch, parts)):
        raise FormatError(
            f"the image {image!r} of the subject {subject!r} cannot name a file: it has an empty "
            "part, one that begins with a dot, a backslash, or control characters; give it "
            "another name",
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
    real = os.path.realpath(target)
    if not real.startswith(os.path.join(os.path.realpath(root), "")):
        refuse_results_around(os.path.dirname(real))


def names_of(members: Iterable[Member]) -> list[Name]:
    """Names of all images and label maps of some subjects."""
    return [
        (member.name, image)
        for member in members
        for part in member.parts
        for image in (part.image, *part.labels)
    ]


def names_for_one_file(names: Iterable[Name], root: str) -> Mapping[Name, Name]:
    """For each name that the file system takes for that of another image, the other one.

    Most file systems of macOS and Windows do not tell ``Pat`` from ``pat``, nor the two forms of
    ``é`` in Unicode.
    """
    alike: dict[str, list[Name]] = {}
    for name in names:
        alike.setdefault(_folded(os.path.join(*name)), []).append(name)
    suspects = [group for group in alike.values() if len(set(group)) > 1]
    if not suspects or is_url(root):  # buckets compare bytes
        return {}
    found: dict[Name, Name] = {}
    for first, *others in suspects:
        for other in others:
            if other != first and _is_one_file(os.path.join(*first), os.path.join(*other), root):
                found[other] = first
                found.setdefault(first, other)
    return found


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _is_one_file(first: str, second: str, root: str) -> bool:
    """Whether two names are one where files will be: folders differ in that within one machine."""
    one, other = next(
        pair for pair in zip(first.split("/"), second.split("/"), strict=True) if len({*pair}) > 1
    )
    there = root
    while not os.path.isdir(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    try:
        with tempfile.TemporaryDirectory(prefix=".voxarray-names-", dir=there) as folder:
            open(os.path.join(folder, one), "xb").close()
            return os.path.lexists(os.path.join(folder, other))
    except OSError:  # a name too long, or a folder that takes none: writing tells
        return False
