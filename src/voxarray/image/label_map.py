"""`LabelMap`, and the members that only images of labels have, such as counts of labels."""

from __future__ import annotations

from typing import ClassVar

from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.keys import LABEL
from voxarray.core.progress import ProgressOption, reporting, title_of
from voxarray.image.image import Image


class LabelMap(Image):
    """Image whose voxels are labels, such as a segmentation; arguments as for `Image`.

    A sequence of paths makes one channel per file, for overlapping labels or tissue probability
    maps. Labels are never averaged, so no new value appears. Resampling takes the nearest
    neighbour, or, with ``label_interpolation="label_gaussian"``, the label with the most weight
    nearby. Pyramids take the most frequent label.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> labels.type
        'label'
    """

    fixed_type: ClassVar[str | None] = LABEL

    def count_nonzero(self, *, progress: ProgressOption = None) -> int:
        """Number of voxels that are not 0, counted piece by piece.

        Args:
            progress: As for `statistics`.
        """
        from voxarray.statistics.value_counts import count_nonzero

        source = self.source
        with reporting(progress, title_of(source.path, "voxels that are not 0")) as report:
            return count_nonzero(source, report)

    @names_exhaustion
    def count_labels(self, *, progress: ProgressOption = None) -> dict[int | float, int]:
        """Number of voxels of each label, ascending, counted piece by piece.

        Keys are integers, even if the file stores floats; only values that are not whole numbers
        have floats as keys, as in TorchIO.

        Args:
            progress: As for `statistics`.

        Raises:
            UnsupportedError: If there are more than a million different values.
        """
        from voxarray.statistics.value_counts import count_values

        source = self.source
        with reporting(progress, title_of(source.path, "labels")) as report:
            return count_values(source, report).as_dict()
