"""The facts about an image that the manifest of its archive holds, for the catalogue."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxarray.archive import manifest as manifests
from voxarray.archive.layer_names import names_in
from voxarray.archive.locate import open_store
from voxarray.archive.manifest import Manifest
from voxarray.archive.root_prefix import root_of
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.opened_inputs import Opened
from voxarray.core.dtype_names import dtype_name
from voxarray.core.errors import (
    AccessDeniedError,
    MissingDataError,
    TransportError,
    VoxarrayError,
)
from voxarray.storage.archive_suffixes import FOLDER_SUFFIX
from voxarray.storage.remote.address import Address, is_url
from voxarray.storage.store import Store, TreeStore

KEY = "cohort"
TOUCHED = "touched"
"""Fact that is added to an archive whose source got another time, and has the same bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The part of a manifest that a catalogue is made from.

    Attributes:
        key: Of the item that it was made of.
        facts: What `facts_of` wrote.
        minimum: Smallest finite value; None if there is none.
        maximum: Largest finite value.
        bytes: Of the archive.
        labels: Names of the label maps in it, those that were added later included.
        touched: Key of the item that it would be made of now, which differs from ``key`` by times
            of files only; None if that was never found out.
        generation: How often label maps or notes were added to it or removed.
    """

    key: str
    facts: Mapping[str, Any]
    minimum: float | None
    maximum: float | None
    bytes: int
    labels: tuple[str, ...] = ()
    touched: str | None = None
    generation: int = 0

    def has_key(self, key: str) -> bool:
        """Whether the archive is what an item of this key would be made into."""
        return key in (self.key, self.touched)

    def is_of(self, item: Item) -> bool:
        """Whether the archive was made from this item.

        The names of label maps are compared, too, since keys depend on the files only.
        """
        names = [layer.name for layer in item.layers]
        return self.has_key(item.key) and (not names or names == self.facts["labels"])


def facts_of(item: Item, opened: Opened) -> dict[str, Any]:
    """The facts that the manifest of an item's archive will hold."""
    source = opened.source
    grid = source.grid
    return {
        KEY: {
            "key": item.key,
            **unstamped_of(item),
            "subject": item.subject,
            "image": item.image,
            "kind": item.kind,
            "labels": [layer.name for layer in item.layers] or sorted(opened.layers),
            "source": item.origin.source,
            "shape": list(source.shape),
            "spacing": [float(mm) for mm in grid.spacing],
            "orientation": "".join(grid.orientation),
            "dtype": dtype_name(source.dtype),
            "facts": {k: v for k, v in item.facts.items() if not k.startswith("_")},
        }
    }


def unstamped_of(item: Item) -> dict[str, str]:
    """The fact by which an archive is known again after its source was touched.

    None of inputs of several files: the archive holds the sha256 of only one of them.
    """
    are_files = all(one.stamp.is_of_file(os.path.basename(one.source)) for one in item.inputs)
    return {"unstamped": item.unstamped} if item.unstamped and are_files else {}


def entry_of(archive: str) -> Entry | None:
    """The entry of an archive; None if it is damaged, or was not made for a cohort.

    Raises:
        AccessDeniedError, TransportError: If a store does not let the manifest be read.
    """
    return entry_if_there(archive)[1]


def entry_if_there(archive: str) -> tuple[bool, Entry | None]:
    """Whether there is a manifest, without which a folder is no archive; and the entry in it."""
    return _entry_in(archive, lambda: _manifest_of(archive))


def entry_in(raw: bytes, archive: str) -> tuple[bool, Entry | None]:
    """As `entry_if_there`, of a manifest that was read already."""
    return _entry_in(archive, lambda: _parsed(raw, archive))


def _entry_in(archive: str, read: Callable[[], tuple[Manifest, bool]]) -> tuple[bool, Entry | None]:
    try:
        manifest, is_ascii = read()
        facts = manifest.source[KEY]
        low, high = manifest.source.get("minimum"), manifest.source.get("maximum")
        if not _are_facts(facts) or not (is_ascii or _is_text(facts)):
            return True, None
        if not (_is_end(low) and _is_end(high)):
            return True, None
        entry = Entry(
            facts["key"],
            facts,
            low,
            high,
            sum(file.size for file in manifest.files.values()),
            tuple(names_in(manifest.files, root_of(manifest.files))),
            facts.get(TOUCHED),
            manifest.generation,
        )
        return True, entry
    except MissingDataError:
        return False, None
    except (VoxarrayError, OSError, KeyError, TypeError) as error:
        if is_url(archive) and isinstance(error, (AccessDeniedError, TransportError)):
            raise
        return True, None


def _manifest_of(archive: str) -> tuple[Manifest, bool]:
    """The manifest of an archive, and whether all of its text is known to be ASCII.

    That of a folder is opened without asking first what is there.
    """
    if archive.endswith(FOLDER_SUFFIX):
        try:
            return _parsed(_store_of(archive).read(manifests.KEY), archive)
        except (MissingDataError, TransportError):
            if is_url(archive):
                raise
        except VoxarrayError:
            pass  # no folder, or not a plain file, or not readable: what it is, is asked below
    return Manifest.read(open_store(archive)), False


def _parsed(raw: bytes, archive: str) -> tuple[Manifest, bool]:
    return Manifest.parse(raw, archive), b"\\u" not in raw  # it is canonical JSON


def _store_of(archive: str) -> Store:
    if not is_url(archive):
        return TreeStore(archive)
    # Not at the top: what reads a local folder need not load the client of buckets.
    from voxarray.archive.remote_store import RemoteTree
    from voxarray.storage.remote.transport import objects_at

    return RemoteTree(objects_at(Address.parse(archive)))


_MOST = 2**63 - 1
"""The largest whole number that a column of the catalogue holds."""

_TEXTS = ("key", "subject", "image", "kind", "source", "orientation", "dtype")


def _are_facts(facts: Any) -> bool:
    """Whether these are facts of the types that `facts_of` writes."""
    return (
        isinstance(facts, dict)
        and {type(facts.get(name)) for name in _TEXTS} == {str}
        and _is_list(facts.get("shape"), (int,), 4)
        and all(abs(count) <= _MOST for count in facts["shape"])
        and _is_list(facts.get("spacing"), (int, float), 3)
        and all(map(_is_end, facts["spacing"]))
        and _is_list(facts.get("labels"), (str,))
        and isinstance(facts.get("facts"), dict)
        and isinstance(facts.get(TOUCHED, ""), str)
        and _is_type(facts["dtype"])
    )


def _is_text(facts: Any) -> bool:
    """Whether all text is valid Unicode, except bytes of file names (surrogate escapes)."""
    try:
        json.dumps(facts, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_list(value: Any, types: tuple[type, ...], count: int | None = None) -> bool:
    if not isinstance(value, list) or count not in (None, len(value)):
        return False
    return {type(element) for element in value} <= {*types}  # so that booleans are no numbers


def _is_type(name: str) -> bool:
    try:
        return np.dtype(name).kind in "biufc"
    except (TypeError, ValueError):
        return False


def _is_end(value: Any) -> bool:
    """Whether it is a finite number that a float can hold, or None."""
    if value is None:
        return True
    try:  # whole numbers may be larger than any float
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False
