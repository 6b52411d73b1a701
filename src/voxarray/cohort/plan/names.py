"""Names of archives that every file system can hold.

People name scans as they like: with 300 characters, in two Unicode forms, differing only in case,
or ``CON``. The archive's name is what is left of it in plain letters, and a digest that tells
apart what plain letters do not. The original stands in the catalogue.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from voxarray.cohort.discover.input import IMAGE

_LONGEST = 80
_DIGITS = 10


def slug(*parts: str) -> str:
    """A name of at most 91 characters out of ``A-Z a-z 0-9 . _ -``, other for other parts.

    It never begins with a dot, is never reserved (as ``CON`` is), and differs from all others also
    where case does not count.

    Args:
        parts: Texts that together name one thing, such as subject and image; `IMAGE`, which
            says nothing, is not shown.
    """
    telling = [part for part in parts if part != IMAGE]
    plain = unicodedata.normalize("NFKD", "_".join(telling)).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:_LONGEST].rstrip("-._")
    digest = text_digest("\0".join(parts))[:_DIGITS]
    return f"{plain}-{digest}" if plain else digest


def text_digest(text: str) -> str:
    """sha256 of a text, also of a file name that is no Unicode."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def shown(text: str) -> str:
    """A text as tables hold it: bytes of a file name that are no Unicode become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
