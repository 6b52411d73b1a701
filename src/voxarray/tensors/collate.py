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
    return _fields([_read(one) for one in batch], type(batch[0]).__name__)


def _read(value: Any) -> Any:
    """An image as its fields, with its voxels; a dict of images likewise; others as they are.

    Images stay unloaded.
    """
    if hasattr(value, "to_tensor"):
        return {**value, DATA: value.to_tensor(), AFFINE: np.array(value.affine)}
    if isinstance(value, dict):
        return {key: _read(one) for key, one in value.items()}
    return value


def _fields(batch: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    require_same_fields(batch, what)
    return {key: _stacked([one[key] for one in batch], key) for key in batch[0]}


def require_same_fields(batch: Sequence[Mapping[str, Any]], what: str) -> None:
    """Refuse a batch in which one lacks what another has, in whatever order they come.

    Args:
        batch: Of fields by name.
        what: They are, for the message.

    Raises:
        StateError: Naming the field, and the subject that lacks it (``FIELDS_DIFFER``).
    """
    fields = list(dict.fromkeys(key for one in batch for key in one))
    for one in batch:
        lacking = [key for key in fields if key not in one]
        if lacking:
            name = one.get("subject")  # which those of a cohort have
            who = f" ({name})" if isinstance(name, str) else ""
            raise StateError(
                f"a {what} of the batch{who} lacks {lacking[0]!r}, which another one has: expected "
                "the same fields in all of them; leave out each {what} without it (in a cohort, "
                "cohort.query(...) does so)",
                code="FIELDS_DIFFER",
            )


def _stacked(values: list[Any], key: str) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        shapes = sorted({tuple(value.shape) for value in values})
        if len(shapes) > 1:
            raise StateError(
                f"images of the batch have the shapes {', '.join(map(str, shapes))}: expected "
                "one shape; crop or pad them first, with vx.CropOrPad(shape) for instance, or "
                "take patches",
                code="SHAPES_DIFFER",
            )
        return collate(of_one_type(values, key), collate_fn_map=default_collate_fn_map)
    if isinstance(first, np.ndarray):
        return np.stack(values)
    if isinstance(first, dict):
        return _fields(values, key)
    if isinstance(first, (bool, int, float)):
        # float32 of floats, as in TorchIO's batches; whole numbers beside them keep their digits.
        is_float = all(isinstance(value, float) for value in values)
        return torch.tensor(values) if is_float else numbers(values)
    return values


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
    made = tensor.to(common)
    if _is_whole(tensor) and not _is_whole(made):
        numbers = made.real if made.is_complex() else made
        if not (numbers.isfinite().all() and torch.equal(numbers.to(tensor.dtype), tensor)):
            types = ", ".join(sorted({_short(one.dtype) for one in all_of_them}))
            raise UnsupportedError(
                f"the voxels of {name!r} in a batch have the types {types}: a batch would be "
                f"{_short(common)}, which does not hold all their values; convert the images to "
                "one type first, for instance with vx.To",
                code="UNSUPPORTED_DTYPE",
            )
    return made


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_whole(tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def numbers(values: Sequence[float]) -> torch.Tensor:
    """Metadata of a batch: float64 if one is a float, since float32 rounds whole numbers."""
    is_float = any(isinstance(value, float) for value in values)
    return torch.tensor(values, dtype=torch.float64 if is_float else None)
