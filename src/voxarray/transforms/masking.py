"""Which voxels a transform is about: masks by name, by side, by bounds, or by a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from voxarray.core.errors import GridError
from voxarray.geometry.selection import Shape3
from voxarray.image import Image, LabelMap
from voxarray.ops.masks import AnyOf, Box
from voxarray.source.array import ArraySource, DaskSource
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.passes import require_mask
from voxarray.subject import Subject
from voxarray.transforms.bounds import six_bounds

MaskingMethod = str | int | Sequence[int] | Callable[[Any], Any] | None

SIDES = ("Left", "Right", "Posterior", "Anterior", "Inferior", "Superior")

_PAIRS = ("LR", "PA", "IS")


def mask_of(
    method: MaskingMethod,
    source: SlicedSource,
    subject: Subject,
    labels: Sequence[int] | None = None,
) -> Source | None:
    """The mask that a masking method makes for an image; None for all voxels. Nothing is read.

    Args:
        method: None; the name of a label map in the subject; a side of the patient, as in `SIDES`;
            voxels to leave out at the ends of the axes, as one, three or six numbers; or a
            function of a lazy dask array (C, W, H, D) that returns one, or a NumPy array, of
            truth values, such as ``lambda x: x > x.mean()``.
        source: The voxels of the image.
        subject: Where label maps are looked up.
        labels: Of a label map, the labels that count; by default all but 0.

    Raises:
        ValueError: For anything else.
        GridError: If the mask does not fit the image (``MASK_MISMATCH``).
    """
    if method is None:
        return None
    mask = _mask_of(method, source, subject, labels)
    require_mask(source, mask)
    return mask


def _mask_of(
    method: MaskingMethod, source: SlicedSource, subject: Subject, labels: Sequence[int] | None
) -> Source:
    if callable(method):
        return _by_function(method, source)
    if isinstance(method, str):
        image = subject.get(method)
        if isinstance(image, LabelMap):
            chosen = image.source
            return chosen if labels is None else AnyOf(chosen, tuple(map(_label, labels)))
        if method.capitalize() in SIDES:
            return _side(method.capitalize(), source)
    elif isinstance(method, (int, np.integer, list, tuple)) and not isinstance(method, bool):
        return _within(six_bounds(method), source)
    raise UnknownMaskError.among(_label_maps(subject), method)


class UnknownMaskError(ValueError):
    """A masking method that is none, such as a name that no label map of the subject has.

    Attributes:
        method: As it was given.
    """

    method: Any = None

    @classmethod
    def among(cls, label_maps: Sequence[str], method: Any) -> UnknownMaskError:
        """The error for a masking method, with the names that could have been given.

        Args:
            label_maps: Names of the label maps of the subject.
            method: As it was given.
        """
        names = ", ".join(map(repr, label_maps)) or "none"
        error = cls(
            f"masking_method={method!r} is not understood: give the name of a label map in the "
            f"subject ({names}), a side ({', '.join(SIDES)}), one, three or six numbers of voxels "
            "to leave out, or a function"
        )
        error.method = method
        return error


def _label(number: float) -> float:
    """A label as it is given: a fraction is no other label."""
    return int(number) if float(number).is_integer() else float(number)


def _by_function(function: Callable[[Any], Any], source: SlicedSource) -> Source:
    import dask.array as da

    from voxarray.xarray_index.lazy import for_function

    try:
        mask = function(for_function(source))
    except Exception as error:
        raise ValueError(
            f"the masking function {function!r} failed: {type(error).__name__}: {error}. It is "
            "given a lazy dask array (C, W, H, D), not a tensor as in TorchIO: use only what dask "
            "arrays can do, such as lambda x: x > x.mean()"
        ) from error
    if not isinstance(mask, (da.Array, np.ndarray)) or mask.ndim != 4:
        raise ValueError(
            f"the masking function {function!r} must return a dask or NumPy array (C, W, H, D), "
            f"not {type(mask).__name__} of shape {getattr(mask, 'shape', None)}"
        )
    if mask.shape[1:] != source.shape[1:]:
        raise GridError(
            f"the masking function {function!r} made a mask of shape {mask.shape} for an image "
            f"of {source.shape}: return a mask with the W, H and D of the image",
            code="MASK_MISMATCH",
        )
    kind = DaskSource if isinstance(mask, da.Array) else ArraySource
    return kind(mask, source.affine)


def _side(side: str, source: SlicedSource) -> Source:
    """The half of the volume on a side of the patient; of an odd number, R, A and S have more."""
    pair = next(pair for pair in _PAIRS if side[0] in pair)
    axis = next(n for n, code in enumerate(source.grid.orientation) if code in pair)
    sizes = list(source.shape[1:])
    # As if the axis ran to the right, the front or the top.
    middle = sizes[axis] // 2
    first, stop = (middle, sizes[axis]) if side[0] == pair[1] else (0, middle)
    if source.grid.orientation[axis] == pair[0]:
        first, stop = sizes[axis] - stop, sizes[axis] - first
    bounds = [(0, size) for size in sizes]
    bounds[axis] = first, stop
    return Box(_shape3(sizes), source.affine, (bounds[0], bounds[1], bounds[2]))


def _within(margins: tuple[int, ...], source: SlicedSource) -> Source:
    sizes = source.shape[1:]
    x, y, z = ((margins[2 * axis], size - margins[2 * axis + 1]) for axis, size in enumerate(sizes))
    return Box(_shape3(sizes), source.affine, (x, y, z))


def _shape3(sizes: Sequence[int]) -> Shape3:
    return sizes[0], sizes[1], sizes[2]


def _label_maps(subject: Subject) -> list[str]:
    return [name for name, field in subject.items() if isinstance(field, LabelMap)]


def name_of(image: Image, subject: Subject) -> str:
    """Under which name a subject has an image."""
    return next(name for name, field in subject.items() if field is image)
