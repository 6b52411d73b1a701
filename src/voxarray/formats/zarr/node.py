"""Groups and arrays of a Zarr hierarchy, by their metadata documents; versions 2 and 3."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayError
from voxarray.storage.store import Store

MAX_DOCUMENT = 16 << 20
"""Bytes of the largest metadata document that is read."""

_V3 = "zarr.json"
_V2 = (".zarray", ".zgroup", ".zattrs")


@dataclass(frozen=True, slots=True)
class Node:
    """A group or an array, as its documents describe it.

    Attributes:
        key: Folder in the store; empty for the root.
        is_array: Whether it is an array.
        attributes: What users of Zarr may store in it.
        document: The metadata: ``zarr.json``, ``.zarray`` or ``.zgroup``.
        documents: Keys of the files that say so, with their identities.
    """

    key: str
    is_array: bool
    attributes: Mapping[str, Any]
    document: Mapping[str, Any]
    documents: tuple[tuple[str, Hashable], ...]

    @classmethod
    def read(cls, store: Store, key: str) -> Node | None:
        """The node in a folder; None if there is none.

        Raises:
            FormatError: A document is not JSON, or not what it should be (``BAD_METADATA``).
        """
        prefix = f"{key}/" if key else ""
        if prefix + _V3 in store:
            document = _load(store, prefix + _V3)
            attributes = _mapping(document.get("attributes", {}), store, key)
            document_identity = ((prefix + _V3, store.identity(prefix + _V3)),)
            return cls(
                key, document.get("node_type") == "array", attributes, document, document_identity
            )
        present = [name for name in _V2 if prefix + name in store]
        if not present:
            return None
        loaded = {name: _load(store, prefix + name) for name in present}
        identities = tuple((prefix + name, store.identity(prefix + name)) for name in present)
        document = loaded.get(".zarray", loaded.get(".zgroup", {}))
        return cls(key, ".zarray" in loaded, loaded.get(".zattrs", {}), document, identities)

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rsplit("/", 1)[-1]

    @property
    def parent(self) -> str | None:
        """Key of the folder above; None for the root."""
        if not self.key:
            return None
        return self.key.rpartition("/")[0]

    @property
    def ome(self) -> Mapping[str, Any]:
        """Metadata of OME-Zarr: in a group of its own since 0.5."""
        ome = self.attributes.get("ome")
        return ome if isinstance(ome, Mapping) else self.attributes

    @property
    def dimension_names(self) -> tuple[str | None, ...] | None:
        """Names of the axes of an array, xarray's own for version 2; None if it has none."""
        names = self.document.get("dimension_names") or self.attributes.get("_ARRAY_DIMENSIONS")
        if not isinstance(names, list):
            return None
        return tuple(name if isinstance(name, str) else None for name in names)

    def below(self, path: str) -> str:
        """Key of what is at a relative path in this folder."""
        return f"{self.key}/{path}".strip("/")

    def children(self, store: Store) -> list[Node]:
        """Nodes directly in this group.

        Raises:
            UnsupportedError: The store cannot list its files (``NO_LISTING``), and there is no
                consolidated metadata, which is not relied on where it can.
        """
        try:
            names = store.folders(self.key)
        except UnsupportedError:
            names = self._consolidated(store)
            if not names:
                raise
        nodes = (Node.read(store, self.below(name)) for name in names)
        return [node for node in nodes if node is not None]

    def _consolidated(self, store: Store) -> list[str]:
        """Names of what is in this group by the metadata that xarray consolidates."""
        inner = self.document.get("consolidated_metadata")
        if inner is None and self.below(".zmetadata") in store:
            inner = _load(store, self.below(".zmetadata"))
        keys = inner.get("metadata", {}) if isinstance(inner, Mapping) else {}
        return sorted({key.split("/")[0] for key in keys if not key.startswith(".")})


def _load(store: Store, key: str) -> Mapping[str, Any]:
    raw = store.read(key, MAX_DOCUMENT)
    try:
        return _mapping(json.loads(raw), store, key)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(
            f"{key} of {store.path} is not JSON ({error}): repair it, or copy the store again",
            code="BAD_METADATA",
            path=store.path,
        ) from error


def _mapping(value: Any, store: Store, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(
            f"{key} of {store.path} should hold a JSON object, but holds {type(value).__name__}: "
            "repair it, or write the store again",
            code="BAD_METADATA",
            path=store.path,
        )
    return value


def chain(store: Store, key: str) -> list[Node]:
    """The node at a key and the groups that it lies in, the innermost first."""
    nodes = []
    path: str | None = key
    while path is not None:
        node = Node.read(store, path)
        if node is not None:
            nodes.append(node)
        path = path.rpartition("/")[0] if path else None
    return nodes


def require(node: Node | None, store: Store, key: str) -> Node:
    """The node, which must be there.

    Raises:
        UnsupportedError: There is none (``NO_NODE``).
    """
    if node is None:
        inner = _nodes_below(store, key)
        hint = f"; give the path of one in it, for example {store.path}/{inner[0]}" if inner else ""
        location = f"{store.path}/{key}" if key else store.path
        raise UnsupportedError(
            f"{location} is no Zarr group or array: there is no zarr.json, .zgroup or "
            f".zarray{hint}",
            code="NO_NODE",
            path=store.path,
        )
    return node


def _nodes_below(store: Store, key: str) -> list[str]:
    """Keys of nodes in a folder that is none, as in a zip file that holds a whole folder."""
    try:
        keys = [f"{key}/{name}".strip("/") for name in store.folders(key)]
        return [item for item in keys if Node.read(store, item) is not None]
    except (VoxarrayError, OSError):
        return []
