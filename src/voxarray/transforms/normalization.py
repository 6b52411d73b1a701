"""What transforms that need statistics of an image have in common."""

from __future__ import annotations

from typing import Any

from voxarray.core.errors import StateError
from voxarray.image import Image
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.measure import statistics_of
from voxarray.statistics.summary import Statistics
from voxarray.subject import Subject
from voxarray.transforms.masking import MaskingMethod, mask_of, name_of
from voxarray.transforms.transform import IntensityTransform


class NormalizationTransform(IntensityTransform):
    """A transform of intensities that depends on statistics of the image.

    The statistics are computed when the transform is applied, in one or two passes over the image.
    From then on they are constants, also for slices, patches and the workers of a cluster.
    Statistics of voxels in files are cached: other transforms and images that need the same
    statistics read nothing. After a transform such as `RescaleIntensity`, the statistics are
    derived from the cached ones.

    Examples:
        >>> isinstance(vx.ZNormalization(), vx.transforms.NormalizationTransform)
        True

    Args:
        masking_method: Which voxels the statistics are computed from: None for all; the name of a
            label map in the subject, for its voxels other than 0; ``"Left"``, ``"Right"``,
            ``"Anterior"``, ``"Posterior"``, ``"Inferior"`` or ``"Superior"`` for half of the
            volume; one, three or six numbers of voxels to leave out at the ends of the axes; or a
            function of a lazy dask array (C, W, H, D) that returns booleans, such as ``lambda x: x
            > x.mean()``.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.
    """

    def __init__(self, masking_method: MaskingMethod = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masking_method = masking_method

    @staticmethod
    def mean(voxels: Any) -> Any:
        """Mask of the voxels above their mean; use it as ``masking_method``, as in TorchIO.

        Args:
            voxels: A lazy dask array (C, W, H, D).

        Returns:
            Booleans of the same shape, lazily; the mean is not computed yet.
        """
        return voxels > voxels.mean()

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        mask = mask_of(self.masking_method, source, subject)
        return self.normalised(source, mask, name_of(image, subject))

    def normalised(self, source: SlicedSource, mask: Source | None, name: str) -> Source:
        """The voxels after the transform.

        Args:
            source: The voxels of the image.
            mask: Mask; only voxels where it is not 0 are used; None for all.
            name: Name of the image, for messages.
        """
        raise NotImplementedError(f"{self.name} does not define normalised")

    def statistics(self, source: Source, mask: Source | None, name: str) -> Statistics:
        """Statistics of the voxels inside the mask.

        Raises:
            StateError: If some of them are NaN or infinite (``NOT_FINITE``).
        """
        result = statistics_of(source, mask)
        if result.not_finite:
            raise StateError(
                f'{self.name} of image "{name}" is not possible, because {result.not_finite:,} of '
                f"its voxels {'is' if result.not_finite == 1 else 'are'} NaN or infinite: mask "
                "these out, or replace them first",
                code="NOT_FINITE",
            )
        return result
