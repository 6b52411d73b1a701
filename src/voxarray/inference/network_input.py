"""What a network is shown: the images of a subject, preprocessed, as channels on one grid."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from voxarray.core.errors import StateError, UnsupportedError
from voxarray.core.transform_misfits import naming_misfits
from voxarray.geometry.grid import Grid
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.inference.provenance import is_beside, mentioned_names, names_its_images
from voxarray.ops.operation import Operation
from voxarray.ops.padding import Padded
from voxarray.ops.permuted import Permuted
from voxarray.ops.pointwise import Pointwise
from voxarray.patches.accumulator import Accumulator
from voxarray.patches.aggregated import Aggregated
from voxarray.source.base import OriginalHeader, Source
from voxarray.source.pieces import pieces
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.decoded_copies import staged
from voxarray.subject import Subject
from voxarray.transforms.masking import UnknownMaskError

Preprocess = Callable[[Any], Any]

MOVING = ("Affine", "Flip")
"""Transforms that move the anatomy but not the grid: no change of grid undoes them."""

ONLY = "image"
"""Name of an image that was given without one."""


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What the network is shown.

    Attributes:
        grid: That it works on.
        sources: Images, their channels one after another.
    """

    grid: Grid
    sources: tuple[Source, ...]

    @property
    def computed_bytes(self) -> list[int]:
        """Bytes of each image that is computed once before patches are read of it."""
        return [
            math.prod(source.shape) * source.dtype.itemsize
            for source in self.sources
            if _is_costly(source)
        ]

    @contextmanager
    def staged(self) -> Iterator[tuple[Source, ...]]:
        """The sources, with what costs something decoded and computed once: patches overlap."""
        with ExitStack() as stack:
            ready = [stack.enter_context(staged(source)) for source in self.sources]
            yield tuple(_computed(s) if _is_costly(s) else s for s in ready)


@dataclass(frozen=True, eq=False)
class Scan:
    """Images that belong together, before and after preprocessing.

    Attributes:
        native: Grid of the scan, on which the result is wanted.
        image: The first image, as it was given.
        others: Images beside it that the prediction depends on, by name, as they were given.
        channels: Images that become the network's channels, by name, as they were given.
        subject: What preprocessing is applied to: all images, or those that it asks for.
        preprocess: Applied to them first.
        label_maps: Names of all label maps that were given, for errors that list them.
    """

    native: Grid
    image: Image
    others: Mapping[str, Image]
    channels: Mapping[str, Image]
    subject: Subject
    preprocess: Preprocess | None
    label_maps: tuple[str, ...]

    @property
    def perhaps_used(self) -> tuple[str, ...]:
        """All label maps, if preprocessing names none, but may look at each, as in a loop."""
        if self.preprocess is None or names_its_images(self.preprocess):
            return ()
        return () if mentioned_names(self.preprocess) & {*self.label_maps} else self.label_maps

    @property
    def path(self) -> str | None:
        """The file or archive of the first image; None for data in memory."""
        return self.image.source.path

    @property
    def origin(self) -> OriginalHeader | None:
        """The NIfTI header of the first image, for a prediction at the same place."""
        return self.image.source.header_of_space

    @cached_property
    def network_input(self) -> NetworkInput:
        """What the network is shown; preprocessing that depends on voxels reads them now, once.

        Raises:
            FormatError: If preprocessing does not fit the images (``CANNOT_TRANSFORM``).
            StateError: If preprocessing returns no subject (``BAD_TRANSFORM``), or loses an image
                (``MISSING_CHANNELS``), or images are not on one grid (``GRIDS_DIFFER``).
            UnsupportedError: If it cannot be undone (``NOT_INVERTIBLE``), or voxels are no real
                numbers (``UNSUPPORTED_DTYPE``).
        """
        with naming_misfits(self.path):
            subject = self._preprocessed()
        if not isinstance(subject, Subject):
            raise StateError(
                f"preprocess returned {type(subject).__name__} for a subject: the function "
                "must return a Subject",
                code="BAD_TRANSFORM",
            )
        lost = [name for name in self.channels if not isinstance(subject.get(name), Image)]
        if lost:
            raise StateError(
                f"after preprocess the subject has no image {lost[0]!r}, only {sorted(subject)}",
                code="MISSING_CHANNELS",
            )
        after = {name: subject.get_image(name) for name in self.channels}
        for name, image in after.items():
            _require_invertible(self.channels[name], image)
            if image.source.dtype.kind not in "biuf":
                raise UnsupportedError(
                    f"voxels of {name!r} are {image.source.dtype}: a network takes real numbers",
                    code="UNSUPPORTED_DTYPE",
                    path=image.source.path,
                )
        return NetworkInput(_one_grid(after), tuple(image.source for image in after.values()))

    def _preprocessed(self) -> Any:
        if self.preprocess is None:
            return self.subject
        try:
            return self.preprocess(self.subject)
        except UnknownMaskError as error:
            # The subject lacks what preprocessing does not name, so also the right name.
            raise UnknownMaskError.among(self.label_maps, error.method) from None


