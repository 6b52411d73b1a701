"""A bar for work that takes a while: in a terminal or a notebook, and nowhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from voxarray.core.memory import format_bytes

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all, in bytes."""

ProgressOption = bool | Progress | None
"""What callers say: None shows a bar where somebody looks, True shows it anywhere, False shows
none, and a function is called with what is done and what there is in all."""

Begin = Callable[[str], Progress]
"""Begins a file of a name, and returns what to call with the bytes of it."""

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
def reporting_each(option: ProgressOption, total: int) -> Iterator[Begin]:
    """What a `ProgressOption` asks for of work on ``total`` files, one after the other.

    Yields:
        A function that begins a file of a name, and returns what to call with the bytes of it
        that are done and in all.
    """
    if callable(option):
        report = option
        yield lambda _: report
    elif option is False:
        yield lambda _: lambda *_: None
    else:
        with bar_of_files(total, anywhere=option is True) as begin:
            yield begin


@contextmanager
def bar(title: str, *, anywhere: bool = False) -> Iterator[Progress]:
    """A bar that appears if the block takes longer than `DELAY_SECONDS`, and then goes away.

    Below the cell of a notebook it leaves a line of what was done, unless the block fails.

    Args:
        title: What is done.
        anywhere: Show it also where nobody seems to look: in pipes and logs.

    Yields:
        What to call with the bytes that are done and in all.
    """
    with _showing(title, anywhere) as display:
        yield display.update


@contextmanager
def bar_of_files(total: int, *, anywhere: bool = False) -> Iterator[Begin]:
    """As `bar`, for work on ``total`` files, one after the other.

    Yields:
        A function that begins a file of a name, and returns what to call with the bytes of it
        that are done and in all.
    """
    with _showing(f"{total} files" if total > 1 else "1 file", anywhere) as display:
        number = 0

        def begin(name: str) -> Progress:
            nonlocal number
            number += 1
            display.begin(f"{number}/{total} {name}")
            return display.update

        yield begin


@contextmanager
def _showing(title: str, anywhere: bool) -> Iterator[_Bar]:
    display = _Bar(title, anywhere)
    try:
        yield display
    except BaseException:
        display.stop()
        raise
    display.stop()
    display.leave_result()


class _Bar:
    """A bar that waits until the work is long enough to be shown.

    Args:
        title: What is done; of a file that is begun its name is shown instead.
        anywhere: As for `bar`.
    """

    def __init__(self, title: str, anywhere: bool) -> None:
        self._title, self._anywhere = title, anywhere
        self._began = time.monotonic()
        self._name = title
        self._before = self._done = 0
        self._display: Any = None

    def begin(self, name: str) -> None:
        self._name, self._before, self._done = name, self._before + self._done, 0
        if self._display is not None:
            self._display.reset(self._display.task_ids[0], description=name, total=None)

    def update(self, done: int, total: int) -> None:
        if done < self._done:  # another pass over the same voxels, which are read again
            self._before += self._done
        self._done = done
        if self._display is None and time.monotonic() - self._began > DELAY_SECONDS:
            self._display = display(self._name, anywhere=self._anywhere)
            self._display.start()
        if self._display is not None:
            self._display.update(self._display.task_ids[0], completed=done, total=total)

    def stop(self) -> None:
        if self._display is not None:
            self._display.stop()

    def leave_result(self) -> None:
        if self._display is not None:
            seconds = time.monotonic() - self._began
            leave_line(self._display.console, self._title, self._before + self._done, seconds)


def leave_line(where: Any, title: str, done: int, seconds: float) -> None:
    """Say in a notebook what was done; terminals keep nothing, and commands say it themselves.

    Args:
        where: The console on which a bar was shown.
        title: Of the work.
        done: Bytes.
        seconds: That it took.
    """
    if where.is_jupyter:
        rate = format_bytes(round(done / max(seconds, 1e-9)))
        line = f"{title}: {format_bytes(done)} in {format_duration(seconds)}, {rate}/s"
        where.print(line, markup=False, highlight=False, soft_wrap=True)


def title_of(path: str | None, what: str) -> str:
    """What a bar says while something of a file, or of voxels in memory, is found."""
    name = os.path.basename((path or "").rstrip("/"))
    return f"{name}: {what}" if name else what


def format_duration(seconds: float) -> str:
    """Time as bars show it, for example ``"8.2 s"`` and ``"0:03:20"``."""
    return f"{seconds:.1f} s" if seconds < 59.95 else str(timedelta(seconds=round(seconds)))


def display(title: str, *, anywhere: bool = False) -> Any:
    """A `rich.progress.Progress` with one task; it shows nothing where nobody watches."""
    from rich.progress import Progress

    from voxarray.core.progress_columns import byte_columns, text_column

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
    Programs without windows of their own, and those that were started so, have no stderr.
    """
    from rich.console import Console

    from voxarray.core.progress_columns import without_empty_output

    is_terminal = None if sys.stderr is not None and sys.stderr.isatty() else False
    return without_empty_output(Console(stderr=True, force_terminal=is_terminal))


def watched(where: Any) -> bool:
    """Whether somebody sees a bar on a console move."""
    return bool(where.is_terminal or where.is_jupyter)
