"""`ScalarImage`, and the members that only images of measurements have."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from voxarray.core.keys import INTENSITY
from voxarray.image.image import Image


class ScalarImage(Image):
    """Image whose voxels are measurements, such as a CT or MR scan; arguments as for `Image`.

    Examples:
        >>> scan = vx.testing.sample()
        >>> scan.type
        'intensity'
    """

    fixed_type: ClassVar[str | None] = INTENSITY

    def clamp(self, out_min: float | None = None, out_max: float | None = None) -> Self:
        """The image with values kept within bounds; as `Clamp`."""
        return self._transformed("Clamp", out_min, out_max)

    def rescale_intensity(
        self, out_min_max: Any = (0, 1), percentiles: Any = (0, 100), **kwargs: Any
    ) -> Self:
        """The image with its intensities mapped to another range; as `RescaleIntensity`.

        Args:
            out_min_max: Range of the result.
            percentiles: Values outside these percentiles are clipped to them.
            **kwargs: As for `RescaleIntensity`: ``in_min_max``, ``masking_method``.
        """
        return self._transformed("RescaleIntensity", out_min_max, percentiles, **kwargs)
