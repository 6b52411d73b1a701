"""From an exception to a failure in a report: code, message and file, without private paths."""

from __future__ import annotations

import os
import traceback

from voxarray.cohort.plan.item import Failure
from voxarray.core.code_of_user import place_of_user
from voxarray.core.disk import is_full
from voxarray.core.errors import FormatError, GridError, MissingFileError, VoxarrayError

UNEXPECTED = "UNEXPECTED"
FATAL = {"NO_SPACE"}
"""Codes after which a run stops, since all further images would fail, too."""

_NOT_PERMANENT = {"BAD_CHUNK", "BOMB"}
"""Codes of format errors that depend on options or settings, not only on the file."""


def failure_of(error: BaseException, source: str, places: dict[str, str]) -> Failure:
    """The failure that a report gives for an error.

    Args:
        error: The exception.
        source: Name of the input for the user.
        places: Locations of all inputs, with their names for the user: messages use these names,
            and do not show other folders.
    """
    if isinstance(error, VoxarrayError):
        message, code = error.message, error.code
        source = _blamed(error.path, places) or source
        permanent = isinstance(error, (FormatError, GridError)) and code not in _NOT_PERMANENT
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
            "the system starts no more threads: check the limits of memory and of processes "
            "(ulimit -v, ulimit -u), or use fewer workers"
        )
    else:
        # The message is left out: that of a foreign parser may quote private text of the file.
        code, permanent = UNEXPECTED, False
        message = _place_told(error)
    return Failure(code, redact_paths(message, places), source, permanent)


def _message_of_system(error: OSError) -> str:
    """Message of the system with the path of the file, which need not be an input."""
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
    """A text in which locations are replaced by the names that the user knows."""
    for location, name in sorted(places.items(), key=lambda pair: -len(pair[0])):
        if name != ".":
            text = text.replace(location, name)
        folder = _root(location, name)
        if folder:
            text = text.replace(folder.rstrip(os.sep) + os.sep, "").replace(folder, "the source")
    return text


def _root(location: str, name: str) -> str:
    """The folder to which a name is relative; empty if the location does not end with the name."""
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


def _place_told(error: BaseException) -> str:
    """Where an error was raised, and who can mend it."""
    name, own = type(error).__name__, place_of_user(error)
    if own is not None:
        return (
            f"{name} in {own}, which is your own code: correct it there. What the error says is "
            "left out, since it may quote private text: to read it, apply the same function or "
            "transform to this subject alone, outside of a run"
        )
    return f"{name} in {_place(error)}: please report this"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    return f"{os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}"
