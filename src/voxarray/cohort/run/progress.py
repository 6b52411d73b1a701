"""Progress of a run: live bars in terminals and notebooks, or nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.task import Result
from voxarray.core.progress import Progress, console, leave_line, watched
from voxarray.core.progress_columns import bar_column, byte_columns, count_column, text_column


class ProgressListener:
    """Told about the progress of a run; this one shows nothing."""

    def start(self, items: Sequence[Item]) -> None:
        """Planning is done, and these images will be converted."""

    def begin(self, item: Item) -> Progress | None:
        """An image is started; returns the function to call with bytes done and in all."""

    def end(self, result: Result) -> None:
        """An image is done, or has failed."""

    def planned(self, done: int, total: int) -> None:
        """Headers of so many inputs were read."""


@dataclass(slots=True)
class Bars(ProgressListener):
    """Images and bytes done, rate, time that remains, failures; told by several threads."""

    progress: Any
    images: Any
    bytes: Any
    failures: int = 0
    ended: int = 0
    done: int = 0
    _under_way: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, items: Sequence[Item]) -> None:
        self.progress.update(self.images, completed=0, total=len(items), name="")
        self.progress.update(self.bytes, total=sum(item.size for item in items))

    def begin(self, item: Item) -> Progress:
        self.progress.update(self.images, name=_name(item))

        def report(done: int, total: int) -> None:
            # As a fraction: with label maps and unscaled voxels, bytes differ from the plan.
            with self._lock:
                self._under_way[item.slug] = item.size * done // total if total else 0
                self._show()

        return report

    def end(self, result: Result) -> None:
        with self._lock:
            self.failures += result.status == "failed"
            self.ended += 1
            self.done += result.voxel_bytes
            self._under_way.pop(result.slug, None)
            self._show()
        self.progress.update(self.images, advance=1, failures=self.failures)

    @property
    def title(self) -> str:
        """Counts for the line that stays after the bars are gone."""
        images = "1 image" if self.ended == 1 else f"{self.ended:,} images"
        return f"{images}, {self.failures:,} failed" if self.failures else images

    def _show(self) -> None:
        self.progress.update(self.bytes, completed=self.done + sum(self._under_way.values()))

    def planned(self, done: int, total: int) -> None:
        self.progress.update(self.images, completed=done, total=total, name="headers")


def _name(item: Item) -> str:
    """Name of an image on a bar: that of its subject, and of the image unless it is the default."""
    return item.subject if item.image == "image" else f"{item.subject} {item.image}"


@contextmanager
def bars(*, anywhere: bool = False) -> Iterator[ProgressListener]:
    """Bars on stderr, or below the cell of a notebook.

    Args:
        anywhere: Also show them in pipes and logs of jobs.
    """
    from rich.console import Group
    from rich.live import Live
    from rich.progress import Progress, TextColumn

    terminal = console()
    if not (anywhere or watched(terminal)):
        yield ProgressListener()
        return
    images = Progress(
        TextColumn("images"),
        bar_column(terminal.width),
        count_column(),
        TextColumn("{task.fields[failures]} failed"),
        text_column("{task.fields[name]}", terminal.width),
    )
    volume = Progress(TextColumn("voxels"), *byte_columns(terminal.width))
    displays = _Both(images, volume)
    watcher = Bars(
        displays,
        ("images", images.add_task("", total=None, failures=0, name="")),
        ("bytes", volume.add_task("", total=None)),
    )
    start = time.monotonic()
    with Live(
        Group(images, volume), console=terminal, transient=True, refresh_per_second=5
    ) as live:
        try:
            yield watcher
        finally:
            live.refresh()  # a notebook keeps the last state
    leave_line(terminal, watcher.title, watcher.done, time.monotonic() - start)


@dataclass(slots=True)
class _Both:
    """Two progress displays of different columns, addressed as one."""

    images: Any
    volume: Any

    def update(self, task: tuple[str, Any], **changes: Any) -> None:
        display, number = task
        (self.images if display == "images" else self.volume).update(number, **changes)
