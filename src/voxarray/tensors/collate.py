"""Batches of images and subjects, as TorchIO's ``SubjectsLoader`` makes them.

`torch.utils.data.default_collate` rebuilds a mapping as its own kind, and a batch is neither an
image nor a subject. The table that it asks first is told here what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from voxarray.core.errors import StateError, UnsupportedError
from voxarray.core.keys import AFFINE, DATA


def register(kind: type) -> None:
    """Tell torch's collation of a kind of images (with ``to_tensor``), or of dicts of them."""
    default_collate_fn_map[kind] = _collated


def _collated(batch: Sequence[Any], **_: Any) -> dict[str, Any]:
    return _fields([_read(item) for item in batch], type(batch[0]).__name__)


def _read(value: Any) -> Any:
    """An image as its fields, with its voxels; a dict of images likewise; others as they are.

    Images stay unloaded.
    """
    if hasattr(value, "to_tensor"):
        return {**value, DATA: value.to_tensor(), AFFINE: np.array(value.affine)}
    if isinstance(value, dict):
        return {key: _read(item) for key, item in value.items()}
    return value


def _fields(batch: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    require_same_fields(batch, what)
    return {key: _stacked([item[key] for item in batch], key) for key in batch[0]}


def require_same_fields(batch: Sequence[Mapping[str, Any]], what: str) -> None:
    """Refuse a batch in which one lacks what another has, in whatever order they come.

    Args:
        batch: Of fields by name.
        what: They are, for the message.

    Raises:
        StateError: Naming the field, and the subject that lacks it (``FIELDS_DIFFER``).
    """
    fields = list(dict.fromkeys(key for item in batch for key in item))
    for item in batch:
        lacking = [key for key in fields if key not in item]
        if lacking:
            name = item.get("subject")  # which those of a cohort have
            owner = f" ({name})" if isinstance(name, str) else ""
            raise StateError(
                f"a {what} of the batch{owner} lacks {lacking[0]!r}, which another {what} has: "
                f"expected the same fields in all of them; leave out each {what} without it (in a "
                "cohort, cohort.query(...) does so)",
                code="FIELDS_DIFFER",
            )


def _stacked(values: list[Any], key: str) -> Any:
    first = values[0]
    require_alike(values, key)
    if isinstance(first, torch.Tensor):
        values = [torch.as_tensor(value) for value in values]
        return collate(of_one_type(values, key), collate_fn_map=default_collate_fn_map)
    if isinstance(first, np.ndarray):
        return np.stack(values)
    if isinstance(first, dict):
        return _fields(values, key)
    if is_number(first):
        # float32 of floats, as in TorchIO's batches; whole numbers beside them keep their digits.
        is_float = all(isinstance(value, (float, np.floating)) for value in values)
        return torch.tensor([*map(float, values)]) if is_float else numbers(values, key)
    return values


def require_alike(values: Sequence[Any], name: str) -> None:
    """Refuse values of a field that make no tensor together, in whatever order they come.

    Args:
        values: One of each image, subject or patch.
        name: Of the field, or of the image; `DATA` for voxels of unnamed images.

    Raises:
        StateError: If arrays have several shapes (``SHAPES_DIFFER``), or some are numbers, arrays
            or dicts and others not (``FIELDS_DIFFER``).
    """
    families = {_family(value) for value in values}
    if len(families) > 1:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise StateError(
            f"the field {name!r} of a batch holds values of the types {kinds}: expected numbers "
            "for all, arrays of one shape for all, or texts for all; give all the same kind of "
            "value, or leave the field out",
            code="FIELDS_DIFFER",
        )
    if families == {"array"}:
        require_one_shape([tuple(value.shape) for value in values], name, is_image=name == DATA)


def is_number(value: Any) -> bool:
    """Whether a value of a field is a real number, of Python or NumPy."""
    return isinstance(value, (bool, int, float, np.integer, np.floating, np.bool_))


def _family(value: Any) -> str:
    if is_number(value):
        return "number"
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return "array"
    return "fields" if isinstance(value, dict) else "other"


def require_one_shape(shapes: Sequence[tuple[int, ...]], name: str, *, is_image: bool) -> None:
    """Refuse arrays of several shapes.

    Args:
        shapes: Of the arrays.
        name: Of the image or field, for the message.
        is_image: Whether they are voxels (C, W, H, D).

    Raises:
        StateError: If there are several (``SHAPES_DIFFER``).
    """
    if len(set(shapes)) == 1:
        return
    several = ", ".join(map(str, sorted(set(shapes))))
    if not is_image:
        what, advice = f"arrays {name!r}", "make arrays of one shape, or leave the field out"
    elif len({shape[1:] for shape in shapes}) == 1:
        what = "images" if name == DATA else f"images {name!r}"
        advice = (
            "give all the same number of channels, for instance the first alone, "
            "image[:1, :, :, :], or leave the others out"
        )
    else:
        what = "images" if name == DATA else f"images {name!r}"
        advice = "crop or pad them first, with vx.CropOrPad(shape) for instance, or take patches"
    raise StateError(
        f"{what} of the batch have the shapes {several}: expected one shape; {advice}",
        code="SHAPES_DIFFER",
    )


def of_one_type(tensors: Sequence[torch.Tensor], name: str) -> list[torch.Tensor]:
    """Tensors in the type that torch gives to a stack of them, each with the values that it had.

    torch itself would round whole numbers to small floats silently.

    Args:
        tensors: Of any types.
        name: Of the image, for the message.

    Raises:
        UnsupportedError: If that type would change a value (``UNSUPPORTED_DTYPE``).
    """
    common = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return [_converted(tensor, common, tensors, name) for tensor in tensors]


def _converted(
    tensor: torch.Tensor, common: torch.dtype, all_of_them: Sequence[torch.Tensor], name: str
) -> torch.Tensor:
    if tensor.dtype == common:
        return tensor
    converted = tensor.to(common)
    if _is_whole(tensor) and not _is_whole(converted):
        numbers = converted.real if converted.is_complex() else converted
        if not (numbers.isfinite().all() and torch.equal(numbers.to(tensor.dtype), tensor)):
            types = ", ".join(sorted({_short(other.dtype) for other in all_of_them}))
            raise UnsupportedError(
                f"the voxels of {name!r} in a batch have the types {types}: a batch would be "
                f"{_short(common)}, which does not hold all their values; convert the images to "
                "one type first, for instance with vx.To",
                code="UNSUPPORTED_DTYPE",
            )
    return converted


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_whole(tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def numbers(values: Sequence[float], name: str) -> torch.Tensor:
    """Metadata of a batch: float64 if one is a float, since float32 rounds whole numbers.

    Args:
        values: One of each.
        name: Of the field, for the message.

    Raises:
        UnsupportedError: For a whole number that int64 does not hold (``UNSUPPORTED_DTYPE``).
    """
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    is_float = any(isinstance(value, float) for value in values)
    try:
        return torch.tensor(values, dtype=torch.float64 if is_float else None)
    except (ValueError, OverflowError, RuntimeError):
        large = max(values, key=abs)
        raise UnsupportedError(
            f"the field {name!r} of a batch holds {large}, and tensors hold whole numbers from "
            "-2**63 to 2**63 - 1: give the field as text, or leave it out",
            code="UNSUPPORTED_DTYPE",
        ) from None
