"""Files that an interrupted process has left, and what `clean` did with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voxarray.storage.folder_lock import Ownership

Outcome = Literal["left", "removed", "restored", "failed"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """A hidden folder or file that a conversion, a download or a writer works in, or has left.

    Attributes:
        path: Where it is.
        ownership: Whose it is, as far as its lock tells.
        bytes: Of the files in it.
        outcome: What became of it.
        problem: Why it could not be removed; empty if it could, or nobody tried.
    """

    path: str
    ownership: Ownership
    bytes: int
    outcome: Outcome = "left"
    problem: str = ""
