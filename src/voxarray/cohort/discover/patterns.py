"""Patterns of paths: ``*`` is a part of a name, ``**/`` any folders; what they stand for counts."""

from __future__ import annotations

import re


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of whole paths with ``/``, whose groups are what its stars stand for."""
    parts = re.split(r"(\*\*/|\*|\?)", pattern)
    known = {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "[^/]"}
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts), re.DOTALL)


def subject_of(match: re.Match[str]) -> str:
    """What the stars of a pattern stood for: ``sub-1/a`` for ``**/*_t1.nii`` of sub-1/a_t1.nii."""
    return "/".join(text.strip("/") for text in match.groups() if text)
