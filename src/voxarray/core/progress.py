"""A bar for work that takes a while: in a terminal or a notebook, and nowhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[int, int], None]

DELAY_SECONDS = 0.5
"""What takes less shows no bar."""


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """A bar that appears if the block takes longer than `DELAY_SECONDS`, and then goes away.

    Yields:
        What to call with the bytes that are done and in all.
    """
    began = time.monotonic()
    shown: list[Any] = []

    def report(done: int, total: int) -> None:
        if not shown and time.monotonic() - began > DELAY_SECONDS:
            shown.append(display(title))
            shown[0].start()
        if shown:
            shown[0].update(shown[0].task_ids[0], completed=done, total=total)

    try:
        yield report
    finally:
        if shown:
            shown[0].stop()


def display(title: str) -> Any:
    """A `rich.progress.Progress` with one task; it shows nothing where nobody watches."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    where = console()
    display = Progress(*columns, console=where, transient=True, disable=not watched(where))
    display.add_task(title, total=None)
    return display


def console() -> Any:
    """Where bars are shown: a terminal, or below the cell of a notebook.

    A pipe is no terminal, whatever ``FORCE_COLOR`` says: notebooks set it for what ``!`` runs.
    """
    from rich.console import Console

    return Console(stderr=True, force_terminal=None if sys.stderr.isatty() else False)


def watched(where: Any) -> bool:
    """Whether somebody sees a bar on a console move."""
    return bool(where.is_terminal or where.is_jupyter)
