"""How far workers of a scheduler are with their images, told while they are at it.

A task of dask says nothing until it is done, and one may hold many images that are read slowly: in
between, workers log an event now and then, which the scheduler passes on to whoever waits.
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
"""Seconds between two events of a task; those that take less tell of nothing."""


@dataclass(slots=True)
class Reporter:
    """What a task in a worker tells of its images; made in the thread that dask runs it in.

    Attributes:
        topic: Of the events, as `WorkerNews` has it.
    """

    topic: str
    _worker: Any = None
    _last: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self) -> None:
        from distributed import get_worker

        self._worker = get_worker()

    def of(self, slug: str) -> Progress:
        """What to call with the bytes of an image that are done and in all, in any thread."""

        def report(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self._last >= EVERY:
                self._last = now
                event = [self._worker.address, slug, int(done), int(total)]
                self._worker.log_event(self.topic, event)

        return report


@dataclass(slots=True)
class WorkerNews:
    """Passes on what workers tell, to whoever shows it and to the watch over the workers.

    Attributes:
        begin: Begins to show an image.
        heard: Called with the address of a worker that gets on.
        topic: Of the events of this run.
    """

    begin: Begin
    heard: Callable[[str], None]
    topic: str = field(default_factory=lambda: f"voxarray-{uuid.uuid4().hex}")
    _items: dict[str, Item] = field(default_factory=dict)
    _reports: dict[str, Progress | None] = field(default_factory=dict)

    @contextmanager
    def listening(self, client: Any) -> Iterator[WorkerNews]:
        """Let the scheduler of a client pass on what workers tell."""
        client.subscribe_topic(self.topic, self)
        try:
            yield self
        finally:
            if client.status == "running":
                client.unsubscribe_topic(self.topic)

    def expect(self, items: Iterable[Item]) -> None:
        """These images are under way."""
        self._items.update((item.slug, item) for item in items)

    def forget(self, items: Iterable[Item]) -> None:
        """These are not; what is still told of them, nobody wants to know."""
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
