"""What an archive of a cohort says of itself: the facts in its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voxarray.archive.locate import open_store
from voxarray.archive.manifest import Manifest
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.opening import Opened
from voxarray.core.errors import VoxarrayError

KEY = "cohort"


@dataclass(frozen=True, slots=True)
class Entry:
    """The part of a manifest that a catalogue is made from.

    Attributes:
        key: Of the item that it was made of.
        facts: What `facts_of` wrote.
        minimum: Smallest finite value; None if there is none.
        maximum: Largest finite value.
        bytes: Of the archive.
    """

    key: str
    facts: Mapping[str, Any]
    minimum: float | None
    maximum: float | None
    bytes: int


def facts_of(item: Item, opened: Opened) -> dict[str, Any]:
    """What the manifest of an item's archive says."""
    source = opened.source
    return {
        KEY: {
            "key": item.key,
            "subject": item.subject,
            "image": item.image,
            "kind": item.kind,
            "labels": [layer.name for layer in item.layers] or sorted(opened.layers),
            "source": item.origin.source,
            "shape": list(source.shape),
            "spacing": [float(mm) for mm in source.grid.spacing],
            "orientation": "".join(source.grid.orientation),
            "dtype": source.dtype.name,
            "facts": {k: v for k, v in item.facts.items() if not k.startswith("_")},
        }
    }


def entry_of(archive: str) -> Entry | None:
    """The entry of an archive; None if it is no whole archive that a cohort made."""
    try:
        manifest = Manifest.read(open_store(archive))
        facts = manifest.source[KEY]
        return Entry(
            facts["key"],
            facts,
            manifest.source.get("minimum"),
            manifest.source.get("maximum"),
            sum(file.size for file in manifest.files.values()),
        )
    except (VoxarrayError, OSError, KeyError, TypeError):
        return None
