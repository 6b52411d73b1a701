"""Images of measurements and images of labels."""

from __future__ import annotations

from typing import ClassVar

from voxarray.image.base import Image
from voxarray.image.keys import INTENSITY, LABEL


class ScalarImage(Image):
    """Image whose voxels are measurements, such as a CT or MR scan; arguments as for `Image`."""

    fixed_type: ClassVar[str | None] = INTENSITY


class LabelMap(Image):
    """Image whose voxels are labels, such as a segmentation; arguments as for `Image`.

    A sequence of paths makes one channel per file: overlapping labels, or a tissue probability map.
    Labels are never interpolated: nearest neighbours are taken, and pyramids hold the most
    frequent one.
    """

    fixed_type: ClassVar[str | None] = LABEL

    def count_nonzero(self) -> int:
        """Number of voxels that are not 0, counted out of core."""
        from voxarray.statistics.counts import count_nonzero

        return count_nonzero(self.source)

    def count_labels(self) -> dict[int | float, int]:
        """Number of voxels of each label, ascending, counted out of core.

        Labels are integers, also where the file stores them as floats; voxels that are no whole
        numbers have floats as keys, as in TorchIO.

        Raises:
            UnsupportedError: If there are more than a million different values.
        """
        from voxarray.statistics.counts import count_values

        return count_values(self.source).as_dict()
