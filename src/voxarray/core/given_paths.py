"""Paths as callers give them: text that the system can take, or a refusal that says why not."""

from __future__ import annotations

import os
from collections.abc import Iterable

from voxarray.core.errors import UnsupportedError


def path_text(path: str | os.PathLike[str]) -> str:
    """A path or URL as text.

    Every function that is given one asks this first: the system's own errors for such text name
    neither the path nor what is wrong, and an empty path, as of a variable that was not set, would
    mean the current folder.

    Raises:
        TypeError: It is neither text nor a path.
        UnsupportedError: It is empty, holds a null byte, or characters that no file name can have
            (``BAD_PATH``).
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"a path is a str or an os.PathLike, not {type(path).__name__}: {path!r}")
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(
            f"a path is a str, not {type(text).__name__} {text!r}: convert it with os.fsdecode"
        )
    if not text:
        raise UnsupportedError(
            "the path is empty: give the path of a file or a folder ('.' is the current folder)",
            code="BAD_PATH",
        )
    if "\0" in text:
        raise _impossible(text, "a null byte")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise _impossible(text, repr(text[error.start : error.end])) from None
    return text


def absolute_path(path: str | os.PathLike[str]) -> str:
    """As `os.path.abspath`, which takes three times as long for a path that is absolute."""
    text = os.fspath(path)
    return os.path.normpath(text) if os.sep == "/" and text[:1] == "/" else os.path.abspath(text)


def _impossible(text: str, what: str) -> UnsupportedError:
    # Without `path`, which programs would go on to use; repr shows what cannot be printed.
    return UnsupportedError(
        f"the path {text!r} holds {what}, which the name of a file cannot hold: check where the "
        "path comes from",
        code="BAD_PATH",
    )


def path_texts(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """One path or several, as text.

    Raises:
        TypeError: They are neither.
        UnsupportedError: As `path_text`.
    """
    single = isinstance(paths, (str, os.PathLike, bytes)) or not isinstance(paths, Iterable)
    return [path_text(paths)] if single else [path_text(path) for path in paths]  # type: ignore[arg-type, union-attr]
