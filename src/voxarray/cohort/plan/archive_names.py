"""Names of archives that every file system can hold.

Names of scans may have 300 characters, two Unicode forms, differ only in case, or be ``CON``. The
name of the archive consists of the plain letters of the name, and of a digest that keeps different
names different. The catalogue holds the original name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from voxarray.cohort.discover.input import IMAGE

_LONGEST = 80
_DIGITS = 10


def slug(*parts: str) -> str:
    """A name of at most 91 characters out of ``A-Z a-z 0-9 . _ -``, different for different parts.

    It never begins with a dot, is never reserved (as ``CON`` is), and differs from all others also
    if case does not count.

    Args:
        parts: Texts that together name one archive, such as subject and image; the default name
            `IMAGE` is left out.
    """
    meaningful = [part for part in parts if part != IMAGE]
    plain = unicodedata.normalize("NFKD", "_".join(meaningful)).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:_LONGEST].rstrip("-._")
    digest = text_digest("\0".join(parts))[:_DIGITS]
    return f"{plain}-{digest}" if plain else digest


def text_digest(text: str) -> str:
    """sha256 of a text, which may be a file name that is not valid Unicode."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def shown(text: str) -> str:
    """A text for tables: bytes of a file name that are not valid Unicode become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
