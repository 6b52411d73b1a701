"""What was done to a mask before it was used, where the history of the image cannot tell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from voxarray.core.history import Entry, History

MASK = "mask"
"""Key of an entry; only there if the mask had steps of its own."""


def with_mask(entries: tuple[Entry, ...], image: History, mask: History) -> tuple[Entry, ...]:
    """Entries of a step that used a mask, which say what had been done to the mask alone.

    Args:
        entries: Of the step.
        image: History of the image before the step.
        mask: History of the mask.
    """
    image_steps = _steps(image)
    if all(step in image_steps for step in _steps(mask)):
        return entries
    return tuple({**item, MASK: _described(mask)} for item in entries)


def difference(entry: Entry, mask: History) -> str | None:
    """How a mask differs from the one that a step used; None if it does not, as far as is known."""
    used = entry.get(MASK)
    if not isinstance(used, Mapping) or used == _described(mask):
        return None
    before, current = _state_text(used.get("operations") or ()), _state_text(_names(mask))
    suffix = " with other arguments" if current == before else ""
    return f"{before}, but the mask given now {current}{suffix}"


def _state_text(operations: Iterable[Any]) -> str:
    names = ", ".join(map(str, operations))
    return f"was transformed by {names}" if names else "was unchanged"


def _described(history: History) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(_steps(history), sort_keys=True).encode()).hexdigest()
    return {"operations": _names(history), "digest": digest[:16]}


def _names(history: History) -> list[str]:
    return [step[0] for step in _steps(history)]


def _steps(history: History) -> list[list[Any]]:
    """Operations and arguments; copies into files and archives left out."""
    steps = [[str(item["operation"]), item.get("arguments", {})] for item in history]
    return [step for step in steps if step[0] != "convert"]
