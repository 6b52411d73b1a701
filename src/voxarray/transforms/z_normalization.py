"""Intensities with mean 0 and deviation 1."""

from __future__ import annotations

import math
from typing import ClassVar

from voxarray.core.errors import StateError
from voxarray.ops.intensity import Normalised
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.transforms.normalization import NormalizationTransform


class ZNormalization(NormalizationTransform):
    """Subtract the mean and divide by the standard deviation; the result is float32.

    The deviation has the divisor ``n - 1``, as in TorchIO.

    Examples:
        >>> scan = vx.testing.sample()
        >>> normal = vx.ZNormalization()(scan).numpy()
        >>> round(float(normal.std()), 2)
        1.0

    Args:
        masking_method: Which voxels mean and deviation are computed from, as in
            `NormalizationTransform`; all voxels are normalised.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        StateError: When applied, if the deviation is 0 (``CONSTANT``), there are fewer than two
            voxels (``TOO_FEW_VOXELS``), or the values are so large or small that float64 cannot
            hold their squares (``NO_DEVIATION``); also a RuntimeError.
    """

    args_names: ClassVar[tuple[str, ...]] = ("masking_method",)

    def normalised(self, source: SlicedSource, mask: Source | None, name: str) -> Source:
        statistics = self.statistics(source, mask, name)
        where = f'in image "{name}"' + (f" ({source.path})" if source.path else "")
        if statistics.count < 2:
            raise StateError(
                f"a standard deviation needs two voxels, and the mask leaves {statistics.count} "
                f"{where}: use a larger mask, or leave the image out, exclude=[{name!r}]",
                code="TOO_FEW_VOXELS",
            )
        if statistics.minimum == statistics.maximum:
            raise StateError(
                f"Standard deviation is 0 for masked values {where}: all are {statistics.minimum}. "
                f"Check the image and the mask, or leave the image out, exclude=[{name!r}]",
                code="CONSTANT",
            )
        if not 0 < statistics.sample_std < math.inf:
            raise StateError(
                f"the squares of the voxels {where} are too large or too small for float64, so "
                f"the standard deviation is {statistics.sample_std}: the values reach from "
                f"{statistics.minimum:g} to {statistics.maximum:g}; divide them first, for example "
                f"by {max(abs(statistics.minimum), abs(statistics.maximum)):.0e}",
                code="NO_DEVIATION",
            )
        return Normalised(source, statistics.mean, statistics.sample_std)
