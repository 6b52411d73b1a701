"""What a bar shows beside itself, as far as the terminal is wide enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_LEAST_FOR = {"remaining": 50, "speed": 66, "elapsed": 80}
"""Columns of the terminal from which on a part of the line has room."""


def byte_columns(width: int) -> tuple[Any, ...]:
    """Columns of a bar that counts bytes: the bar, done and in all, speed, time gone and left.

    Args:
        width: Of the terminal, in characters: a line that wraps would leave its half behind each
            time it is drawn anew.
    """
    from rich.progress import TimeElapsedColumn, TimeRemainingColumn

    columns: list[Any] = [bar_column(width), _done_column()]
    for name, column in (
        ("speed", speed_column),
        ("elapsed", TimeElapsedColumn),
        ("remaining", TimeRemainingColumn),
    ):
        if width >= _LEAST_FOR[name]:
            columns.append(column())
    return tuple(columns)


def bar_column(width: int) -> Any:
    """A bar that leaves room for what stands beside it."""
    from rich.progress import BarColumn

    return BarColumn(bar_width=max(4, min(40, width // 2 - 15)))


def text_column(template: str, width: int) -> Any:
    """A text that is cut where it would take more than a third of the line."""
    from rich.progress import TextColumn
    from rich.table import Column

    column = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, width // 3))
    return TextColumn(template, table_column=column)


def _done_column() -> Any:
    """Bytes done and in all; nothing as long as nobody knows of how many."""
    from rich.progress import DownloadColumn, Task
    from rich.text import Text

    class Done(DownloadColumn):
        def render(self, task: Task) -> Text:
            return Text("") if task.total is None else super().render(task)

    return Done(binary_units=True)


def count_column() -> Any:
    """Files done and in all; nothing as long as nobody knows of how many."""
    from rich.progress import MofNCompleteColumn, Task
    from rich.text import Text

    class Count(MofNCompleteColumn):
        def render(self, task: Task) -> Text:
            return Text("") if task.total is None else super().render(task)

    return Count()


def speed_column() -> Any:
    """Bytes in a second, in the binary units of the sizes beside it; empty until it is known."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    from voxarray.core.memory import format_bytes

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{format_bytes(int(speed))}/s")

    return Speed()


def without_empty_output(where: Any) -> Any:
    """The same console, which in a notebook shows only what there is to see.

    rich displays its buffer whenever it is done with a part, also one of nothing but controls of
    the cursor: an empty block, hence a gap below the cell of a notebook.
    """
    if where.is_jupyter:
        where._write_buffer = _visible(where, where._write_buffer)
    return where


def _visible(where: Any, write: Callable[[], None]) -> Callable[[], None]:
    def written() -> None:
        if where._buffer_index == 0 and not any(
            part.text.strip() for part in where._buffer if not part.control
        ):
            del where._buffer[:]
            return
        write()

    return written
