"""Progress of the images that workers of a scheduler are converting.

A dask task reports nothing until it is done, and one task may hold many images that are read
slowly. So workers log events meanwhile, which the scheduler passes on to the client.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.job import Begin
from voxarray.core.progress import Progress

EVERY = 1.0
"""Seconds between two events of a task; shorter tasks log none."""


@dataclass(slots=True)
class Reporter:
    """Logs the progress of a task in a worker; made in the thread in which dask runs the task.

    Attributes:
        topic: Of the events, as in `WorkerNews`.
    """

    topic: str
    _worker: Any = None
    _last: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self) -> None:
        from distributed import get_worker

        self._worker = get_worker()

    def of(self, slug: str) -> Progress:
        """The progress function of an image, which any thread may call."""

        def report(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self._last >= EVERY:
                self._last = now
                event = [self._worker.address, slug, int(done), int(total)]
                self._worker.log_event(self.topic, event)

        return report


@dataclass(slots=True)
class WorkerNews:
    """Receives the events of workers, for the progress bars and for the watch over the workers.

    Attributes:
        begin: Called when an image is started; returns its progress function.
        heard: Called with the address of a worker that makes progress.
        topic: Of the events of this run.
    """

    begin: Begin
    heard: Callable[[str], None]
    topic: str = field(default_factory=lambda: f"voxarray-{uuid.uuid4().hex}")
    _items: dict[str, Item] = field(default_factory=dict)
    _reports: dict[str, Progress | None] = field(default_factory=dict)

    @contextmanager
    def listening(self, client: Any) -> Iterator[WorkerNews]:
        """Subscribe to the events of the workers in the body."""
        client.subscribe_topic(self.topic, self)
        try:
            yield self
        finally:
            if client.status == "running":
                client.unsubscribe_topic(self.topic)

    def expect(self, items: Iterable[Item]) -> None:
        """These images are being converted."""
        self._items.update((item.slug, item) for item in items)

    def forget(self, items: Iterable[Item]) -> None:
        """These images are done; later events about them are ignored."""
        for item in items:
            self._items.pop(item.slug, None)
            self._reports.pop(item.slug, None)

    def __call__(self, event: tuple[float, tuple[str, str, int, int]]) -> None:
        """Take an event as `distributed.Client.subscribe_topic` gives it."""
        address, slug, done, total = event[1]
        self.heard(address)
        item = self._items.get(slug)
        if item is None:
            return
        if slug not in self._reports:
            self._reports[slug] = self.begin(item)
        if (report := self._reports[slug]) is not None:
            report(done, total)
