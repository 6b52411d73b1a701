"""Intensities kept within bounds, and in another type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from voxarray.core.errors import UnsupportedError
from voxarray.image import Image
from voxarray.ops.intensity import Cast, Clamped, require_order
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms.transform import IntensityTransform


class Clamp(IntensityTransform):
    """Set values below a minimum to the minimum, and values above a maximum to the maximum.

    Integers stay integers if the bounds are whole numbers, and become float32 otherwise.

    Examples:
        >>> scan = vx.testing.sample()
        >>> float(vx.Clamp(out_max=300)(scan).numpy().max())
        300.0

    Args:
        out_min: Smallest value of the result; None for no bound.
        out_max: Largest value of the result; None for no bound.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: If there is no bound, one is not a number or is NaN, or the minimum is above
            the maximum.
        UnsupportedError: When applied to complex voxels (``UNSUPPORTED_DTYPE``), or if an integer
            type does not hold a bound (``OUT_OF_TYPE``).
    """

    args_names: ClassVar[tuple[str, ...]] = ("out_min", "out_max")

    def __init__(
        self, out_min: float | None = None, out_max: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if out_min is None and out_max is None:
            raise ValueError("give a minimum, a maximum, or both")
        for bound in (out_min, out_max):
            if bound is not None and not isinstance(bound, (int, float, np.integer, np.floating)):
                raise ValueError(f"a bound is a number or None, not {bound!r}")
            if bound is not None and bound != bound:
                raise ValueError("a bound must not be NaN: every voxel would become NaN")
        if out_min is not None and out_max is not None and out_min > out_max:
            raise ValueError(f"the minimum {out_min} is above the maximum {out_max}")
        self.out_min, self.out_max = out_min, out_max

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        dtype = source.dtype
        require_order(dtype)
        if dtype.kind not in "biu":
            return Clamped(source, self.out_min, self.out_max, dtype)
        if any(isinstance(limit, (float, np.floating)) for limit in (self.out_min, self.out_max)):
            return Clamped(source, self.out_min, self.out_max, np.dtype(np.float32))
        dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        limits = np.iinfo(dtype)
        low = None if self.out_min is None or self.out_min <= limits.min else int(self.out_min)
        high = None if self.out_max is None or self.out_max >= limits.max else int(self.out_max)
        if (low or 0) > limits.max or (high or 0) < limits.min:
            raise UnsupportedError(
                f"{self!r} makes values that {dtype} does not hold: convert the image first, "
                "for example with To('float32')",
                code="OUT_OF_TYPE",
            )
        return source if low is None and high is None else Clamped(source, low, high, dtype)


class To(IntensityTransform):
    """Convert intensities to another type. Integer types cut off fractions.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.To("float16")(scan).dtype
        dtype('float16')

    Args:
        target: The type, such as ``"uint8"``, ``torch.uint8`` or ``numpy.uint8``. Devices are not
            accepted, since images are lazy: use `Image.to_tensor`.
        to_kwargs: Must be empty; accepted only for compatibility with TorchIO.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: If it is not a type of voxels, or ``to_kwargs`` is not empty.
        UnsupportedError: When voxels are read, if an integer type cannot hold them
            (``OUT_OF_TYPE``).
    """

    args_names: ClassVar[tuple[str, ...]] = ("target", "to_kwargs")

    def __init__(
        self, target: Any, to_kwargs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if to_kwargs:
            raise ValueError(f"to_kwargs means nothing to a lazy image: leave out {to_kwargs!r}")
        self._dtype = _dtype_of(target)
        self.target, self.to_kwargs = self._dtype.name, None

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        if source.dtype.kind == "c" and self._dtype.kind != "c":
            raise UnsupportedError(
                f"complex voxels do not fit into {self.target}: take their magnitude or real part "
                "first, for example abs(image.array)",
                code="UNSUPPORTED_DTYPE",
            )
        return source if source.dtype == self._dtype else Cast(source, self._dtype)


def _dtype_of(target: Any) -> np.dtype:
    text = str(target)
    is_named = isinstance(target, str) or text.startswith("torch.")
    try:
        # NumPy knows torch's types by the same names; torch is not imported to ask it.
        name = text.removeprefix("torch.") if is_named else target
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biufc":
        raise ValueError(
            f"the target of To is a type of numbers that NumPy has, such as 'float32', and not "
            f"{target!r}; for a device, use image.to_tensor(device=...)"
        )
    return dtype.newbyteorder("=")
