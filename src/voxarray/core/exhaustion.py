"""The system gives no more memory: one error by name, whoever noticed it.

Budgets are kept before memory is taken, but others use the machine too, and a limit of the
address space (``ulimit -v``) is none that a projection knows. NumPy then raises its own
`MemoryError`, torch and ITK a `RuntimeError`, the system an `OSError`; users see one
`MemoryBudgetError`.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from voxarray.core.errors import MemoryBudgetError, VoxarrayError

Args = ParamSpec("Args")
Result = TypeVar("Result")

CODE = "OUT_OF_MEMORY"

_TEXTS = (
    "can't allocate memory",  # torch, CPU
    "Failed to allocate memory",  # ITK
    "std::bad_alloc",  # C++ below any of them
    "can't start new thread",  # no room for its stack
)


def names_exhaustion(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """A function of which a lack of memory is a `MemoryBudgetError` (``OUT_OF_MEMORY``)."""

    @functools.wraps(function)
    def wrapper(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except (MemoryError, RuntimeError, OSError) as error:
            if is_exhaustion(error):
                raise _budget_error(error, function.__name__) from error
            raise

    return wrapper


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error of others says that the system gave no more memory."""
    if isinstance(error, MemoryBudgetError):
        return False
    if isinstance(error, VoxarrayError):  # a writer names its file, and thinks of the disk
        return isinstance(error.__cause__, OSError) and is_exhaustion(error.__cause__)
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        return any(text in str(error) for text in _TEXTS)
    return isinstance(error, MemoryError)


def _budget_error(error: BaseException, operation: str) -> MemoryBudgetError:
    text = str(error).split("\n")[0] or type(error).__name__
    return MemoryBudgetError(
        f"the system gave no more memory to {operation} ({text}): other processes may use the "
        "memory, or a limit may hold for this process (ulimit -v, a container); take a part, a "
        "coarser level(n) or fewer threads (setting voxarray.threads)",
        code=CODE,
    )
