"""What lies between voxels: the interpolations of ITK, by TorchIO's names.

A kernel says, for fractional indices along one axis, which voxels are weighed and how. All are
products of one-dimensional ones. Beyond the outermost centres, up to half a voxel, the
conventions are ITK's: the outermost voxel goes on, or is a mirror (for splines).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

SNAP = 1e-6
"""Voxels by which a position may miss a border or a tie for the noise of its computation."""

SPLINE_MARGIN = 24
"""Voxels around a part from which spline coefficients are computed: the filter's memory fades by
0.268 per voxel, so that what is cut off changes them by less than 1e-13 of the range of values."""

_SINC_REACH = 4


@dataclass(frozen=True, slots=True)
class Kernel(ABC):
    """An interpolation along one axis.

    Attributes:
        name: TorchIO's.
        reach: Voxels beyond the two around a position, on each side, that may be weighed.
        keeps_values: Whether every result is a value of some voxel, as labels need.
        margin: Voxels beyond those that must be read for `prepare`.
    """

    name: str
    reach: int
    keeps_values: bool = False
    margin: int = 0

    @abstractmethod
    def taps(self, positions: Floats, size: int) -> tuple[Indices, Floats]:
        """Which voxels are weighed at each position, and how.

        Args:
            positions: Fractional indices (...), from -0.5 to size - 0.5.
            size: Voxels along the axis.

        Returns:
            Indices (..., taps) in the axis, and weights of the same shape.
        """


@dataclass(frozen=True, slots=True)
class Nearest(Kernel):
    """The voxel whose centre is nearest; halfway, the one with the higher index, as in ITK."""

    def taps(self, positions: Floats, size: int) -> tuple[Indices, Floats]:
        nearest = np.floor(positions + (0.5 + SNAP)).astype(np.intp).clip(0, size - 1)[..., None]
        return nearest, np.ones(nearest.shape)


@dataclass(frozen=True, slots=True)
class Linear(Kernel):
    """Straight lines between centres."""

    def taps(self, positions: Floats, size: int) -> tuple[Indices, Floats]:
        clipped = positions.clip(0, size - 1)
        below = np.floor(clipped)
        fraction = clipped - below
        first = below.astype(np.intp)
        # On a centre the next voxel has no say, not even if it is NaN.
        indices = np.stack([first, first + (fraction > 0)], axis=-1)
        return indices, np.stack([1 - fraction, fraction], axis=-1)


@dataclass(frozen=True, slots=True)
class Cubic(Kernel):
    """A cubic B-spline through the voxels, mirrored at the outermost centres."""

    def taps(self, positions: Floats, size: int) -> tuple[Indices, Floats]:
        below = np.floor(positions)
        t = positions - below
        weights = [(1 - t) ** 3, 4 - 3 * t**2 * (2 - t), 4 - 3 * (1 - t) ** 2 * (1 + t), t**3]
        indices = below.astype(np.intp)[..., None] + np.arange(-1, 3)
        if size == 1:
            indices[...] = 0
        else:
            indices %= 2 * size - 2
            np.minimum(indices, 2 * size - 2 - indices, out=indices)
        return indices, np.stack(weights, axis=-1) / 6


@dataclass(frozen=True, slots=True)
class Sinc(Kernel):
    """A sinc under a window of five voxels to each side; its weights are not normalised."""

    window: Callable[[Floats], Floats] = np.cos

    def taps(self, positions: Floats, size: int) -> tuple[Indices, Floats]:
        below = np.floor(positions)
        indices = below[..., None] + np.arange(-self.reach, self.reach + 2)
        distances = positions[..., None] - indices
        weights = np.sinc(distances) * self.window(distances / (self.reach + 1))
        # At a centre, that voxel alone counts: the window is not to be trusted there.
        at_centre = positions == below
        weights[at_centre] = distances[at_centre] == 0
        return indices.astype(np.intp).clip(0, size - 1), weights


@dataclass(frozen=True, slots=True)
class Gaussian(Kernel):
    """Integrals of a Gaussian over the voxels near a position, normalised.

    Attributes:
        sigma: Standard deviation in voxels.
        cutoff: Voxels to each side of a position that the Gaussian reaches.
    """

    sigma: float = 0.8
    cutoff: float = 3.2

    def taps(self, positions: Floats, size: int) -> tuple[Indices, Floats]:
        from scipy.special import erf

        first = np.floor(positions + 0.5 - self.cutoff).astype(np.intp)
        stop = np.ceil(positions + 0.5 + self.cutoff).astype(np.intp)
        indices = first[..., None] + np.arange(2 * self.reach + 2)
        edges = (np.concatenate([indices, indices[..., -1:] + 1], axis=-1) - 0.5) - positions[
            ..., None
        ]
        weights = np.diff(erf(edges / (np.sqrt(2) * self.sigma)), axis=-1)
        weights[(indices < 0) | (indices >= np.minimum(stop, size)[..., None])] = 0
        weights /= weights.sum(axis=-1, keepdims=True)
        # Those without weight must not be looked for where nothing was read.
        return indices.clip(0, size - 1), weights


def _hamming(x: Floats) -> Floats:
    return np.asarray(0.54 + 0.46 * np.cos(np.pi * x))


def _cosine(x: Floats) -> Floats:
    return np.asarray(np.cos(np.pi * x / 2))


def _welch(x: Floats) -> Floats:
    return 1 - x * x


def _lanczos(x: Floats) -> Floats:
    return np.sinc(x)


def _blackman(x: Floats) -> Floats:
    return np.asarray(0.42 + 0.5 * np.cos(np.pi * x) + 0.08 * np.cos(2 * np.pi * x))


KERNELS: dict[str, Kernel] = {
    "nearest": Nearest("nearest", 0, keeps_values=True),
    "linear": Linear("linear", 0),
    "bspline": Cubic("bspline", 1, margin=SPLINE_MARGIN),
    "cubic": Cubic("cubic", 1, margin=SPLINE_MARGIN),
    "gaussian": Gaussian("gaussian", 3),
    "label_gaussian": Gaussian("label_gaussian", 1, keeps_values=True, sigma=1.0, cutoff=1.0),
    "hamming": Sinc("hamming", _SINC_REACH, window=_hamming),
    "cosine": Sinc("cosine", _SINC_REACH, window=_cosine),
    "welch": Sinc("welch", _SINC_REACH, window=_welch),
    "lanczos": Sinc("lanczos", _SINC_REACH, window=_lanczos),
    "blackman": Sinc("blackman", _SINC_REACH, window=_blackman),
}
"""TorchIO's names; ``"bspline"`` and ``"cubic"`` are one."""


def kernel(name: str) -> Kernel:
    """The interpolation of that name.

    Raises:
        TypeError: If it is no text.
        UnsupportedError: If there is none (``UNKNOWN_INTERPOLATION``); also a ValueError.
    """
    if not isinstance(name, str):
        raise TypeError(f"interpolation is a name, such as 'linear', not {name!r}")
    if name.lower() not in KERNELS:
        raise UnsupportedError(
            f"unknown interpolation {name!r}: use one of {', '.join(KERNELS)}",
            code="UNKNOWN_INTERPOLATION",
        )
    return KERNELS[name.lower()]
