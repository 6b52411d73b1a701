"""Label maps that are compared, and what is refused in their place."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.source import ArchiveSource, is_label_map
from voxarray.core.errors import UnsupportedError
from voxarray.image import Image, LabelMap
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource


def checked_label_map(value: Any, role: str) -> Image:
    """What is given as a label map, or its path.

    Args:
        value: By the caller.
        role: ``"prediction"`` or ``"reference"``, for messages.

    Raises:
        UnsupportedError: If it is none (``NO_LABELS``).
    """
    image = LabelMap(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(image, Image):
        raise TypeError(f"{role} is a LabelMap, its path or a Cohort, not {type(value).__name__}")
    source: Source = image.source
    if not isinstance(value, LabelMap):  # or the caller has said that it is one
        _refuse_intensities(source, role)
    if source.shape[0] != 1 or source.dtype.kind not in "biuf":
        raise UnsupportedError(
            f"the {role} has the shape {source.shape} (C, W, H, D) and the type {source.dtype}: "
            "expected one channel of integer labels; take one channel, such as image[channel : "
            "channel + 1, :, :, :]",
            code="NO_LABELS",
            path=source.path,
        )
    return image


def checked_labels(labels: Any) -> list[int] | None:
    """Labels to compare, each once, as they were given; None for all that occur.

    Raises:
        TypeError: If they are no list, or one is no whole number.
        ValueError: If one is 0, the background.
    """
    if labels is None:
        return None
    expected = "labels= is a list of whole numbers other than 0, the background, such as [1, 2]"
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable):
        raise TypeError(f"{expected}, and not {labels!r}")
    numbers = []
    for label in labels:
        try:
            numbers.append(operator.index(label))
        except TypeError:
            raise TypeError(f"{expected}, but {label!r} is not one of these") from None
    if 0 in numbers:
        raise ValueError(f"{expected}, but 0 is among {numbers}: leave it out")
    return list(dict.fromkeys(numbers))


def _refuse_intensities(source: Source, role: str) -> None:
    """Refuse a scan that its archive calls one: each of its intensities would count as a label."""
    archive = SlicedSource.of(source).base
    if isinstance(archive, ArchiveSource) and not is_label_map(source):
        raise UnsupportedError(
            f"the {role} is an archive of intensities, not of labels: expected a label map, such "
            "as labels/NAME in this archive. If its voxels are labels, give it as "
            "vx.LabelMap(path), or write the archive again: vx.LabelMap(path).save(...)",
            code="NO_LABELS",
            path=source.path,
        )


def whole_numbers(voxels: NDArray) -> NDArray:
    """Voxels as whole numbers; an UnsupportedError (``NO_LABELS``) if some are none."""
    if voxels.dtype.kind == "b":
        return voxels.view(np.uint8)
    if voxels.dtype.kind in "iu":
        return voxels
    integers = voxels.astype(np.int64)
    if not np.array_equal(integers, voxels):
        raise UnsupportedError(
            "a label map has voxels that are not whole numbers: if it is a map of probabilities, "
            "threshold it first",
            code="NO_LABELS",
        )
    return integers
