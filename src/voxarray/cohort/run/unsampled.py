"""Work in a thread that dask does not sample.

dask's workers note the stacks of the threads that run their tasks, a hundred times a second, frame
by frame, unless whoever started them said otherwise: 75 ms of each second in which images are
converted. Of a thread that waits for another there is less to note, 50 ms.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def unsampled(function: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
    """Call a function in a thread of its own, which knows the worker that it is in, and wait.

    Args:
        function: Of module level or not: it is not sent anywhere.
        *args: For it.
        **options: For it.

    Raises:
        Exception: What it raises.
    """
    context = contextvars.copy_context()  # `distributed.get_worker` asks a variable of the context
    with ThreadPoolExecutor(1, "voxarray-task") as threads:
        return threads.submit(lambda: context.run(function, *args, **options)).result()
