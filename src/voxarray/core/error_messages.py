"""What errors of several modules say alike: the file they are about, and what to do."""

from __future__ import annotations

from voxarray.core.errors import VoxarrayError

MAKE_AGAIN = (
    "delete this archive, and repeat the command that made it, without --overwrite (label maps and "
    "notes that were added to it are lost then: save them first, if they can be read)"
)
"""The end of a sentence about an archive that is damaged, or is not what it should be.

It is right for an archive alone and for one of a cohort, of which ``--overwrite`` would make all
archives again.
"""

REPLACED_WITHOUT = "without label maps and notes that were added to the old one"
"""What an archive is that replaces another one, after ``overwrite=True (--overwrite)``."""

FOR_ALL = "and makes ALL archives of the cohort again, without what was added to any of them"
"""What ``overwrite=True (--overwrite)`` means for a cohort."""


class errors_name:  # noqa: N801  # used as a function, which would cost ten times as much
    """Errors of ours that are raised inside name this file."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, VoxarrayError):
            error.path = self._path
