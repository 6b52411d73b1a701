"""The bar that long work shows: images and bytes, on the terminal, not in pipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from voxarray.core.progress import display


@contextmanager
def bar(
    total: int, *, hidden: bool = False
) -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """A bar for work on ``total`` files, unless it is hidden.

    Yields:
        A function that begins a file of a name, and returns what to call with the bytes of it
        that are done and in all.
    """
    if hidden:
        yield lambda _: lambda *_: None
        return
    with display("") as progress:
        task = progress.task_ids[0]
        begun = 0

        def begin(name: str) -> Callable[[int, int], None]:
            nonlocal begun
            begun += 1
            progress.reset(task, description=f"{begun}/{total} {name}", total=None)
            return lambda done, size: progress.update(task, completed=done, total=size)

        yield begin
