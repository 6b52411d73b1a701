"""Counts of labels and their boxes, against plain NumPy, for labels of every type and size."""

from __future__ import annotations

import numpy as np
import pytest

from voxarray.geometry.selection import Selection
from voxarray.inference.label_counts import LabelCounts

LABELS = {
    "few": ("uint8", [0, 1, 255]),
    "no background": ("uint8", [2, 3]),
    "wide": ("uint16", [0, 7, 65_535]),
    "negative": ("int16", [-3, 0, 2]),
    "large": ("int32", [0, 5, 70_000]),
    "huge": ("uint64", [0, 1, 2**63 + 1]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_pieces_are_counted_as_numpy_counts_the_whole(kind):
    dtype, labels = LABELS[kind]
    rng = np.random.default_rng(0)
    predicted, truth = rng.choice(np.array(labels, dtype), (2, 1, 9, 8, 12))
    predicted[0, :3] = truth[0, :3] = labels[0]  # boxes that do not begin at a border
    counts = LabelCounts()
    for z in (range(5), range(5, 12)):
        box = Selection((range(1), range(9), range(8), z))
        counts.add(box, predicted[..., z.start : z.stop], truth[..., z.start : z.stop])
    assert counts.labels == [label for label in labels if label != 0]
    for label in labels:
        assert counts.predicted[label] == np.count_nonzero(predicted == label)
        assert counts.reference[label] == np.count_nonzero(truth == label)
        assert counts.both[label] == np.count_nonzero((predicted == label) & (truth == label))
    for label in counts.labels:
        where = np.argwhere((predicted[0] == label) | (truth[0] == label))
        np.testing.assert_array_equal(counts.boxes[label][:, 0], where.min(0))
        np.testing.assert_array_equal(counts.boxes[label][:, 1], where.max(0) + 1)
