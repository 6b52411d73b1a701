"""Whether the manifests that were replaced are those that the archive has gone through."""

from __future__ import annotations

import re
from collections.abc import Iterator

from voxarray.archive.generations import HISTORY, history
from voxarray.archive.layer_names import FOLDER
from voxarray.archive.manifest import Manifest
from voxarray.archive.problems import Problem, problem_of
from voxarray.archive.roots import root_of
from voxarray.core.errors import VoxarrayError
from voxarray.storage.store import Store, TreeStore

_KEY = re.compile(rf"{HISTORY}/(0|[1-9][0-9]*)\.json")


def is_history(key: str, manifest: Manifest) -> bool:
    """Whether a key is that of a manifest from before this one."""
    number = generation_of(key)
    return number is not None and number < manifest.generation


def generation_of(key: str) -> int | None:
    """Generation of the manifest that is kept under a key; None of all other keys."""
    match = _KEY.fullmatch(key)
    return None if match is None else int(match[1])


def of_history(store: Store, now: Manifest) -> Iterator[Problem]:
    """What is wrong with the manifests that were replaced.

    Args:
        store: The archive.
        now: Its manifest.
    """
    if isinstance(store, TreeStore):
        kept = {n: key for n, key in history(store.path).items() if n < now.generation}
    else:
        numbers = ((generation_of(key), key) for key in store.keys())  # noqa: SIM118  # no dict
        kept = {n: key for n, key in numbers if n is not None and n < now.generation}
    if now.generation and 0 not in kept:
        text = f"the first manifest, which has the digest {now.base}, is gone: restore it"
        yield Problem("MISSING_DATA", f"{HISTORY}/0.json", text)
    after = now
    for number, key in sorted(kept.items(), reverse=True):
        try:
            past = Manifest.parse(store.read(key), f"{store.path}/{key}")
        except VoxarrayError as error:
            yield problem_of(key, error)
            continue
        if past.generation != number or past.identity != now.identity:
            text = (
                "belongs to another archive or another change: it is generation "
                f"{past.generation} of {past.identity}, expected generation {number} of "
                f"{now.identity}; restore it, or convert the source again with --overwrite "
                "(overwrite=True)"
            )
            yield Problem("CONTRADICTION", key, text)
            continue
        if after.generation == number + 1 and after.previous != past.digest:
            text = (
                f"has the digest {past.digest}, but the next manifest names {after.previous}: "
                "restore it, or convert the source again with --overwrite (overwrite=True)"
            )
            yield Problem("CONTRADICTION", key, text)
        if _base(past) != _base(now):
            text = (
                "names other files of the image than the current manifest, but the image itself "
                "never changes: restore it, or convert the source again with --overwrite "
                "(overwrite=True)"
            )
            yield Problem("CONTRADICTION", key, text)
        after = past


def _base(manifest: Manifest) -> dict[str, object]:
    """Entries of the image itself."""
    start = f"{root_of(manifest.files)}{FOLDER}/"
    return {key: entry for key, entry in manifest.files.items() if not key.startswith(start)}
