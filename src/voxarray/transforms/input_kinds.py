"""What transforms take and return: any kind of data as a subject, and back.

Whatever comes in goes out as the same kind: images, subjects, dicts, DataArrays, arrays, tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from voxarray.bridges.monai import is_meta_tensor, with_image
from voxarray.geometry.selection import Selection
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.image._arguments import is_dataarray, is_tensor
from voxarray.subject import Subject

ONLY = "image"
"""Name of a lone image in the subject that stands for it."""


class Unparse(Protocol):
    """Makes of a transformed subject what was given."""

    def __call__(self, subject: Subject, *, in_place: bool) -> Any: ...


def parsed(
    data: Any, include: Sequence[str] | None, label_keys: Sequence[str] | None
) -> tuple[Subject, Unparse]:
    """A subject that stands for the data, and what turns its successor into the same kind.

    Args:
        data: Image, Subject, dict, DataArray, or 4D array or tensor.
        include: Names of arrays in a dict that are images.
        label_keys: Those of them that are label maps.

    Raises:
        TypeError: For anything else.
    """
    if isinstance(data, Subject):
        return data, lambda subject, *, in_place: _updated(data, subject) if in_place else subject
    if isinstance(data, Image):
        return Subject(
            {ONLY: data}
        ), lambda subject, *, in_place: _become(data, subject[ONLY]) if in_place else subject[ONLY]
    if isinstance(data, dict):
        return _of_dict(data, include or (), label_keys or ())
    image = _image_of(data, is_label=getattr(data, "name", None) in (label_keys or ()))
    return Subject({ONLY: image}), lambda subject, **_: _as(data, subject[ONLY])


def _of_dict(
    data: dict[str, Any], include: Sequence[str], label_keys: Sequence[str]
) -> tuple[Subject, Unparse]:
    arrays = {
        key: value for key, value in data.items() if key in include and not isinstance(value, Image)
    }
    images = {key: _image_of(value, is_label=key in label_keys) for key, value in arrays.items()}

    def unparsed(subject: Subject, *, in_place: bool) -> dict[str, Any]:
        result = {
            key: _as(arrays[key], value) if key in arrays else value
            for key, value in subject.items()
        }
        return _updated(data, result) if in_place else result

    return Subject({**data, **images}), unparsed


def _image_of(value: Any, *, is_label: bool) -> Image:
    if not (is_dataarray(value) or is_tensor(value) or isinstance(value, np.ndarray)):
        raise TypeError(
            "a transform takes an image, a subject, a dict of images, a DataArray, or a 4D array "
            f"or tensor, not {type(value).__name__}"
        )
    return (LabelMap if is_label else ScalarImage)(tensor=value)


def _as(original: Any, image: Image) -> Any:
    """The image as the kind of array that was given."""
    if is_dataarray(original):
        array = image.array
        array.name = original.name
        array.attrs = {**original.attrs, **array.attrs}
        return array
    if is_meta_tensor(original):
        return with_image(original, image)
    if is_tensor(original):
        return image.data
    source = image.compute().source
    return source.read(Selection.whole(source.shape))


def _updated(original: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    original.update(result)
    return original


def _become(original: Image, result: Image) -> Image:
    if result is not original:
        original.__dict__.update(result.__dict__)
        dict.clear(original)
        dict.update(original, result)
    return original
