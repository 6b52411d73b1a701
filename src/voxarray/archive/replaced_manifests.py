"""Checks of the manifests that were replaced: whether they are earlier ones of this archive."""

from __future__ import annotations

import re
from collections.abc import Iterator

from voxarray.archive.generations import REPLACED, replaced_manifests
from voxarray.archive.layer_names import FOLDER
from voxarray.archive.manifest import Manifest
from voxarray.archive.problems import Problem, problem_of
from voxarray.archive.root_prefix import root_of
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import VoxarrayError
from voxarray.storage.store import Store, TreeStore

_KEY = re.compile(rf"{REPLACED}/(0|[1-9][0-9]*)\.json")


def is_replaced(key: str, manifest: Manifest) -> bool:
    """Whether a key is that of a manifest from before this one."""
    number = generation_of(key)
    return number is not None and number < manifest.generation


def generation_of(key: str) -> int | None:
    """Generation of the manifest that is kept under a key; None of all other keys."""
    match = _KEY.fullmatch(key)
    return None if match is None else int(match[1])


def of_replaced(store: Store, current: Manifest) -> Iterator[Problem]:
    """What is wrong with the manifests that were replaced.

    Args:
        store: The archive.
        current: Its manifest.
    """
    if isinstance(store, TreeStore):
        keys_by_generation = {
            n: key for n, key in replaced_manifests(store.path).items() if n < current.generation
        }
    else:
        numbers = ((generation_of(key), key) for key in store.keys())  # noqa: SIM118  # no dict
        keys_by_generation = {
            n: key for n, key in numbers if n is not None and n < current.generation
        }
    if current.generation and 0 not in keys_by_generation:
        text = (
            "the list of files from before the first label map or note was added (digest "
            f"{current.base}) is gone: restore it"
        )
        yield Problem("MISSING_DATA", f"{REPLACED}/0.json", text)
    newer = current
    for number, key in sorted(keys_by_generation.items(), reverse=True):
        try:
            older = Manifest.parse(store.read(key), f"{store.path}/{key}")
        except VoxarrayError as error:
            yield problem_of(key, error)
            continue
        if older.generation != number or older.identity != current.identity:
            text = (
                "belongs to another archive or another change: it was kept by change "
                f"{older.generation} of the archive with the identity {older.identity}; expected "
                f"change {number} of {current.identity}. Restore it, or {MAKE_AGAIN}"
            )
            yield Problem("CONTRADICTION", key, text)
            continue
        if newer.generation == number + 1 and newer.previous != older.digest:
            text = (
                f"has the digest {older.digest}, but the next list of files expects "
                f"{newer.previous}: restore it, or {MAKE_AGAIN}"
            )
            yield Problem("CONTRADICTION", key, text)
        if _base(older) != _base(current):
            text = (
                "names other files of the image than manifest.json. Both must name the same "
                "files, since adding or removing label maps does not change the image: restore "
                f"this manifest, or {MAKE_AGAIN}"
            )
            yield Problem("CONTRADICTION", key, text)
        newer = older


def _base(manifest: Manifest) -> dict[str, object]:
    """Entries of the image itself, without label maps."""
    labels_folder = f"{root_of(manifest.files)}{FOLDER}/"
    return {
        key: entry for key, entry in manifest.files.items() if not key.startswith(labels_folder)
    }
