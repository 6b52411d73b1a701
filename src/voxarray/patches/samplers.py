"""Samplers under TorchIO's names: where patches are, as a function of seed and index."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from voxarray.core.errors import MissingImageError, StateError
from voxarray.core.html_table import html_table
from voxarray.core.keys import LABEL, TYPE
from voxarray.geometry.selection import Shape3
from voxarray.patches.locations import CentreDraw, LocationDistribution, UniformDraw
from voxarray.patches.patch_sizes import Size, three
from voxarray.patches.randomness import generator
from voxarray.patches.sampling_weights import (
    LabelMass,
    SamplingWeights,
    WeightMass,
    require_one_channel,
)
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.subject.meant_label_map import meant_label_map

LOCATION = "location"
"""Key of a patch under which its first voxel and the one after its last are, six integers."""


class PatchSampler(ABC):
    """Draws patches of one size from a subject.

    Args:
        patch_size: Voxels along W, H and D, or one number for all.

    Raises:
        ValueError: Unless the size is made of positive integers.
    """

    patch_size: Shape3

    def __init__(self, patch_size: Size) -> None:
        self.patch_size = three(patch_size, "Patch dimensions", 1)

    @abstractmethod
    def draw(self, subject: Subject) -> LocationDistribution:
        """Prepare to draw patches from one subject; returns an object that tells where they lie.

        If the sampler needs a label map or a probability map, that map is read, unless its archive
        holds the statistics that are needed. Otherwise no voxels are read.

        Raises:
            StateError: If no patch fits (``PATCH_TOO_LARGE``), or the images are not on one grid
                (``GRIDS_DIFFER``); also a RuntimeError.
        """

    def location(
        self, subject: Subject, index: int, *, seed: int = 0, epoch: int = 0
    ) -> tuple[int, int, int, int, int, int]:
        """Where the patch of an index is: its first voxel (W, H, D), and the one after its last.

        Args:
            subject: The images.
            index: Index of the patch; the same index gives the same location.
            seed: Seed of the whole run.
            epoch: Which pass over the data this is.
        """
        x, y, z = self.draw(subject).start(generator(seed, epoch, index))
        w, h, d = self.patch_size
        return x, y, z, x + w, y + h, z + d

    def __call__(
        self, subject: Subject, num_patches: int | None = None, seed: int = 0
    ) -> Iterator[Subject]:
        """Patches as subjects of lazy slices, with their ``"location"``; endless by default.

        Args:
            subject: The images.
            num_patches: How many.
            seed: Another one gives other patches.
        """
        from voxarray.tensors.convert import integers

        draw = self.draw(subject)
        numbers = itertools.count() if num_patches is None else range(num_patches)
        for index in numbers:
            x, y, z = draw.start(generator(seed, 0, index))
            w, h, d = self.patch_size
            patch = subject[x : x + w, y : y + h, z : z + d]
            patch[LOCATION] = integers([x, y, z, x + w, y + h, z + d])
            yield patch

    def _repr_html_(self) -> str:
        """A table of what was asked for, for notebooks."""
        return html_table(type(self).__name__, self._facts)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self._facts.items())
        return f"{type(self).__name__}({facts})"

    @property
    def _facts(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}


class UniformSampler(PatchSampler):
    """Patches from anywhere in the volume, every place as likely as any other.

    Examples:
        >>> scan = vx.testing.sample()
        >>> patches = vx.PatchDataset([vx.Subject(t1=scan)], vx.UniformSampler(16))
        >>> patches[0]["t1"]["data"].shape
        torch.Size([1, 16, 16, 16])

    Args:
        patch_size: Voxels along W, H and D, or one number for all.
    """

    def draw(self, subject: Subject) -> UniformDraw:
        return UniformDraw(self.patch_size, subject.grid.shape)


class WeightedSampler(PatchSampler):
    """Patches whose centres are drawn with probabilities proportional to the values of a map.

    The map need not be normalised. If the patch size is even, the centre is voxel ``size // 2``.
    Voxels too close to the border for a patch to fit around them are never centres.

    Examples:
        >>> scan = vx.testing.sample()
        >>> weights = vx.ScalarImage(tensor=scan.numpy().clip(0) * 1.0, affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, weights=weights)
        >>> patch = vx.PatchDataset([subject], vx.WeightedSampler(16, "weights"))[0]
        >>> patch["t1"]["data"].shape
        torch.Size([1, 16, 16, 16])

    Args:
        patch_size: Voxels along W, H and D, or one number for all.
        probability_map: Name of the map in the subject: one channel, numbers of at least 0.
    """

    def __init__(self, patch_size: Size, probability_map: str) -> None:
        super().__init__(patch_size)
        self.probability_map = probability_map

    def draw(self, subject: Subject) -> CentreDraw:
        subject.check_consistent_space()
        source = _image(subject, self.probability_map)
        require_one_channel(source, self.probability_map)
        mass = WeightMass.of(source, 0)
        return CentreDraw.of(self.patch_size, [mass], [1.0], repr(self.probability_map))


class LabelSampler(PatchSampler):
    """Patches centred on labels, which are drawn with given probabilities.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, brain=labels)
        >>> sampler = vx.LabelSampler(16, "brain", {0: 1, 1: 3})
        >>> patch = vx.PatchDataset([subject], sampler)[0]
        >>> patch["brain"]["data"].shape
        torch.Size([1, 16, 16, 16])

    Args:
        patch_size: Voxels along W, H and D, or one number for all.
        label_name: Name of the label map in the subject; by default its only one, or the one named
            ``"label"``.
        label_probabilities: Relative probability that a patch is centred on each label, for example
            ``{0: 1, 1: 2, 2: 1}``; need not add up to one. Labels without possible centres are left
            out. In a map of several channels, the keys are channels, whose voxels are weights. By
            default, all voxels above 0 are equally probable.

    Raises:
        ValueError: For a negative or infinite probability, if all are 0, or for a label that is no
            whole number.
        StateError: When patches are drawn, if the map of a subject has none of the labels, or none
            of them far enough from the border (``EMPTY_MAP``). Without a ``label_name``, if a
            subject has no label map (``NO_LABEL_MAP``), or several and none is named ``"label"``
            (``NO_LABELS``).
    """

    def __init__(
        self,
        patch_size: Size,
        label_name: str | None = None,
        label_probabilities: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__(patch_size)
        chances = None if label_probabilities is None else dict(label_probabilities)
        if chances is not None and not (
            min(chances.values(), default=0) >= 0 < sum(chances.values()) < math.inf
        ):
            raise ValueError(
                f"label_probabilities must be finite, at least 0, and not all 0, got {chances}"
            )
        for label in chances or ():
            if isinstance(label, str) or not float(label).is_integer():
                raise ValueError(
                    "the keys of label_probabilities are labels or channels, which are whole "
                    f"numbers, but {label!r} is not one"
                )
        self.label_name = label_name
        self.label_probabilities = chances

    def draw(self, subject: Subject) -> CentreDraw:
        subject.check_consistent_space()
        name = self.label_name or _label_map_of(subject)
        source = _image(subject, name)
        if self.label_probabilities is None:
            masses: list[SamplingWeights] = [LabelMass.of(source, None)]
            return CentreDraw.of(self.patch_size, masses, [1.0], repr(name))
        if source.shape[0] == 1:
            masses = [LabelMass.of(source, int(label)) for label in self.label_probabilities]
        else:
            masses = [WeightMass.of(source, int(channel)) for channel in self.label_probabilities]
        chances = list(self.label_probabilities.values())
        return CentreDraw.of(self.patch_size, masses, chances, repr(name))


def _image(subject: Subject, name: str) -> SlicedSource:
    images: dict[str, Any] = subject.get_images_dict(intensity_only=False)
    if name not in images:
        raise MissingImageError(
            f"Image {name!r} not found in subject, which has {list(images)}: name one of these, or "
            f'leave out subjects without it (in a cohort, cohort.query("{name!r} in images"))'
        )
    source: SlicedSource = images[name].source
    return source


def _label_map_of(subject: Subject) -> str:
    """Name of the label map that is meant if none is named."""
    images = subject.get_images_dict(intensity_only=False)
    names = [name for name, image in images.items() if image[TYPE] == LABEL]
    if not names:
        raise StateError(
            f"No label maps found in subject, which has {list(images)}: name one with label_name",
            code="NO_LABEL_MAP",
        )
    name = meant_label_map(names)
    if name is None:
        raise StateError(
            f"the subject has the label maps {sorted(names)}: expected a single one, or one called "
            "'label'; choose one by label_name=",
            code="NO_LABELS",
        )
    return name
