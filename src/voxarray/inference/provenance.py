"""Which images a prediction was made of, so that a stale one is told from another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

from voxarray.archive import handle_cache
from voxarray.archive.layer_names import FOLDER
from voxarray.archive.source import ArchiveSource
from voxarray.cohort.plan.described import described
from voxarray.cohort.plan.own_classes import members, own_classes
from voxarray.core.history import OPAQUE
from voxarray.image import Image
from voxarray.source.base import Source, digest
from voxarray.source.sliced import SlicedSource

_OURS = ("voxarray.transforms.", "voxarray.inference.")


def identity_of(source: Source) -> Any:
    """What differs when the voxels or the place of an image may, as JSON; headers are read.

    Of an archive it stays the same wherever the archive lies and whatever is added to it. Data in
    memory have none.
    """
    sliced = SlicedSource.of(source)
    base = sliced.base
    if not isinstance(base, ArchiveSource):
        return source.token() if base.path is not None else {OPAQUE: "data in memory"}
    manifest = handle_cache.manifest(base.store, base.opened)
    content: Any = manifest.identity
    if f"{FOLDER}/" in base.prefix:  # a label map, which comes and goes
        entries = sorted(manifest.files.items())
        content = [entry.digest for key, entry in entries if key.startswith(base.prefix)]
    return digest(content, base.prefix, base.number, sliced.selection.ranges, sliced.affine)


def is_beside(image: Image, first: Image) -> bool:
    """Whether an image lies in the archive of another, as its label maps do."""
    base, first_base = (SlicedSource.of(each.source).base for each in (image, first))
    return (
        isinstance(base, ArchiveSource)
        and isinstance(first_base, ArchiveSource)
        and base.store.path == first_base.store.path
    )


def names_its_images(transform: Any) -> bool:
    """Whether a transform says by its arguments which images it looks at; functions do not."""
    if transform is None:
        return False
    parts = getattr(transform, "transforms", None)
    if parts is not None and type(transform).__module__.startswith(_OURS):
        return all(names_its_images(item) for item in parts)
    return type(transform).__module__.startswith(_OURS)


def mentioned_names(transform: Any) -> set[str]:
    """Every text that a transform, or a function, is made with: names of images are among them."""
    names = set(_texts(described(transform)))
    for part in (transform, *getattr(transform, "transforms", ())):
        defined = [value for base in own_classes(type(part)) for _, value in members(base)]
        for code in (getattr(one, "__code__", None) for one in (part, *defined)):
            names |= set(_texts(code))
    return names


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, CodeType):
        value = (*value.co_consts, *value.co_names)  # subject["seg"] and subject.seg
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
