"""Letting nibabel read a header: whatever it stumbles over is an error with a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from voxarray.core.errors import FormatError, VoxarrayError


@contextmanager
def nibabel_errors(what: str) -> Iterator[None]:
    """Give errors of nibabel a code; what it warns of stays a warning.

    nibabel raises what parsing happens to raise (also KeyError, IndexError and such), so that
    only the outermost class catches them all.

    Raises:
        FormatError: ``BAD_HEADER``.
    """
    try:
        with np.errstate(all="ignore"):  # numbers that overflow are judged by what comes of them
            yield
    except VoxarrayError:
        raise
    except Exception as error:
        raise FormatError(
            f"nibabel cannot read this {what} header ({type(error).__name__}: {error}): the file "
            "has another format or is damaged; check its suffix, or copy it again",
            code="BAD_HEADER",
        ) from error
