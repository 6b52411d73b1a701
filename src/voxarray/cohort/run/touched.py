"""Archives whose source got another time, by a copy or a touch, and holds the same bytes."""

from __future__ import annotations

import json
import os
from typing import Any

from voxarray.archive.added_content import manifest_at
from voxarray.archive.convert import LABEL_SHA256
from voxarray.archive.layers import restate_source
from voxarray.archive.manifest import Manifest
from voxarray.cohort.catalogue.entry import KEY, TOUCHED, facts_of, unstamped_of
from voxarray.cohort.plan.item import Input, Item
from voxarray.cohort.plan.opened_inputs import FileOpener, Opener
from voxarray.storage.file_digest import FileDigest
from voxarray.storage.file_identity import FileIdentity


def renewed(archive: str, item: Item, opener: Opener) -> bool:
    """Note in an archive that it is up to date, if that is so; no voxel is decoded.

    It is if each of its sources is one file that has the bytes from which it was made, and if
    options, label maps, kept metadata and header are those of then: all that a new archive would
    be made from.

    Args:
        archive: An archive of the cohort.
        item: What it would be made of now.
        opener: Of the item.

    Returns:
        Whether that is so. It cannot be known of sources of several files, of URLs, of formats that
        are not read front to back, and of archives of release 0.2.0 and before.

    Raises:
        VoxarrayError: What is wrong with the source, or with the archive; `SourceChangedError` if
            the source is no longer the one that was planned.
        OSError: What the disk refuses.
    """
    manifest = manifest_at(archive)
    if manifest is None or not isinstance(opener, FileOpener) or not unstamped_of(item):
        return False
    recorded = manifest.source.get(KEY)
    # Facts before bytes: they cost only the header.
    if not isinstance(recorded, dict) or _facts(recorded) != _facts(
        facts_of(item, opener.open(item))[KEY]
    ):
        return False
    digests = _digests(manifest, item)
    for origin, digest in zip(item.inputs, digests, strict=True):
        location = opener.locations.get(origin.source)
        if digest is None or location is None or _sha256(location, origin) != digest:
            return False
    facts = {KEY: {**recorded, TOUCHED: item.key}}
    restate_source(archive, facts, manifest.identity)
    return True


def _facts(facts: dict[str, Any]) -> Any:
    """What the facts of an archive say, but for the times of its sources, as JSON holds it."""
    stamped = ("key", TOUCHED)
    return json.loads(json.dumps({key: facts[key] for key in facts if key not in stamped}))


def _digests(manifest: Manifest, item: Item) -> list[Any]:
    """The sha256 of each input when the archive was made; None of those that have none."""
    of_labels = manifest.source.get(LABEL_SHA256)
    by_name = of_labels if isinstance(of_labels, dict) else {}
    labels = [by_name.get(layer.name) for layer in item.layers]
    return [manifest.source.get("sha256"), *labels]


def _sha256(location: str, origin: Input) -> str | None:
    """The sha256 of a file; None if it is not the one that was planned."""
    identity = FileIdentity.of(location)
    if (identity.size, identity.mtime_ns) != (origin.stamp.size, origin.stamp.mtime_ns):
        return None
    fd = identity.open()
    try:
        digest = FileDigest(fd)
        try:
            found = digest.result()
        finally:
            digest.cancel()
        identity.check(fd)
        return found
    finally:
        os.close(fd)
