"""The members of an image that measure its voxels; none of them loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.progress import ProgressOption, reporting, title_of
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    from voxarray.statistics.summary import Statistics


class StatisticsMixin:
    """An image whose voxels can be measured."""

    if TYPE_CHECKING:

        @property
        def source(self) -> SlicedSource: ...

    @names_exhaustion
    def statistics(
        self, mask: StatisticsMixin | None = None, *, progress: ProgressOption = None
    ) -> Statistics:
        """Mean, deviation, extremes, percentiles and histogram of all voxels.

        This takes one pass over the voxels, or two if the values are far from 0 and differ little.

        The process caches the result: a second call, also for another image with the same voxels,
        reads nothing. Voxels in memory are counted again, since they may have changed.

        Args:
            mask: Image on the same grid, with one channel or as many as this image; only voxels
                where it is not 0 are used.
            progress: True shows a progress bar, False none, None (the default) only in a terminal
                or notebook, after half a second; or a function of (bytes done, bytes in all).

        Raises:
            GridError: If the mask is on another grid (``MASK_MISMATCH``).
            TypeError: If the mask is no image.
            UnsupportedError: For complex voxels.
        """
        from voxarray.statistics.measure import statistics_of

        source, chosen = self.source, None if mask is None else _voxels(mask, "mask")
        with reporting(progress, title_of(source.path, "statistics")) as report:
            return statistics_of(source, chosen, report)

    @names_exhaustion
    def statistics_by_label(
        self, labels: StatisticsMixin, *, progress: ProgressOption = None
    ) -> dict[int | float, Statistics]:
        """Statistics of the voxels of every label, ascending by label.

        This takes one pass over both images, or two if a label's values are far from 0 and differ
        little.

        Args:
            labels: Label map on the same grid, with one channel or as many as this image.
            progress: True shows a progress bar, False none, None (the default) only in a terminal
                or notebook, after half a second; or a function of (bytes done, bytes in all).

        Raises:
            GridError: If the label map is on another grid (``MASK_MISMATCH``).
            TypeError: If ``labels`` is no image.
            UnsupportedError: For complex voxels, and if ``labels`` holds measurements, not labels.
        """
        from voxarray.statistics.statistics_by_label import statistics_by_label

        source, chosen = self.source, _voxels(labels, "labels")
        with reporting(progress, title_of(source.path, "statistics by label")) as report:
            return statistics_by_label(source, chosen, report)


def _voxels(image: Any, argument: str) -> SlicedSource:
    if not isinstance(image, StatisticsMixin):
        raise TypeError(
            f"{argument}= takes an image, not {type(image).__name__}: vx.LabelMap(path), or, for "
            "an array, vx.LabelMap(tensor=array, affine=image.affine)"
        )
    return image.source
