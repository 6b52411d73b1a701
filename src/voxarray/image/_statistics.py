"""The members of an image that measure its voxels; none of them loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.progress import ProgressOption, reporting, title_of
from voxarray.source.window import Window

if TYPE_CHECKING:
    from voxarray.statistics.summary import Statistics


class StatisticsMixin:
    """An image whose voxels can be measured."""

    if TYPE_CHECKING:

        @property
        def source(self) -> Window: ...

    @names_exhaustion
    def statistics(
        self, mask: StatisticsMixin | None = None, *, progress: ProgressOption = None
    ) -> Statistics:
        """Mean, deviation, extremes, percentiles and histogram of all voxels, in one pass.

        They are remembered by this process: asked again, of this image or another one of the same
        voxels, nothing is read, unless the voxels are in memory, where they may have changed.

        Args:
            mask: Image on the same grid, with one channel or as many; only voxels where it is not 0
                count.
            progress: True, False, a function of bytes done and in all, or None: a bar where
                somebody looks, once it takes longer than half a second.

        Raises:
            GridError: If the mask is on another grid (``MASK_MISMATCH``).
            UnsupportedError: For complex voxels.
        """
        from voxarray.statistics.measure import statistics_of

        source = self.source
        with reporting(progress, title_of(source.path, "statistics")) as report:
            return statistics_of(source, None if mask is None else mask.source, report)

    @names_exhaustion
    def statistics_by_label(
        self, labels: StatisticsMixin, *, progress: ProgressOption = None
    ) -> dict[int | float, Statistics]:
        """Statistics of the voxels of every label, ascending by label, in one pass over both.

        Args:
            labels: Label map on the same grid, with one channel or as many.
            progress: True, False, a function of bytes done and in all, or None: a bar where
                somebody looks, once it takes longer than half a second.

        Raises:
            GridError: If the label map is on another grid (``MASK_MISMATCH``).
            UnsupportedError: For complex voxels, and for measurements in the place of labels.
        """
        from voxarray.statistics.by_label import statistics_by_label

        source = self.source
        with reporting(progress, title_of(source.path, "statistics by label")) as report:
            return statistics_by_label(source, labels.source, report)
