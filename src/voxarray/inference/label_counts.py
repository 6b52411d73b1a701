"""How many voxels each label of two maps has, and the box that it fills, counted in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxarray.counting.cells import count_block
from voxarray.geometry.selection import Selection

_MOST_NUMBERED = 1 << 16
"""Boxes are sought for all numbers up to the largest label: of larger ones only for those seen."""


@dataclass
class LabelCounts:
    """What is counted of two label maps.

    Attributes:
        predicted: Voxels by label.
        reference: Voxels by label.
        both: Voxels that are equal, by label.
        boxes: (3, 2) first voxel and the one after the last, in either, by label.
    """

    predicted: dict[int, int] = field(default_factory=dict)
    reference: dict[int, int] = field(default_factory=dict)
    both: dict[int, int] = field(default_factory=dict)
    boxes: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def labels(self) -> list[int]:
        """All that occur, but for 0."""
        return sorted({*self.predicted, *self.reference} - {0})

    def add(self, box: Selection, prediction: NDArray, truth: NDArray) -> None:
        """Count a piece (1, w, h, d)."""
        _count(self.predicted, prediction)
        _count(self.reference, truth)
        _count(self.both, prediction[prediction == truth])
        start = np.array([r.start for r in box.spatial])
        for voxels in (prediction[0], truth[0]):
            for label, low, high in _bounds(voxels):
                bounds = np.stack([low + start, high + start], axis=1)
                existing = self.boxes.get(label)
                if existing is not None:
                    bounds[:, 0] = np.minimum(bounds[:, 0], existing[:, 0])
                    bounds[:, 1] = np.maximum(bounds[:, 1], existing[:, 1])
                self.boxes[label] = bounds


def _count(counts: dict[int, int], voxels: NDArray) -> None:
    values, numbers = count_block(voxels)
    for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
        counts[value] = counts.get(value, 0) + number


def _bounds(voxels: NDArray) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Labels of a piece (w, h, d), and the corners of the box that each fills."""
    from scipy.ndimage import find_objects

    values: Sequence[int]
    if voxels.min() >= 0 and voxels.max() < _MOST_NUMBERED:  # nothing is sorted
        values, boxes = range(1, _MOST_NUMBERED), find_objects(voxels)
    else:
        found, numbered = np.unique(voxels, return_inverse=True)
        values, boxes = found.tolist(), find_objects(numbered.reshape(voxels.shape) + 1)
    return [
        (
            value,
            np.array([s.start for s in slices], np.int64),
            np.array([s.stop for s in slices], np.int64),
        )
        for value, slices in zip(values, boxes, strict=False)
        if value != 0 and slices is not None
    ]
