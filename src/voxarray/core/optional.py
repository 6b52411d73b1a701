"""Packages that only some operations need."""

from __future__ import annotations

import importlib
from typing import Any

from voxarray.core.errors import MissingPackageError


def import_optional(module: str, install: str, *, path: str | None = None) -> Any:
    """A module of a package that may not be installed.

    Args:
        module: Dotted name.
        install: What pip is told to install: an extra such as ``"voxarray[plot]"``, or a package.
        path: File that needs it, if there is one.

    Raises:
        MissingPackageError: If it is not there; the message names the pip command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if (error.name or "").split(".")[0] != package:
            raise  # it is installed, and something that it needs is not
        raise MissingPackageError(
            f"this needs {package}, which is not installed: pip install '{install}'", path=path
        ) from None
