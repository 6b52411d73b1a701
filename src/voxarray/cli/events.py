"""Events of a cohort's log in words: one line for what happened, others for what was remarked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from voxarray.cohort.catalogue.journal import BEGUN
from voxarray.core.memory import format_bytes
from voxarray.core.printable import printable

_NO_TIME = "(no time)"
_WIDTH = len("2026-11-29 21:30:05")


def in_words(event: Mapping[str, Any]) -> str:
    """What an event of `Cohort.log` says, for people."""
    lines = [f"{_time(event):<{_WIDTH}}  {event['slug']}: {_event_text(event)}"]
    lines += [f"    warning: {text}" for text in event.get("remarks", ())]
    lines += [f"    {line}" for line in str(event.get("trace", "")).splitlines()]
    return "\n".join(map(printable, lines))


def _time(event: Mapping[str, Any]) -> str:
    """In UTC, to the second."""
    try:
        return f"{datetime.fromisoformat(event['time']):%Y-%m-%d %H:%M:%S}"
    except (KeyError, TypeError, ValueError):
        return _NO_TIME


def _event_text(event: Mapping[str, Any]) -> str:
    if event["status"] == BEGUN:
        return "begun"
    took = f"{event['seconds']:.1f} s" if event.get("seconds") is not None else ""
    if event.get("peak") is not None:
        took += f"{' and ' if took else ''}{format_bytes(event['peak'])} of memory"
    failure = event.get("failure")
    if failure:
        after = f" after {took}" if took else ", never tried"
        return f"{event['status']}{after}: {failure['code']}: {failure['message']}"
    voxels = f": {format_bytes(event['voxel_bytes'])} of voxels" if event.get("voxel_bytes") else ""
    return f"{event['status']}{f' in {took}' if took else ''}{voxels}"
