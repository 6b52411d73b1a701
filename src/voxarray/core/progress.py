"""A bar for work that takes a while: in a terminal or a notebook, and nowhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from voxarray.core.progress_columns import byte_columns, text_column, without_empty_output

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all, in bytes."""

ProgressOption = bool | Progress | None
"""What callers say: None shows a bar where somebody looks, True shows it anywhere, False shows
none, and a function is called with what is done and what there is in all."""

DELAY_SECONDS = 0.5
"""What takes less shows no bar."""


@contextmanager
def reporting(option: ProgressOption, title: str) -> Iterator[Progress | None]:
    """What a `ProgressOption` asks for.

    Yields:
        What to call with the bytes that are done and in all; None if nobody is to be told.
    """
    if callable(option):
        yield option
    elif option is False:
        yield None
    else:
        with bar(title, anywhere=option is True) as report:
            yield report


@contextmanager
def bar(title: str, *, anywhere: bool = False) -> Iterator[Progress]:
    """A bar that appears if the block takes longer than `DELAY_SECONDS`, and then goes away.

    Args:
        title: What is done.
        anywhere: Show it also where nobody seems to look: in pipes and logs.

    Yields:
        What to call with the bytes that are done and in all.
    """
    began = time.monotonic()
    shown: list[Any] = []

    def report(done: int, total: int) -> None:
        if not shown and time.monotonic() - began > DELAY_SECONDS:
            shown.append(display(title, anywhere=anywhere))
            shown[0].start()
        if shown:
            shown[0].update(shown[0].task_ids[0], completed=done, total=total)

    try:
        yield report
    finally:
        if shown:
            shown[0].stop()


@contextmanager
def bar_of_files(
    total: int, *, hidden: bool = False
) -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """A bar for work on ``total`` files, one after the other, unless it is hidden.

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


def display(title: str, *, anywhere: bool = False) -> Any:
    """A `rich.progress.Progress` with one task; it shows nothing where nobody watches."""
    from rich.progress import Progress

    where = console()
    display = Progress(
        text_column("{task.description}", where.width),
        *byte_columns(where.width),
        console=where,
        transient=True,
        disable=not (anywhere or watched(where)),
    )
    display.add_task(title, total=None)
    return display


def console() -> Any:
    """Where bars are shown: a terminal, or below the cell of a notebook.

    A pipe is no terminal, whatever ``FORCE_COLOR`` says: notebooks set it for what ``!`` runs.
    """
    from rich.console import Console

    is_terminal = None if sys.stderr.isatty() else False
    return without_empty_output(Console(stderr=True, force_terminal=is_terminal))


def watched(where: Any) -> bool:
    """Whether somebody sees a bar on a console move."""
    return bool(where.is_terminal or where.is_jupyter)
