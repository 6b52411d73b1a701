"""From an exception to what is told of it: a code, a message and a file, and nothing private."""

from __future__ import annotations

import os
import traceback

from voxarray.cohort.plan.item import Failure
from voxarray.core.disk import is_full
from voxarray.core.errors import FormatError, GridError, MissingFileError, VoxarrayError

UNEXPECTED = "UNEXPECTED"
FATAL = {"NO_SPACE"}
"""Codes after which going on makes no sense: whatever comes next would meet the same."""

_OF_THE_DAY = {"BAD_CHUNK", "BOMB"}
"""Codes of errors of format that depend on the options or settings."""


def failure_of(error: BaseException, source: str, places: dict[str, str]) -> Failure:
    """What a report says of an error.

    Args:
        error: What was raised.
        source: What the user calls the input.
        places: Locations of all inputs that are involved, with what the user calls them: messages
            name files as the user does, and nobody else's folders.
    """
    if isinstance(error, VoxarrayError):
        message, code = error.message, error.code
        source = _blamed(error.path, places) or source
        permanent = isinstance(error, (FormatError, GridError)) and code not in _OF_THE_DAY
    elif isinstance(error, OSError):
        code = "NO_SPACE" if is_full(error) else "IO_ERROR"
        if isinstance(error, PermissionError):
            code = "ACCESS_DENIED"
        if isinstance(error, FileNotFoundError):
            code = MissingFileError.default_code
        message, permanent = _message_of_system(error), False
        source = _blamed(error.filename, places) or source
    elif isinstance(error, MemoryError):
        code, permanent = "OUT_OF_MEMORY", False
        message = "the system gave no more memory: use fewer workers, or a smaller chunk"
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):
        code, permanent = "NO_THREADS", False
        message = (
            "the system starts no more threads: look at its limits of memory and of processes "
            "(ulimit -v, ulimit -u), or use fewer workers"
        )
    else:
        # What somebody else's parser says may quote what it parsed.
        code, permanent = UNEXPECTED, False
        message = f"{type(error).__name__} in {_place(error)}: please report this"
    return Failure(code, redact_paths(message, places), source, permanent)


def _message_of_system(error: OSError) -> str:
    """What the system said, and of which file: it may be none of the inputs."""
    why = error.strerror or type(error).__name__
    if not isinstance(error.filename, (str, os.PathLike)):
        return why
    name = os.fspath(error.filename)
    if isinstance(error, PermissionError):
        return (
            f"{name} may not be read or written by this user ({why}): ask for the permission, or "
            "check the permissions of the folders above it"
        )
    return f"{name}: {why}"


def redact_paths(text: str, places: dict[str, str]) -> str:
    """A text in which files are called what the user calls them."""
    for location, name in sorted(places.items(), key=lambda pair: -len(pair[0])):
        if name != ".":
            text = text.replace(location, name)
        folder = _root(location, name)
        if folder:
            text = text.replace(folder.rstrip(os.sep) + os.sep, "").replace(folder, "the source")
    return text


def _root(location: str, name: str) -> str:
    """The folder from which a name leads to a location; empty if it does not."""
    tail = name.replace("/", os.sep)
    if name == ".":
        return location
    return location[: -len(tail)] if location.endswith(tail) else ""


def _blamed(path: object, places: dict[str, str]) -> str | None:
    if not isinstance(path, (str, os.PathLike)):
        return None
    text = os.fspath(path)
    for location, name in places.items():
        if text == location:
            return name
        if text.startswith(location.rstrip(os.sep) + os.sep):
            return f"{name}/{os.path.relpath(text, location)}".removeprefix("./")
    return None


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    return f"{os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}"
