"""A watch over the workers of a scheduler: which of them gets no further, and why.

dask pauses a worker whose memory is nearly full, and waits for what never comes; a worker whose
disk does not answer waits, too, and so would whoever waits for it. Its images go to others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from voxarray.core.memory import format_bytes

LEAST_CPU = 5.0
"""Per cent of a core, on average: what a worker needs for its own heartbeats is less."""

_LOG = logging.getLogger("voxarray.cohort")


@dataclass(slots=True)
class _Record:
    """What a worker was at when it was last seen to get on."""

    since: float
    keys: frozenset[str]
    heard: float = 0.0
    cpu: list[float] = field(default_factory=list)


@dataclass(slots=True)
class WorkerWatch:
    """Asks a scheduler from time to time, in a thread, until it is left.

    A worker is stuck if for as long as ``patience`` it has finished none of our tasks, told of no
    progress with one, and taken no processor time worth the name.

    Attributes:
        client: Of the scheduler.
        ours: Gives the keys of our tasks that are not done yet.
        give_up: Called with the keys of a stuck worker, and a sentence that says which and why.
        patience: Seconds.
        own: Whether the workers are of this run: who else has none may get some later, after hours
            in the queue of a cluster.
        stuck: Addresses of workers that are stuck, with why.
    """

    client: Any
    ours: Callable[[], set[str]]
    give_up: Callable[[set[str], str], None]
    patience: float
    own: bool = False
    stuck: dict[str, str] = field(default_factory=dict)
    _records: dict[str, _Record] = field(default_factory=dict)
    _progressed: set[str] = field(default_factory=set)
    _nobody_since: float | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> WorkerWatch:
        threading.Thread(target=self._run, name="voxarray-worker-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def progressed(self, address: str) -> None:
        """A worker has told that it gets on with an image."""
        self._progressed.add(address)

    def healthy(self) -> list[str]:
        """Addresses of the workers that others may be sent to."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return [
            address
            for address, worker in workers.items()
            if address not in self.stuck and worker.get("status") == "running"
        ]

    def _run(self) -> None:
        while not self._ended.wait(min(10.0, self.patience / 5)):
            try:
                workers = self.client.scheduler_info(n_workers=-1)["workers"]
                processing = self.client.processing()
            except Exception as error:  # a scheduler that is lost is noticed by whoever waits
                _LOG.debug("workers are not watched: %s", error)
                return
            self.look(time.monotonic(), workers, processing)

    def look(self, now: float, workers: Mapping[str, Any], processing: Mapping[str, Any]) -> None:
        """Compare what workers are at with what they were at before.

        Args:
            now: Seconds, of any clock that goes on.
            workers: As `Client.scheduler_info` tells of them.
            processing: Keys by address.
        """
        ours = self.ours()
        for address, worker in workers.items():
            keys = frozenset(processing.get(address, ())) & ours
            record = self._records.get(address)
            if address in self._progressed:
                self._progressed.discard(address)
                record = None
            if not keys:
                self._records.pop(address, None)
                self.stuck.pop(address, None)  # it got on after all, and may have work again
            elif record is None or not record.keys <= keys:
                self._records[address] = _Record(now, keys)
            else:
                self._compare(now, address, record, worker, keys)
        self._look_for_anybody(now, workers, ours)

    def _compare(
        self, now: float, address: str, record: _Record, worker: Any, keys: frozenset[str]
    ) -> None:
        metrics = worker.get("metrics", {})
        heard = float(metrics.get("time", 0.0))
        # What a worker said before it fell silent says nothing of now.
        record.cpu.append(float(metrics.get("cpu", 0.0)) if heard != record.heard else 0.0)
        record.heard = heard
        if now - record.since < self.patience:
            return
        if sum(record.cpu) / len(record.cpu) >= LEAST_CPU:
            self._records[address] = _Record(now, keys, heard)
            return
        why = f"the worker {address} makes no progress: {_why(worker, now - record.since)}"
        self.stuck[address] = why
        del self._records[address]
        self.give_up(set(keys), why)

    def _look_for_anybody(self, now: float, workers: Mapping[str, Any], ours: set[str]) -> None:
        """What waits for a worker waits for ever, if all that there are stand still."""
        able = [
            a
            for a, worker in workers.items()
            if a not in self.stuck and _status(worker) == "running"
        ]
        if able or not ours or not (workers or self.own):
            self._nobody_since = None
        elif self._nobody_since is None:
            self._nobody_since = now
        elif now - self._nobody_since >= self.patience:
            whys = [
                self.stuck.get(address) or f"the worker {address} is {_status(worker)}"
                for address, worker in workers.items()
            ]
            why = "; ".join(whys[:3]) or "all workers died, and none was started again"
            self.give_up(ours, f"no worker is left that makes progress: {why}")


def _status(worker: Any) -> str:
    return str(worker.get("status", "unknown"))


def _why(worker: Any, seconds: float) -> str:
    """What is known of a worker that stands still."""
    used, limit = (
        int(worker.get("metrics", {}).get("memory", 0)),
        int(worker.get("memory_limit") or 0),
    )
    memory = f"{format_bytes(used)} of its {format_bytes(limit)} of memory are in use"
    if _status(worker) == "paused":
        return (
            f"dask has paused it for {seconds:.0f} s, and {memory}; give workers more memory, or "
            "set a smaller memory budget (--memory)"
        )
    silent = time.time() - float(worker.get("last_seen") or time.time())
    if silent > seconds / 2:
        return f"it sent no message for {silent:.0f} s"
    return f"it used no processor time for {seconds:.0f} s; its disk may not answer"
