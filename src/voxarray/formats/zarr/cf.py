"""What the CF conventions, which xarray writes, make of the numbers in an array.

An array is decoded whole, or refused: signs (``_Unsigned``), truth values (``dtype: bool``), marks
of missing voxels (``_FillValue``, ``missing_value``), slope and intercept. As in xarray, a
``valid_range`` is remarked and not applied.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayWarning
from voxarray.core.scaling import Scaling
from voxarray.formats.zarr.node import Node

_MARKS = ("_FillValue", "missing_value")
_VALID = ("valid_range", "valid_min", "valid_max")


@dataclass(frozen=True, slots=True)
class Decoding:
    """From numbers in an array to voxels.

    Attributes:
        stored: Type of the numbers, as a string.
        decoded: Type that they stand for: signed for unsigned or the reverse, or bool.
        marks: Numbers that stand for no value, which become NaN.
        scaling: Slope and intercept, applied last.
    """

    stored: str
    decoded: str
    marks: tuple[float, ...] = ()
    scaling: Scaling | None = None

    @classmethod
    def of(cls, array: Node, dtype: np.dtype, path: str, *, by_xarray: bool = False) -> Decoding:
        """What the attributes of an array ask for.

        Args:
            array: The array.
            dtype: Of its numbers.
            path: Of its store, for messages.
            by_xarray: Whether xarray wrote it, whose Zarr 2 arrays state their mark as the
                ``fill_value`` of Zarr.

        Warns:
            VoxarrayWarning: ``VALID_RANGE`` is stated, or a ``FILL_VALUE`` of 0 may be a mark.

        Raises:
            UnsupportedError: Some voxels stand for no value, which an integer cannot say
                (``MASKED``).
            FormatError: Slope or intercept is no number (``BAD_SCALE``), or a mark is none
                (``BAD_METADATA``).
        """
        attributes = array.attributes
        decoded = _decoded_dtype(attributes, dtype)
        try:
            marks = sorted(set(_marks(array, decoded, by_xarray=by_xarray)))
        except (TypeError, ValueError, struct.error) as error:
            raise FormatError(
                f"{array.key or 'the array'} of {path} has fill values that are not numbers "
                f"({error}): repair its attributes",
                code="BAD_METADATA",
                path=path,
            ) from None
        if decoded.kind != "f" and (marks or _MARKS[0] in attributes or _MARKS[1] in attributes):
            raise UnsupportedError(
                f"{array.key or 'the array'} of {path} has a value that marks missing voxels: open "
                "it with xarray, which makes them NaN, and pass the DataArray",
                code="MASKED",
                path=path,
            )
        for text in _odd(array, by_xarray=by_xarray):
            warn_caller(f"{text} [{path}]", VoxarrayWarning)
        return cls(dtype.str, decoded.str, tuple(marks), _scaling(array, path))

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers before slope and intercept, in native byte order."""
        return np.dtype(self.decoded)

    def unscaled(self, numbers: NDArray) -> NDArray:
        """Numbers of the array as what they stand for, without slope and intercept."""
        if self.dtype != numbers.dtype:
            is_bool = self.dtype == np.bool_
            numbers = numbers != 0 if is_bool else numbers.view(self.dtype)
        for mark in self.marks:
            numbers = np.where(numbers == numbers.dtype.type(mark), np.nan, numbers).astype(
                numbers.dtype, copy=False
            )
        return numbers

    def apply(self, numbers: NDArray) -> NDArray:
        """Numbers of the array as voxels."""
        plain = self.unscaled(numbers)
        return plain if self.scaling is None else self.scaling.apply(plain)


def _decoded_dtype(attributes: Mapping[str, Any], dtype: np.dtype) -> np.dtype:
    unsigned = str(attributes.get("_Unsigned", "")).lower()
    if dtype.kind == "i" and unsigned == "true":
        return np.dtype(f"u{dtype.itemsize}")
    if dtype.kind == "u" and unsigned == "false":
        return np.dtype(f"i{dtype.itemsize}")
    if attributes.get("dtype") == "bool" and dtype.kind in "iu":
        return np.dtype(np.bool_)
    return dtype


def _marks(array: Node, dtype: np.dtype, *, by_xarray: bool) -> Iterator[float]:
    """Finite or infinite numbers that stand for no value; NaN says so itself."""
    stated: list[Any] = []
    for key in _MARKS:
        value = array.attributes.get(key)
        stated.extend(value if isinstance(value, list) else [value])
    fill = array.document.get("fill_value") if by_xarray and _is_version_2(array) else None
    if fill != 0:  # which is also what Zarr itself writes where nothing is said
        stated.append(fill)
    for value in stated:
        if value is None or dtype.kind == "c":
            continue
        number = _number(value)
        if not np.isnan(number):
            yield number


def _number(value: Any) -> float:
    if isinstance(value, str) and value.lower().lstrip("+-") not in ("nan", "inf", "infinity"):
        # For Zarr 3, xarray writes the bytes of a float64 as text.
        (number,) = struct.unpack("<d", base64.standard_b64decode(value))
        return float(number)
    return float(value)


def _odd(array: Node, *, by_xarray: bool) -> Iterator[str]:
    name = array.key or "the array"
    present = [key for key in _VALID if key in array.attributes]
    if present:
        yield (
            f"VALID_RANGE: voxarray does not apply {' and '.join(present)} of {name}, nor does "
            "xarray"
        )
    is_zero = array.document.get("fill_value") == 0 and _is_version_2(array)
    if by_xarray and is_zero:
        yield (
            f"FILL_VALUE: the fill value of {name} is 0. xarray reads 0 as a missing voxel (NaN); "
            "voxarray keeps 0"
        )


def _is_version_2(array: Node) -> bool:
    return array.document.get("zarr_format") == 2


def _scaling(array: Node, path: str) -> Scaling | None:
    attributes = array.attributes
    try:
        slope = _only(attributes.get("scale_factor", 1))
        intercept = _only(attributes.get("add_offset", 0))
        if not (np.isfinite([slope, intercept]).all() and slope):
            raise ValueError(f"{slope} and {intercept}")
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"scale_factor and add_offset of {array.key} should be finite numbers ({error}): "
            "repair its attributes",
            code="BAD_SCALE",
            path=path,
        ) from error
    return None if (slope, intercept) == (1, 0) else Scaling(slope, intercept)


def _only(value: Any) -> float:
    """A number, alone or in a list, as NetCDF has it."""
    (number,) = value if isinstance(value, list) else [value]
    return float(number)
