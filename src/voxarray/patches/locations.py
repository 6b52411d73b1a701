"""How the place of a patch is drawn from one image: exactly by the distribution, never by its list.

A voxel with a property is drawn in three steps: what kind of voxel, by the probabilities of the
user; which cell, by the counts; which voxel, by reading that one cell. Cells at the border hold
voxels that cannot be centres, because the patch would not fit. A draw that meets one is made again,
which leaves the distribution of the others as it is; where that would happen too often, the
border cells are counted once without them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.counting.cells import Box
from voxarray.geometry.selection import Shape3
from voxarray.patches.patch_sizes import centres, require_fit
from voxarray.patches.sampling_weights import SamplingWeights

_LEAST_INSIDE = 0.25
"""Share of the mass in cells without a border below which border cells are counted."""

_ATTEMPTS = 1000
"""So many misses in a row, each with a chance of 3/4 or less, mean that the voxels changed."""


class LocationDistribution(ABC):
    """What is needed to draw patches from one subject."""

    @property
    def is_cheap(self) -> bool:
        """Whether any thread may draw at any time: no function of a user runs, little is read."""
        return False

    @abstractmethod
    def start(self, random: np.random.Generator) -> Shape3:
        """First voxel (W, H, D) of a patch."""


@dataclass(frozen=True)
class UniformDraw(LocationDistribution):
    """Every place where the patch fits is as likely as any other.

    Attributes:
        patch: Size (W, H, D).
        shape: Voxels (W, H, D) of the images.
    """

    patch: Shape3
    shape: Shape3

    def __post_init__(self) -> None:
        require_fit(self.patch, self.shape)

    @property
    def is_cheap(self) -> bool:
        return True

    def start(self, random: np.random.Generator) -> Shape3:
        x, y, z = (
            int(random.integers(0, n - p + 1, dtype=np.int64))
            for n, p in zip(self.shape, self.patch, strict=True)
        )
        return x, y, z


@dataclass(frozen=True, eq=False)
class CentreDraw(LocationDistribution):
    """Patches whose centres have one of several properties.

    Attributes:
        patch: Size (W, H, D).
        kinds: The properties that occur.
        chances: Probability of each; they add up to one.
    """

    patch: Shape3
    kinds: Sequence[Centres]
    chances: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        patch: Shape3,
        masses: Sequence[SamplingWeights],
        probabilities: Sequence[float],
        what: str,
    ) -> CentreDraw:
        """Plan draws by several masses; those that no centre has are left out, as in TorchIO.

        Args:
            patch: Size (W, H, D).
            masses: One per property.
            probabilities: Of each, not negative; they need not add up to one.
            what: The map, for messages.

        Raises:
            StateError: If nothing is left (``EMPTY_MAP``).
        """
        planned = [
            (Centres.of(mass, patch), chance)
            for mass, chance in zip(masses, probabilities, strict=True)
            if chance > 0
        ]
        possible = [(kind, chance) for kind, chance in planned if kind is not None]
        if not possible:
            requested = [
                mass for mass, chance in zip(masses, probabilities, strict=True) if chance > 0
            ]
            raise StateError(
                f"Empty probability map found: {_why_empty(patch, requested, what)}",
                code="EMPTY_MAP",
            )
        chances = np.array([chance for _, chance in possible], float)
        return cls(patch, [kind for kind, _ in possible], chances / chances.sum())

    @property
    def is_cheap(self) -> bool:
        return all(kind.mass.is_stored for kind in self.kinds)

    def start(self, random: np.random.Generator) -> Shape3:
        kind = self.kinds[_pick(np.cumsum(self.chances), random)]
        x, y, z = (c - p // 2 for c, p in zip(kind.draw(random), self.patch, strict=True))
        return x, y, z


def _why_empty(patch: Shape3, masses: Sequence[SamplingWeights], what: str) -> str:
    """What is missing: the property itself, or room for a patch around the voxels that have it."""
    absent = [mass for mass in masses if not len(mass.numbers)]
    texts = []
    if absent:
        required = " and ".join(mass.requirement for mass in absent)
        texts.append(f"{what} has {required}, {absent[0].contents}")
    if len(absent) < len(masses):
        half = tuple(n // 2 for n in patch)
        texts.append(
            f"{what} has no voxel to be the centre of a patch of {patch}. Voxels within {half} of "
            "the border cannot be a centre; pad the images by that much, or take smaller patches"
        )
    else:
        texts.append("ask for what the map has, or leave this subject out")
    return "; ".join(texts)


@dataclass(frozen=True, eq=False)
class Centres:
    """Voxels with a mass that can be the centre of a patch.

    Attributes:
        mass: What counts how much.
        valid: Centres (W, H, D) with room for the patch.
        counted: Whether cells at the border were counted without what is not valid.
        numbers: Cells that hold mass.
        sums: Running sum of their masses.
    """

    mass: SamplingWeights
    valid: Box
    counted: bool
    numbers: NDArray[np.int64]
    sums: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, mass: SamplingWeights, patch: Shape3) -> Centres | None:
        """The centres, None if there are none. Reads at most the cells at the border."""
        cells, valid = mass.cells, centres(patch, mass.source.shape[1:])
        numbers, masses = mass.numbers, mass.masses.copy()
        starts, stops = cells.bounds(numbers)
        first, last = ([r.start for r in valid], [r.stop for r in valid])
        touched = ((starts < last) & (stops > first)).all(axis=1)
        inside = ((starts >= first) & (stops <= last)).all(axis=1)
        counted = masses[inside].sum() < _LEAST_INSIDE * masses[touched].sum()
        if counted:
            for index in np.flatnonzero(touched & ~inside):
                box = _common(cells.box(int(numbers[index])), valid)
                masses[index] = mass.read(box).sum(dtype=np.float64)
        nonempty = touched & (masses > 0)
        if not nonempty.any():
            return None
        return cls(mass, valid, counted, numbers[nonempty], np.cumsum(masses[nonempty]))

    def draw(self, random: np.random.Generator) -> Shape3:
        """A centre (W, H, D), as likely as its mass says."""
        for _ in range(_ATTEMPTS):
            box = self.mass.cells.box(int(self.numbers[_pick(self.sums, random)]))
            if self.counted:
                box = _common(box, self.valid)
            mass = self.mass.read(box)
            candidates = np.flatnonzero(mass)
            if not len(candidates):
                continue  # rounding, or a tensor that was changed since it was counted
            if mass.dtype == bool:
                index = candidates[random.integers(len(candidates))]
            else:
                index = candidates[_pick(np.cumsum(mass.reshape(-1)[candidates]), random)]
            offsets = np.unravel_index(index, mass.shape)
            x, y, z = (r[int(offset)] for r, offset in zip(box, offsets, strict=True))
            if all(c in r for c, r in zip((x, y, z), self.valid, strict=True)):
                return x, y, z
        raise StateError(
            "the image was changed after its voxels were counted for sampling: make the dataset "
            "again",
            code="MAP_CHANGED",
        )


def _pick(sums: NDArray[np.float64], random: np.random.Generator) -> int:
    """A position, as likely as it adds to a running sum."""
    index = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
    return min(index, len(sums) - 1)  # the product may round up to the sum itself


def _common(box: Box, other: Box) -> Box:
    x, y, z = (
        range(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, other, strict=True)
    )
    return x, y, z
