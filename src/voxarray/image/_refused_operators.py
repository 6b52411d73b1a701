"""Operators such as + and < on images, all refused: a named answer instead of a guess.

What ``image + 1`` should do is not clear: read the voxels, wrap around at 255, or make floats. A
`DataArray` has rules for all of that, and a transform leaves an entry in the history.
"""

from __future__ import annotations

from typing import NoReturn

from voxarray.core.errors import OperatorError


class RefusedOperatorsMixin:
    """An image that refuses operators, and says how to calculate with it instead."""

    __array_priority__ = 1000.0
    """Arrays of NumPy leave operators to the image; its functions, as `numpy.sin`, do not ask."""

    def _refuse_operator(self, *_: object) -> NoReturn:
        """Say what to write instead.

        Raises:
            OperatorError: Always (``NO_ARITHMETIC``); also a TypeError.
        """
        name = type(self).__name__
        raise OperatorError(
            f"{name} has no operators such as + and <: calculate with its lazy DataArray "
            f'and make an image of the result, vx.{name}(tensor=image.array.astype("float32") * 2 '
            "+ 1), or apply a transform, vx.Lambda(function)(image)"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse_operator
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = _refuse_operator
    __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _refuse_operator
    __and__ = __rand__ = __xor__ = __rxor__ = _refuse_operator
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _refuse_operator
    __neg__ = __pos__ = __abs__ = __invert__ = _refuse_operator
    __lt__ = __le__ = __gt__ = __ge__ = _refuse_operator
