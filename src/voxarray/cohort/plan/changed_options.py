"""Which options a plan was made with, and which of them are others now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from voxarray.cohort.options import ArchiveOptions
from voxarray.core.printable import printable

if TYPE_CHECKING:
    from voxarray.cohort.plan.plan import Plan

_NAMES = {
    "levels": "levels",
    "chunk": "chunk",
    "codec": "codec",
    "labels_only": "label",
    "keep_metadata": "keep-metadata",
}
"""Options that make other archives, as the command line calls them. `zipped` is refused before."""


def given(options: ArchiveOptions) -> dict[str, Any]:
    """Options as a plan notes them: plain JSON."""
    values = {field: getattr(options, field) for field in _NAMES}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def changed_options(previous: Plan | None, options: ArchiveOptions) -> str:
    """The options that are others than those of a plan, each as ``codec default -> training``.

    Empty if all are the same, or there is no plan.
    """
    if previous is None or previous.options == options.digest():
        return ""
    if previous.given is None:  # a plan of release 0.2.0 or before
        return "the earlier plan does not record its options"
    before, now = previous.given, given(options)
    differing = [
        f"{name} {_told(before, field)} -> {_told(now, field)}"
        for field, name in _NAMES.items()
        if _told(before, field) != _told(now, field)
    ]
    return printable(", ".join(differing)) or "another release of voxarray made the archives"


def _told(values: Mapping[str, Any], field: str) -> str:
    value = values.get(field)
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "default" if value is None else str(value)
