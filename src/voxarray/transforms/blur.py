"""Images made smooth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from voxarray.core.history import Entry, entry
from voxarray.image import Image
from voxarray.ops.gaussian import Blurred
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms.masking import name_of
from voxarray.transforms.transform import IntensityTransform

Deviations = float | Sequence[float]


class Blur(IntensityTransform):
    """Average voxels with their neighbours under a Gaussian. Integers become float32.

    Examples:
        >>> scan = vx.testing.sample()
        >>> bool(vx.Blur(std=2)(scan).numpy().std() < scan.numpy().std())
        True

    Args:
        std: Standard deviations in mm along W, H and D, or one for all; or a dict of these by the
            names of images. 0 leaves an axis as it is. At the borders, the volume is reflected.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For negative or infinite deviations, and unless there are one or three of them.
    """

    args_names: ClassVar[tuple[str, ...]] = ("std",)

    def __init__(self, std: Deviations | Mapping[str, Deviations], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.std: Any = (
            {name: _three(value) for name, value in std.items()}
            if isinstance(std, Mapping)
            else _three(std)
        )

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        std = self._std_of(image, subject)
        x, y, z = (s / step for s, step in zip(std, source.grid.spacing, strict=True))
        return source if not any(std) else Blurred.by(source, (x, y, z))

    def entries(self, image: Image, subject: Subject) -> tuple[Entry, ...]:
        return (entry(self.name, {"std": self._std_of(image, subject)}, self.version),)

    def _std_of(self, image: Image, subject: Subject) -> tuple[float, float, float]:
        std = self.std
        if isinstance(std, Mapping):
            name = name_of(image, subject)
            if name not in std:
                raise KeyError(f"std has no value for the image {name!r}, only for {list(std)}")
            std = std[name]
        x, y, z = std
        return x, y, z


def _three(std: Any) -> tuple[float, float, float]:
    values = [std] * 3 if isinstance(std, (int, float, np.number)) else list(std)
    if len(values) != 3 or not all(np.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"std is one number or three numbers in mm, at least 0, not {std!r}")
    return float(values[0]), float(values[1]), float(values[2])
