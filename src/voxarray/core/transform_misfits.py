"""A transform that does not fit a subject, as an error by name."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from voxarray.core.errors import FormatError, VoxarrayError


@contextmanager
def naming_misfits(path: str | None = None) -> Iterator[None]:
    """What transforms of ours say of a subject that they do not fit has a code.

    They say it as Python does of any argument. What the code of somebody else raises is left as it
    is: it may be a fault, and it may quote a header.

    Args:
        path: File of the subject, if one is to be named.

    Raises:
        FormatError: ``CANNOT_TRANSFORM``.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, VoxarrayError) or not _is_ours(error):
            raise
        # A KeyError quotes its text.
        text = error.args[0] if error.args else type(error).__name__
        raise FormatError(
            f"the transform cannot be applied to this subject: {text}. Correct the transform, or "
            "leave this subject out",
            code="CANNOT_TRANSFORM",
            path=path,
        ) from error


def _is_ours(error: BaseException) -> bool:
    """Whether voxarray itself said it, and not about what the code of somebody else said."""
    if error.__cause__ is not None or error.__traceback__ is None:
        return False
    frames = list(traceback.walk_tb(error.__traceback__))
    return str(frames[-1][0].f_globals.get("__name__", "")).startswith("voxarray.")
