"""Texts of others, as they may be shown: names of files and headers hold whatever they like."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Zl", "Zp", "Cs"}
"""Categories of Unicode: controls (terminals obey them), line breaks, halves of pairs."""

_DIRECTIONS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What changes the direction of what comes after it: a name may look like another."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    r"""A text in which what would not be seen is written out, such as ``\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escaped, text))


def cell(value: object) -> object:
    """A value as a cell of a table that a spreadsheet may open.

    There a text that begins as a formula does would be one, and could send what stands beside it
    elsewhere; an apostrophe before it keeps it a text. Numbers stay what they are.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.startswith(_FORMULA) and not _is_number(value) else text


def _escaped(character: str) -> str:
    hidden = unicodedata.category(character) in _HIDDEN or character in _DIRECTIONS
    return character.encode("unicode_escape", "surrogatepass").decode() if hidden else character


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
