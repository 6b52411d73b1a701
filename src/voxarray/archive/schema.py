"""The JSON schemas of an archive, for whoever reads or writes one without voxarray."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

NAMES = ("array", "image", "manifest")


def schema(name: str) -> dict[str, Any]:
    """A JSON schema (draft 2020-12) of a document in an archive.

    Args:
        name: ``"image"`` for the ``zarr.json`` of an archive and of its label maps, ``"array"`` for
            that of the voxels of a level, ``"manifest"`` for ``manifest.json``.

    Raises:
        KeyError: For another name.
    """
    if name not in NAMES:
        raise KeyError(f"an archive has no schema {name!r}, only {', '.join(NAMES)}")
    text = files("voxarray.archive").joinpath("schemas", f"{name}.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
