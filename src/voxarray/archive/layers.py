"""Adding label maps and notes to an archive that is there, and taking them away again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from voxarray.archive import bucket_layers, held_files
from voxarray.archive.convert import counter, layer_plan
from voxarray.archive.generations import interrupted, mend, publish_change
from voxarray.archive.label_value_names import require_named
from voxarray.archive.layer_changes import Change, require_free, require_layer
from voxarray.archive.layer_names import FOLDER, names_in, require_name
from voxarray.archive.locate import locate, locate_root
from voxarray.archive.manifest import KEY, Manifest
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.smaller_chunks import advice
from voxarray.archive.source import ArchiveSource, open_archive
from voxarray.archive.staging import workspace
from voxarray.core import memory
from voxarray.core.errors import (
    AccessDeniedError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.core.progress import Progress
from voxarray.storage.archive_suffixes import is_zip_name
from voxarray.storage.atomic_write import followed
from voxarray.storage.destination import destination_of, local_destination
from voxarray.storage.remote.address import is_url
from voxarray.storage.store import TreeStore
from voxarray.storage.swap_lock import swap_lock


def add_layer(
    path: str | os.PathLike[str],
    name: str,
    layer: LabelLayer,
    *,
    all_named: bool = False,
    options: Options = Options(),
    progress: Progress | None = None,
) -> Manifest:
    """Add a label map to an archive; it is written out of sight and published whole.

    Memory is what `projected_peak` of the label map says.

    Args:
        path: The archive, a local folder or a place in a bucket.
        name: Of the label map.
        layer: The label map, on the grid of the image, with names and colours.
        all_named: Whether every value in it but 0 must have a name.
        options: Codec and chunks.
        progress: Called with the bytes of voxels done and in all.

    Returns:
        The new manifest.

    Raises:
        FormatError: For a name that cannot be (``BAD_NAME``), values that are no whole numbers
            (``FRACTIONAL_LABELS``), or values without names (``UNNAMED_VALUES``).
        ArchiveExistsError: If the name is taken (``NAME_TAKEN``).
        GridError: If it is on another grid (``GRID_MISMATCH``).
        UnsupportedError: If the archive is one that cannot be added to (``SEALED``,
            ``OLD_VERSION``, ``UNSUPPORTED_DESTINATION``).
        AccessDeniedError: If the archive may not be written.
        MemoryBudgetError: If the projected peak exceeds the budget; nothing was read.
        SourceChangedError: If another archive has taken its place meanwhile.
        VoxarrayError: What the source or the disk finds wrong. The archive is as it was.
    """
    url = _in_a_bucket(path)
    if url is not None:
        return bucket_layers.add(
            url, name, layer, all_named=all_named, options=options, progress=progress
        )
    root, base = _own(path)
    require_name(name)
    current = Manifest.read(base.store)
    Change().apply(current, root)  # says what is wrong before anything is read
    require_free(name, names_in(current.files), root)
    plan = layer_plan(name, layer, base.grid, base.image.factors, options)
    memory.require(
        plan.projected_peak,
        lambda: f"adding {name} to {root}",
        lambda: advice(
            lambda other: (
                layer_plan(name, layer, base.grid, base.image.factors, other).projected_peak
            ),
            options,
        ),
    )
    prefix = f"{FOLDER}/{name}/"
    with workspace(root, holds=plan.voxel_bytes <= held_files.LARGEST) as area:
        plan.write(area, prefix, counter(progress, plan.voxel_bytes))
        area.settle()
        if all_named:
            require_named(area, prefix, plan, name)
        change = Change(added={name: dict(area.files)})
        # The identity, since the label map belongs to this image, not to one that replaced it.
        return publish_change(root, change, area.root, current.identity)


def remove_layer(path: str | os.PathLike[str], name: str) -> Manifest:
    """Remove a label map from an archive.

    Returns:
        The new manifest.

    Raises:
        MissingFileError: If there is no label map of that name (``NO_LABELS``).
        VoxarrayError: As `add_layer`. The archive is as it was.
    """
    url = _in_a_bucket(path)
    if url is not None:
        return bucket_layers.remove(url, name)
    root, base = _own(path)
    current = Manifest.read(base.store)
    require_layer(name, current, root)
    with workspace(root) as area:
        return publish_change(root, Change(removed=(name,)), area.root, current.identity)


def change_notes(
    path: str | os.PathLike[str], added: Mapping[str, Any], forgotten: tuple[str, ...] = ()
) -> Manifest:
    """Note something in the manifest of an archive, or forget it.

    Args:
        path: The archive, a local folder or a place in a bucket.
        added: JSON by key; a key that is there must have the same value.
        forgotten: Keys that go.

    Returns:
        The new manifest.

    Raises:
        FormatError: If it is no JSON, or too much (``BAD_METADATA``).
        ArchiveExistsError: If a key is taken (``NAME_TAKEN``).
        MissingFileError: If a key to forget is not there (``NO_NOTE``).
        VoxarrayError: As `add_layer`. The archive is as it was.
    """
    url = _in_a_bucket(path)
    if url is not None:
        return bucket_layers.note(url, added, forgotten)
    root, base = _own(path)
    change = Change(notes=dict(added), forgotten=forgotten)
    current = Manifest.read(base.store)
    change.apply(current, root)
    with workspace(root) as area:
        return publish_change(root, change, area.root, current.identity)


def restate_source(path: str, facts: Mapping[str, Any], identity: str) -> Manifest:
    """State other facts about the source of an archive; its files stay as they are.

    Args:
        path: The archive, a local folder or a place in a bucket.
        facts: By key; they replace those of the same key.
        identity: Of the archive that they are about.

    Returns:
        The new manifest.

    Raises:
        SourceChangedError: If another archive has taken its place meanwhile.
        VoxarrayError: As `add_layer`. The archive is as it was.
    """
    url = _in_a_bucket(path)
    if url is not None:
        return bucket_layers.restate(url, facts, identity)
    root, _ = _own(path)
    with workspace(root) as area:
        return publish_change(root, Change(source=dict(facts)), area.root, identity)


def traces(root: str) -> dict[str, str]:
    """Traces of interrupted writers in an archive: text by key; none if it is no archive."""
    try:
        return interrupted(root, Manifest.read(TreeStore(root)))
    except VoxarrayError:
        return {}


def mend_archive(root: str) -> bool:
    """Remove what interrupted writers have left; False if no lock tells that they have ended."""
    with workspace(root) as area, swap_lock(f"{root}/{KEY}") as is_locked:
        if is_locked:
            mend(root, Manifest.read(TreeStore(root)), area.root)
        return is_locked


def _in_a_bucket(path: str | os.PathLike[str]) -> str | None:
    """The URL of an archive in a bucket; None of a local one."""
    target = destination_of(path)
    return target if is_url(target) else None


def _own(path: str | os.PathLike[str]) -> tuple[str, ArchiveSource]:
    """Folder and image of an archive that can be added to."""
    root = followed(local_destination(os.path.expanduser(path)))
    if is_zip_name(root) or (os.path.isfile(root) and locate(root).is_ours):
        raise UnsupportedError(
            f"{root} is a zip file, which cannot be changed: unzip it and add to the folder, or "
            "convert the image and its label maps together",
            code="SEALED",
            path=root,
        )
    locate_root(root)  # says what is wrong
    base = open_archive(root)
    if base.prefix:
        raise UnsupportedError(
            f"{root} was copied from a bucket, where the archive had been overwritten, so its "
            f"files lie below {base.prefix}, and nothing can be added to this copy: convert the "
            "image again (vx.convert), and add to the new archive",
            code="MOVED_ROOT",
            path=root,
        )
    for folder in (root, os.path.dirname(root)):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise AccessDeniedError(
                f"this user may not write to {folder}, which is needed to change {root}: ask for "
                "the permission, or copy the archive",
                code="READ_ONLY",
                path=root,
            )
    return root, base
