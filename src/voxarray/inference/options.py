"""What a user can say of an inference, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from voxarray.core.errors import UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.inference.axis_plan import BLENDS
from voxarray.inference.reduction import ACTIVATIONS, OUTPUTS, Reduction

SUMS: dict[str, np.dtype] = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16)}

_STORED = {
    "labels": ("uint8", "uint16"),
    "probabilities": ("float16", "uint8", "float32"),
    "logits": ("float32", "float16"),
    "regression": ("float32", "float16"),
}
"""Types that an output can have; the first is the usual one."""


@dataclass(frozen=True)
class InferenceOptions:
    """Arguments of `infer` that say what is computed; of all that are None something else decides.

    Attributes:
        patch_size: Of the network's input.
        overlap: Of neighbouring patches.
        blend: How patches that overlap are weighed.
        output: What is wanted.
        activation: What makes probabilities of logits.
        threshold: Least probability of a label.
        channels: Names of images.
        batch_size: Patches that are predicted at once.
        amp: Half precision.
        flips: Mirrored versions that are averaged.
        accumulate: Type of the sums.
        dtype: Type of the result.
    """

    patch_size: Any = None
    overlap: Any = None
    blend: str | None = None
    output: str = "labels"
    activation: str | None = None
    threshold: float | None = None
    channels: Sequence[str] | None = None
    batch_size: int | None = None
    amp: bool | None = None
    flips: Any = ()
    accumulate: str = "float32"
    dtype: str | None = None

    def __post_init__(self) -> None:
        _require_one("blend", self.blend, (*BLENDS, None))
        _require_one("output", self.output, OUTPUTS)
        _require_one("activation", self.activation, (*ACTIVATIONS, None))
        _require_one("accumulate", self.accumulate, tuple(SUMS))
        if self.dtype is not None:
            name = _dtype_name(self.dtype)
            _require_one("dtype", name, _STORED[self.output])
            object.__setattr__(self, "dtype", name)
        size = self.batch_size
        if size is not None:
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
                raise ValueError(f"batch_size is a whole number of at least 1, not {size!r}")
            object.__setattr__(self, "batch_size", int(size))
        if self.amp not in (True, False, None):
            raise ValueError(f"amp is True, False or None, not {self.amp!r}")
        threshold = self.threshold
        if threshold is not None:
            is_number = isinstance(threshold, (int, float, np.number)) and not isinstance(
                threshold, bool
            )
            if not is_number or not 0 <= threshold <= 1:
                raise ValueError(f"threshold is a probability, from 0 to 1, not {threshold!r}")
            object.__setattr__(self, "threshold", float(threshold))
        if self.threshold is not None and self.output != "labels":
            raise ValueError(f'threshold has no meaning for output="{self.output}": leave it out')
        if self.activation is not None and self.output in ("logits", "regression"):
            raise ValueError(f'activation has no meaning for output="{self.output}": leave it out')

    def reduction(self, classes: int, values: tuple[int, ...] | None) -> Reduction:
        """What becomes of the numbers of a voxel.

        Args:
            classes: How many numbers there are.
            values: Label of each.

        Raises:
            UnsupportedError: If labels do not fit into the type (``UNSUPPORTED_DTYPE``), or a
                softmax is asked for of one class (``SOFTMAX_OF_ONE``).
        """
        activation = self.activation or ("sigmoid" if classes == 1 else "softmax")
        dtype = np.dtype(self.dtype or _STORED[self.output][0])
        if self.output == "labels" and activation != "sigmoid":
            if classes == 1 and activation == "softmax":
                raise UnsupportedError(
                    "the softmax of one class is 1 everywhere: leave activation out, or pass "
                    'activation="none" where the network returns probabilities',
                    code="SOFTMAX_OF_ONE",
                )
            largest = max(values) if values else max(1, classes - 1)
            if self.dtype is None and largest > 255:
                dtype = np.dtype(np.uint16)
            if largest > np.iinfo(dtype).max:
                raise UnsupportedError(
                    f"labels go up to {largest}, and {dtype} holds {np.iinfo(dtype).max} at most: "
                    "leave dtype= out, and uint16 is chosen",
                    code="UNSUPPORTED_DTYPE",
                )
        decides = self.output == "probabilities" or self.threshold is not None
        decides |= self.output == "labels" and activation == "sigmoid"
        is_assumed = self.activation is None and decides
        return Reduction(self.output, activation, self.threshold, values, dtype, is_assumed)

    def scaling(self, reduction: Reduction) -> Scaling | None:
        """What makes probabilities of what is stored."""
        is_scaled = self.output == "probabilities" and reduction.dtype == np.uint8
        return Scaling(1 / 255, 0.0) if is_scaled else None

    def completed(self, defaults: Mapping[str, Any]) -> InferenceOptions:
        """The options, and where the user said nothing those that a model brings along.

        Raises:
            ValueError: If nobody says how large patches are.
        """
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        complete = replace(self, **missing)
        if complete.patch_size is None:
            raise ValueError(
                "patch_size= (--patch-size) is missing: give the number of voxels along W, H and "
                "D that the network takes at once"
            )
        return complete

    def recorded(self) -> dict[str, Any]:
        """The options, for the history of what is made."""
        return asdict(self)


def _dtype_name(dtype: Any) -> str:
    try:
        return str(np.dtype(dtype).name)
    except (TypeError, ValueError, SyntaxError):  # the last of a text such as ","
        return str(dtype)


def _require_one(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        texts = ", ".join(repr(choice) for choice in allowed if choice is not None)
        raise ValueError(f"{name} is one of {texts}, not {value!r}")