def scan_of(images: Any, channels: Sequence[str] | None, preprocess: Preprocess | None) -> Scan:
    """The scan of an image or a subject; reads nothing, and does not preprocess yet.

    Args:
        images: An `Image`, its path, or a `Subject` (or a mapping of names to images).
        channels: Names of a subject's images in the order of the network's channels. Without it
            the subject has one `ScalarImage`.
        preprocess: Applied first: a transform, or a function of a subject.

    Raises:
        StateError: If channels are missing (``MISSING_CHANNELS``), their order is not known
            (``CHANNELS_UNNAMED``), or one is named twice (``CHANNELS_REPEATED``).
    """
    subject = subject_of(images)
    names = _channels(subject, channels)
    before = {name: subject.get_image(name) for name in names}
    first = before[names[0]]
    by_name = before if preprocess is None else subject.get_images_dict(intensity_only=False)
    label_maps = tuple(name for name, field in subject.items() if isinstance(field, LabelMap))
    mentioned = mentioned_names(preprocess)
    if names_its_images(preprocess):
        # Nothing that the network is not shown has a say in how: neither its grid nor its voxels.
        mentioned_images = {name: image for name, image in by_name.items() if name in mentioned}
        by_name = {**before, **mentioned_images}
        subject = Subject(by_name)
    # Label maps in the scan's archive come and go, the prediction itself among them: those count
    # that preprocessing asks for by name, as a mask.
    others = {
        name: image
        for name, image in by_name.items()
        if name in names[1:]
        or (name != names[0] and (name in mentioned or not is_beside(image, first)))
    }
    return Scan(first.grid, first, others, before, subject, preprocess, label_maps)


def _is_costly(source: Source) -> bool:
    """Whether voxels are computed from others around them, not each from one."""
    base = source.base if isinstance(source, (SlicedSource, Permuted)) else source
    if base is not source:
        return _is_costly(base)
    if isinstance(source, (Pointwise, Padded)):
        return any(_is_costly(operand) for operand in source.inputs)
    return isinstance(source, Operation)


def _computed(source: Source) -> Source:
    voxels = Accumulator(source.shape, source.dtype)
    for box, part in pieces(source):
        voxels.region(box.spatial)[box.ranges[0].start : box.ranges[0].stop] = part
    return Aggregated(voxels, (0, 0, 0), source.grid, None)


def subject_of(images: Any) -> Subject:
    """A subject of whatever `infer` takes.

    Raises:
        TypeError: For anything else.
    """
    if isinstance(images, (str, os.PathLike)):
        images = ScalarImage(images)
    if isinstance(images, Image):
        return Subject({ONLY: images})
    if isinstance(images, Mapping):
        return Subject.of(images)
    raise TypeError(
        f"images is an Image, its path, a Subject or a Cohort, not {type(images).__name__}"
    )


def _channels(subject: Subject, channels: Sequence[str] | None) -> list[str]:
    images = subject.get_images_dict(intensity_only=False)
    if channels is None:
        scalars = [name for name, image in images.items() if not isinstance(image, LabelMap)]
        # One image is what the caller gave; label maps of a subject are there to be predicted.
        names = list(images) if list(images) == [ONLY] else scalars
        if images and not scalars and not names:
            raise StateError(
                f"the subject has the label maps {list(images)} and no scan: pass channels=[...] "
                "if the network is to see label maps, or leave the subject out",
                code="MISSING_CHANNELS",
            )
        if len(names) != 1:
            raise StateError(
                f"the subject has the images {list(images)}, and nothing says which of them are "
                "the network's channels, and in which order: pass channels=[...] with their names",
                code="CHANNELS_UNNAMED",
            )
        return names
    if not isinstance(channels, (str, Sequence, set, frozenset)):
        raise TypeError(
            f"channels is a list of names of images, not {type(channels).__name__}: {channels!r}"
        )
    if isinstance(channels, (set, frozenset)):
        raise StateError(
            f"channels= is a set, {sorted(channels)}, which has no order: pass a list",
            code="CHANNELS_UNNAMED",
        )
    names = [channels] if isinstance(channels, str) else list(channels)
    if len(set(names)) < len(names):
        raise StateError(
            f"channels= names an image twice: {names}; each of the network's channels is an image "
            "of its own",
            code="CHANNELS_REPEATED",
        )
    missing = [name for name in names if name not in images]
    if missing or not names:
        raise StateError(
            f"the network's channels are {names}, but the subject has {list(images)} and lacks "
            f"{missing}: add these images, or name others in channels=",
            code="MISSING_CHANNELS",
        )
    return names


def _one_grid(images: Mapping[str, Image]) -> Grid:
    first = next(iter(images))
    shared: Grid = images[first].grid
    for name, image in images.items():
        if not image.grid.isclose(shared):
            raise StateError(
                f"the channels {first!r} and {name!r} are not on one grid: {shared} and "
                f"{image.grid}; resample them by preprocess=vx.Resample({first!r})",
                code="GRIDS_DIFFER",
            )
    return shared


def _require_invertible(before: Image, after: Image) -> None:
    done = after.history[len(before.history) :]
    for step in done:
        arguments = step.get("arguments", {})
        if step["operation"] in MOVING or arguments.get("pre_affine_name"):
            raise UnsupportedError(
                f"preprocess has {step['operation']}, which moves the anatomy but not the grid: "
                "the prediction could not be brought back to the scan; leave it out, or use flips=",
                code="NOT_INVERTIBLE",
            )
