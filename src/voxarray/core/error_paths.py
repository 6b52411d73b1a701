"""Errors that name the file they are about."""

from __future__ import annotations

from voxarray.core.errors import VoxarrayError


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
