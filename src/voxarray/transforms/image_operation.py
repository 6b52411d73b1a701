"""What histories name that is no transform: methods of images, as transforms of all images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from voxarray.core.errors import StateError
from voxarray.geometry.selection import Selection
from voxarray.image import Image
from voxarray.subject import Subject
from voxarray.transforms.transform import Transform


def _slice(image: Image, ranges: list[list[int]]) -> Image:
    selected = [range(*bounds) for bounds in ranges]
    is_inside = all(
        min(r[0], r[-1]) >= 0 and max(r[0], r[-1]) < size
        for r, size in zip(selected, image.shape, strict=True)
    )
    if not is_inside:
        raise StateError(
            "this history cannot be replayed: "
            f"the slice {ranges} was taken from an image larger than the one given, {image.shape}. "
            "Give the image that the history began with",
            code="CANNOT_REPLAY",
        )
    c, w, h, d = selected
    return image._on(image.source.take(Selection((c, w, h, d))))


def _set_affine(image: Image, affine: list[list[float]]) -> Image:
    return image._on(image.source.with_affine(np.array(affine)))


def to_each(
    images: Mapping[str, Image], operation: str, parameters: Mapping[str, Any]
) -> dict[str, Image]:
    """What a method of one image did, done to the images of a subject.

    Who slices a subject takes all channels of each image, but the history of one image holds its
    own number of channels.
    """
    method, largest = METHODS[operation], max(image.num_channels for image in images.values())
    result = {}
    for name, image in images.items():
        adapted = dict(parameters)
        if operation == "slice":
            start, stop, step = adapted["ranges"][0]
            if (start, step) == (0, 1) and image.num_channels < stop <= largest:
                adapted["ranges"] = [[0, image.num_channels, 1], *adapted["ranges"][1:]]
        result[name] = method(image, **adapted)
    return result


METHODS: dict[str, Callable[..., Image]] = {
    "level": Image.level,
    "set_affine": _set_affine,
    "slice": _slice,
}
"""Operations by the names that histories have for them."""

_PARAMETERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "level": ("number", ()),
    "set_affine": ("affine", (4, 4)),
    "slice": ("ranges", (4, 3)),
}
"""The parameter that each has, and the shape of its numbers."""


class ImageOperation(Transform):
    """Do to all images what a method of one image did.

    Args:
        operation: One of `METHODS`.
        parameters: Its arguments, by name.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        TypeError: If it does not take them.
    """

    args_names: ClassVar[tuple[str, ...]] = ("operation", "parameters")

    def __init__(self, operation: str, parameters: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operation, self.parameters = operation, dict(parameters)
        name, shape = _PARAMETERS[operation]
        if set(parameters) != {name}:
            raise TypeError(f"expected {name}, not {', '.join(map(repr, parameters))}")
        value = np.asarray(parameters[name])
        if value.shape != shape or value.dtype.kind not in ("if" if name == "affine" else "i"):
            what = f"an array of numbers of shape {shape}" if shape else "one number"
            raise TypeError(f"{name} is {what}, not {parameters[name]!r}")

    def apply_transform(self, subject: Subject) -> Subject:
        images = self.get_images(subject)
        if images:
            subject.update(to_each(images, self.operation, self.parameters))
        return subject
