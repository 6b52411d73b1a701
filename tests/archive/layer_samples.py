"""An archive for layers, label maps for it, and all that is in it."""

from __future__ import annotations

from pathlib import Path

from archive_samples import OBLIQUE, blobs

import voxarray as vx
from voxarray.archive.generations import REPLACED
from voxarray.archive.manifest import KEY
from voxarray.archive.verify import verify
from voxarray.storage.store import TreeStore

SHAPE = (1, 12, 9, 30)


def labels(seed: int = 1, shape: tuple[int, ...] = SHAPE) -> vx.LabelMap:
    return vx.LabelMap(tensor=blobs(shape, "u1", seed), affine=OBLIQUE)


def keys(path: Path) -> list[str]:
    return TreeStore(str(path)).keys()


def base_of(path: Path) -> dict[str, bytes]:
    """Every file of the image itself."""
    return {
        key: (path / key).read_bytes()
        for key in keys(path)
        if not key.startswith(("labels/", REPLACED)) and key != KEY
    }


def everything(path: Path) -> dict[str, bytes]:
    return {key: (path / key).read_bytes() for key in keys(path)}


def codes(path: Path, **options: bool) -> list[tuple[str, str]]:
    return [(one.code, one.where) for one in verify(path, **options)]
