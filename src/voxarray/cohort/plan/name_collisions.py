"""Inputs that would become the same image of the same subject: none of them is converted."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.cohort.discover.input import source_told
from voxarray.cohort.plan.item import Failure


def collision(source: str, image: str, subject: str, others: Sequence[str]) -> Failure:
    """The failure of an input that would be the same image as others (``NAME_COLLISION``).

    Args:
        source: Name of the input.
        image: Name of the image.
        subject: Whose it is.
        others: Names of the other inputs.
    """
    if set(others) == {source}:
        message = (
            f"{source} is named {len(others) + 1} times as the image {image!r} of the subject "
            f"{subject!r}, so it is unclear which row counts: name it once in the table or list"
        )
        return Failure("NAME_COLLISION", message, source, permanent=True)
    names = f"{source_told(source)} and {', '.join(map(source_told, others))}"
    message = (
        f"{names} would both be the image {image!r} of the subject {subject!r}, so none of them is "
        "converted: rename one of them, convert them into different folders, or tell them apart "
        "with --image-pattern NAME=PATTERN"
    )
    return Failure("NAME_COLLISION", message, source, permanent=True)
