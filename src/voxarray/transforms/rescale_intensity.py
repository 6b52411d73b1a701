"""Intensities brought into a range."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from voxarray.core.caller_warnings import warn_caller
from voxarray.ops.intensity import SINGLE, Rescaled, require_order, working_for
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.transforms.masking import MaskingMethod
from voxarray.transforms.normalization import NormalizationTransform

Range = float | tuple[float, float]


class RescaleIntensity(NormalizationTransform):
    """Map the range of an image's intensities linearly to another range; the result is float32.

    Examples:
        >>> scan = vx.testing.sample()
        >>> bright = vx.RescaleIntensity((0, 1))(scan)
        >>> float(bright.numpy().min()), float(bright.numpy().max())
        (0.0, 1.0)

    Args:
        out_min_max: Range of the result; one number ``d`` stands for ``(-d, d)``.
        percentiles: Values outside these percentiles are clipped to them; one number ``d`` stands
            for ``(0, d)``. By default, nothing is clipped.
        masking_method: Which voxels the percentiles are computed from, as in
            `NormalizationTransform`; all voxels are rescaled.
        in_min_max: The range that is mapped to ``out_min_max``; by default that between the
            percentiles.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    If all voxels have the same value, or the mask is empty, the image is left as it is, with a
    `RuntimeWarning`.

    Raises:
        ValueError: For numbers that are not a range, or an ``out_min_max`` beyond float32.
    """

    args_names: ClassVar[tuple[str, ...]] = (
        *("out_min_max", "percentiles", "masking_method", "in_min_max"),
    )

    def __init__(
        self,
        out_min_max: Range = (0, 1),
        percentiles: Range = (0, 100),
        masking_method: MaskingMethod = None,
        in_min_max: Range | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(masking_method=masking_method, **kwargs)
        self.out_min_max = range_argument(out_min_max, "out_min_max")
        if max(map(abs, self.out_min_max)) > float(np.finfo(SINGLE).max):
            raise ValueError(
                f"out_min_max must be within float32, the type of the result, got {out_min_max!r}: "
                "give numbers of magnitude 3e38 at most"
            )
        self.percentiles = range_argument(percentiles, "percentiles", 0, 100)
        self.in_min_max = None if in_min_max is None else range_argument(in_min_max, "in_min_max")

    def normalised(self, source: SlicedSource, mask: Source | None, name: str) -> Source:
        require_order(source.dtype)
        if self.in_min_max is not None and mask is None and self.percentiles == (0, 100):
            return self._rescaled(source, None, self.in_min_max, name)  # nothing need be known
        statistics = self.statistics(source, mask, name)
        if not statistics.count:
            return _left_alone(source, name, "the mask to compute the statistics is empty")
        low, high = statistics.percentiles(self.percentiles).tolist()
        return self._rescaled(source, (low, high), self.in_min_max or (low, high), name)

    def _rescaled(
        self,
        source: SlicedSource,
        cut: tuple[float, float] | None,
        before: tuple[float, float],
        name: str,
    ) -> Source:
        # The difference in the type in which it is divided by.
        working = working_for(source.dtype, before).type
        if working(before[0]) == working(before[1]):
            return _left_alone(source, name, "all the intensity values are the same")
        return Rescaled(source, cut, before, self.out_min_max)


def range_argument(
    value: Any, name: str, lowest: float | None = None, highest: float | None = None
) -> tuple[float, float]:
    """Two ascending numbers; of a single one, from its negative or ``lowest`` to itself.

    Raises:
        ValueError: If it is something else, or reaches beyond ``lowest`` or ``highest``.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"{name} as a single number is positive, not {value}")
        value = (-value if lowest is None else lowest, value)
    try:
        low, high = (float(number) for number in value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is one number or two, not {value!r}") from None
    if not low <= high:
        raise ValueError(f"{name} must be in ascending order, got {value!r}")
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name} must be finite numbers, got {value!r}")
    if (lowest is not None and low < lowest) or (highest is not None and high > highest):
        raise ValueError(f"{name} must be between {lowest} and {highest}, got {value!r}")
    return low, high


def _left_alone(source: SlicedSource, name: str, reason: str) -> SlicedSource:
    message = f'Rescaling image "{name}" not possible because {reason}'
    warn_caller(f"{message}: the image is left unchanged", RuntimeWarning)
    return source
