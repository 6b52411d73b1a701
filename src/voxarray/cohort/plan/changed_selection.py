"""Whether a plan was made with patterns or columns, and whether they are others now.

Patterns may name a patient, so that a plan notes only a digest of each, and the name of the image.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from voxarray.cohort.discover.input import source_told
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import InputSelection
from voxarray.cohort.plan.archive_names import text_digest
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.errors import FormatError
from voxarray.core.printable import printable

if TYPE_CHECKING:
    from voxarray.cohort.plan.plan import Plan

_PATTERNS = {"image_patterns": "--image-pattern", "label_patterns": "--label-pattern"}
_COLUMNS = {
    "image_columns": "--image-column",
    "label_columns": "--label-column",
    "subject_column": "--subject-column",
}
_DIGITS = 16
_UNTOLD = "PATTERN"
"""Stands for a pattern of which only the digest is known."""
_EXAMPLES = 5


def noted(selection: InputSelection) -> dict[str, str]:
    """Options that select inputs as a plan notes them: digests, and the texts without patterns."""
    return {digest: text for digest, text, _ in _options(selection)}


def check_changed_selection(previous: Plan, now: InputSelection, folder: CohortLayout) -> None:
    """Refuse a run that has lost the patterns or columns of its cohort; warn if they are others.

    Without them, every file of a folder is an image of its own: label maps would be added to the
    catalogue as images, and each scan would be in it a second time, as another subject.

    Args:
        previous: The existing plan.
        now: Of this run.
        folder: Of the cohort.

    Raises:
        FormatError: The cohort was made with patterns or columns, and there are none now
            (``OTHER_PATTERNS``).

    Warns:
        VoxarrayWarning: If there are others now (``PATTERNS_CHANGED``).
    """
    before = previous.selection
    given = {digest: text for digest, _, text in _options(now)}
    if before is None or before.keys() == given.keys():
        return
    if not given:
        raise FormatError(
            f"{folder.root} was made with {_joined(before)}. This run has no patterns and no "
            "columns: it would add label maps, and files that were left out before, as images. "
            f"Nothing was changed: give the same options again{_patterns_told(before, previous)}, "
            "or choose another DESTINATION",
            code="OTHER_PATTERNS",
            path=folder.root,
        )
    left_out = {digest: text for digest, text in before.items() if digest not in given}
    added = {digest: text for digest, text in given.items() if digest not in before}
    told = (
        f"the patterns or columns differ from those that {folder.root} was made with"
        if before
        else f"{folder.root} was made without patterns and columns"
    )
    lacking = f"{_joined(left_out)}{_patterns_told(left_out, previous)}"
    told += f". Given before, but not now: {lacking}" if left_out else ""
    told += f". Given now, but not before: {_joined(added)}" if added else ""
    if left_out or not before:
        told += (
            ". Images that are not found by this run stay in the cohort, and are not updated; "
            "report.txt names their archives"
        )
    warn_by_code("PATTERNS_CHANGED", told)


def _options(selection: InputSelection) -> Iterator[tuple[str, str, str]]:
    """Digest of each option, its text without the pattern, and its text, as a shell reads them."""
    for field, option in _PATTERNS.items():
        for name, pattern in getattr(selection, field):
            told = f"{name}={_UNTOLD}" if name else _UNTOLD
            # Without a name, a = in the pattern would end one.
            whole = f"{name}={pattern}" if name or "=" in pattern else pattern
            yield _option(option, told, whole)
    for field, option in _COLUMNS.items():
        value = getattr(selection, field) or ()
        for column in [value] if isinstance(value, str) else value:
            yield _option(option, column, column)


def _option(option: str, told: str, whole: str) -> tuple[str, str, str]:
    digest = text_digest(f"{option}\0{whole}")[:_DIGITS]
    told, whole = (f"{option} {shlex.quote(printable(text))}" for text in (told, whole))
    return digest, told, whole


def _joined(options: Mapping[str, str]) -> str:
    return " ".join(options.values())


def _patterns_told(options: Mapping[str, str], previous: Plan) -> str:
    """What a message adds of patterns that are not known: files that they matched."""
    if not any(text.startswith(tuple(_PATTERNS.values())) for text in options.values()):
        return ""
    examples: dict[str, str] = {}
    for item in previous.items:
        examples.setdefault(item.image, item.origin.source)
        for layer in item.layers:
            examples.setdefault(layer.name, layer.origin.source)
    files = (f"{name!r} {source_told(source)}" for name, source in [*examples.items()][:_EXAMPLES])
    return (
        f" ({_UNTOLD} stands for a pattern; a plan does not keep patterns, since they may name a "
        f"patient. Files that were taken: {printable(', '.join(files))})"
    )
