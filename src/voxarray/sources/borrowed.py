"""Letting nibabel read a header: whatever it stumbles over is an error with a name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from voxarray.errors import FormatError, VoxarrayError


@contextmanager
def nibabel_errors(what: str) -> Iterator[None]:
    """Give errors of nibabel a code; its warnings of odd headers stay warnings.

    nibabel raises what parsing happens to raise (also KeyError, IndexError and such), so that
    only the outermost class catches them all.

    Raises:
        FormatError: ``BAD_HEADER``.
    """
    try:
        with warnings.catch_warnings():
            # Numbers that overflow on the way are judged by what comes of them.
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except VoxarrayError:
        raise
    except Exception as error:
        raise FormatError(
            f"nibabel cannot read this {what} header ({type(error).__name__}: {error}): it is "
            "another format, or damaged",
            code="BAD_HEADER",
        ) from error
