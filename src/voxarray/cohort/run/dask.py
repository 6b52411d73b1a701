"""Converting on `dask.distributed`: workers of our own here, or a running scheduler."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from voxarray.archive.partial_writes import PartialWrite
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.run.batches import Batch, Pace, batches, convert_batch
from voxarray.cohort.run.dask_client import client_of
from voxarray.cohort.run.divided_images import convert_part, folder_for_parts, parts_of
from voxarray.cohort.run.in_process import InProcess
from voxarray.cohort.run.job import Begin, Job
from voxarray.cohort.run.task import Result
from voxarray.cohort.run.worker_news import WorkerNews
from voxarray.cohort.run.worker_watch import WorkerWatch
from voxarray.core import heap, memory, settings
from voxarray.core.errors import ArchiveError, VoxarrayError, VoxarrayWarning
from voxarray.core.shares import share_of
from voxarray.storage.folder_lock import FolderLock

_LOST = "WORKER_LOST"
_STUCK = "WORKER_STUCK"
_TIMED = 4
"""Images for each that converts at once, which show how long the others take."""
_ATTEMPTS = 3
"""Workers that an image is given to, one after the other, where each of them gets stuck."""


@dataclass(frozen=True, slots=True)
class Distributed:
    """One task per image on `dask.distributed`, or per batch of small ones.

    Attributes:
        workers: Processes to start on this machine; each takes its share of cores and memory.
        scheduler: Address of a running scheduler, instead.
    """

    workers: int = 0
    scheduler: str | None = None

    def run(self, job: Job, begin: Begin) -> Iterator[Result]:
        share = self._share()
        budget = share.get("memory-budget", memory.budget())
        # What one worker may not hold is done at the end by this process, which may hold more.
        large = [item for item in job.items if item.header and item.header.peak > budget]
        small = [item for item in job.items if item not in large] if large else list(job.items)
        if small:
            with client_of(self.workers, self.scheduler, job.overlapping, share) as client:
                # Not threads: those of a worker take turns.
                workers = self.workers or sum(client.nthreads().values())
                ours = settings.configured() | share
                own = bool(self.workers)
                yield from _spread(client, job, small, workers, ours, begin, own=own)
        yield from InProcess().run(replace(job, items=large), begin)

    def _share(self) -> dict[str, Any]:
        return share_of(self.workers if self.scheduler is None else 0)


def with_settings(ours: Mapping[str, Any], function: Any, *args: Any, **options: Any) -> Any:
    """Call a function in a worker, with what is set where the work was given out."""
    with settings.of_task(ours), heap.freed_kept():
        return function(*args, **options)


def convert_with_parts(batch: Batch, parts: Sequence[PartialWrite | Failure]) -> list[Result]:
    """Convert one image whose parts others wrote: dask finds futures in lists, not in tasks."""
    (task,) = batch.tasks
    return convert_batch(Batch((replace(task, parts=parts),), batch.topic))


def _spread(
    client: Any,
    job: Job,
    items: Sequence[Item],
    workers: int,
    ours: Mapping[str, Any],
    begin: Begin,
    *,
    own: bool,
) -> Iterator[Result]:
    divided = parts_of(replace(job, items=items), workers)
    folders = {
        item.slug: folder_for_parts(item, job.root, job.options)
        for item in items
        if item.slug in divided
    }
    tasks = _Tasks(client, job, ours, divided, folders)
    lost: deque[Item] = deque()
    were_lost: set[str] = set()
    patience = float(settings.get("worker-patience"))
    pace, slots = Pace(), _slots(client, workers)
    timed = _TIMED * slots if len(items) > 2 * _TIMED * slots else len(items)
    rest: Sequence[Item] = items[timed:]
    try:
        with (
            WorkerWatch(client, tasks.keys, tasks.give_up, patience, own) as watch,
            WorkerNews(begin, watch.progressed).listening(client) as tasks.news,
        ):
            for number, batch in enumerate(batches(items[:timed], slots, pace, divided)):
                tasks.submit(batch, -number)
            for future in tasks.waiting:
                batch = tasks.done(future)
                stuck = tasks.given_up.pop(future.key, "")
                is_taken_back = stuck and future.status != "finished"
                found = _stuck(batch, stuck) if is_taken_back else _results(client, future, batch)
                if rest:
                    if isinstance(found, list):
                        pace.learn(batch, found)
                    # All at once: a cluster that grows with its work has to see it.
                    slots = _slots(client, workers)
                    for number, more in enumerate(batches(rest, slots, pace, divided)):
                        tasks.submit(more, -timed - number)
                    rest = ()
                for item in batch:
                    if item.slug in folders:
                        folders[item.slug].remove()
                if isinstance(found, list):
                    for item, result in zip(batch, found, strict=True):
                        # At the end, whoever is at it: that one may have died meanwhile.
                        if result.status == "busy":
                            tasks.submit((item,), -len(items), ignore_active_worker=True)
                        elif result.status == "present" and item.slug in were_lost:
                            # By the worker that died after it, in this run.
                            yield replace(result, status="converted", voxel_bytes=item.size)
                        else:
                            yield result
                elif found.code == _LOST and (len(batch) > 1 or not tasks.was_alone(batch[0])):
                    lost.extend(batch)
                    were_lost.update(item.slug for item in batch)
                elif found.code == _STUCK:
                    if others := watch.healthy():
                        warnings.warn(f"{found.message} [{batch[0].slug}]", VoxarrayWarning, 2)
                    for item in batch:
                        if others and tasks.attempts(item) < _ATTEMPTS:
                            # One by one: whichever it is that got stuck takes no other along.
                            tasks.submit((item,), 0, ignore_active_worker=True, workers=others)
                        else:
                            yield _failed(item, found, job)
                elif len(batch) > 1:
                    for item in batch:  # one of them cannot be sent, for one
                        tasks.submit((item,), 0)
                else:
                    yield _failed(batch[0], found, job)
                future.release()
                if lost and not tasks.keys():
                    # Workers die with all that they have under way. Whose fault it was shows when
                    # those that were lost are tried again at the end, one after another.
                    tasks.submit((lost.popleft(),), 0, alone=True)
    finally:
        tasks.cancel()
        for folder in folders.values():
            folder.remove()  # unless a worker still writes there: then whoever comes later does


class _Tasks:
    """What a scheduler was asked to do, and has not done yet.

    Attributes:
        waiting: Futures, as they come.
        given_up: Keys of tasks that the watch has taken back, with why.
        news: Knows which images are under way.
    """

    def __init__(
        self,
        client: Any,
        job: Job,
        ours: Mapping[str, Any],
        divided: dict[str, list[range]],
        folders: Mapping[str, FolderLock],
    ) -> None:
        from distributed import as_completed

        self._client, self._job, self._ours = client, job, ours
        self._divided, self._folders = divided, folders
        self._owners: dict[str, tuple[tuple[Item, ...], Any, list[Any]]] = {}
        self._attempts: Counter[str] = Counter()
        self._alone: set[str] = set()
        self.waiting = as_completed()
        self.given_up: dict[str, str] = {}
        self.news = WorkerNews(lambda _: None, lambda _: None)

    def submit(
        self,
        batch: tuple[Item, ...],
        priority: int,
        *,
        ignore_active_worker: bool = False,
        workers: list[str] | None = None,
        alone: bool = False,
    ) -> None:
        """Ask for some images: anybody, or one of some workers."""
        where = {"pure": False, "priority": priority, "workers": workers}
        self._attempts.update(item.slug for item in batch)
        if alone:
            self._alone.update(item.slug for item in batch)
        parts = self._parts(batch[0], where) if len(batch) == 1 else []
        job, send = self._job, self._client.submit
        made = tuple(job.task(item, ignore_active_worker or bool(parts)) for item in batch)
        content = Batch(made, self.news.topic)
        self.news.expect(batch)
        if parts:
            future = send(with_settings, self._ours, convert_with_parts, content, parts, **where)
        else:
            future = send(with_settings, self._ours, convert_batch, content, **where)
        self._owners[future.key] = batch, future, parts
        self.waiting.add(future)

    def _parts(self, item: Item, where: Mapping[str, Any]) -> list[Any]:
        """Futures of the parts of an image that is divided; by one worker, when tried again."""
        if item.slug not in self._divided or self._attempts[item.slug] > 1:
            return []  # its parts may be gone
        opener, options = self._job.opener_of(item), self._job.options
        folder, ours = self._folders[item.slug].folder, self._ours
        return [
            self._client.submit(
                with_settings, ours, convert_part, item, opener, options, planes, folder, **where
            )
            for planes in self._divided[item.slug]
        ]

    def done(self, future: Any) -> tuple[Item, ...]:
        """The images of a future that has come."""
        batch = self._owners.pop(future.key)[0]
        self.news.forget(batch)
        return batch

    def keys(self) -> set[str]:
        """Of all tasks that are not done, parts of images included."""
        owners = dict(self._owners)
        return {*owners, *(part.key for _, _, parts in owners.values() for part in parts)}

    def give_up(self, keys: set[str], why: str) -> None:
        """Take back images whose task, or a part of them, is at a worker that is stuck."""
        for key, (_, future, parts) in dict(self._owners).items():
            if keys & {key, *(part.key for part in parts)}:
                self.given_up[key] = why
                self._client.cancel([future, *parts], force=True)

    def attempts(self, item: Item) -> int:
        """How often an image was asked for."""
        return self._attempts[item.slug]

    def was_alone(self, item: Item) -> bool:
        """Whether an image was asked for when nothing else was under way."""
        return item.slug in self._alone

    def cancel(self) -> None:
        """Take back all."""
        if self._client.status == "running":
            self._client.cancel(list(self.waiting.futures), force=True)


def _slots(client: Any, workers: int) -> int:
    """Images that are converted at once."""
    return sum(client.nthreads().values()) or workers or 1


def _stuck(batch: Sequence[Item], why: str) -> Failure:
    again = f"{why}; run the same command again to resume"
    return Failure(_STUCK, again, batch[0].origin.source)


def _failed(item: Item, failure: Failure, job: Job) -> Result:
    """The result of an image that is not there, though others of its batch may be."""
    with suppress(VoxarrayError):  # of a store that does not answer
        # Where all are made anew, what is there may be the archive of an earlier run.
        if not job.overwrite and job.is_there(item):
            return Result(item.slug, "converted", item.key, voxel_bytes=item.size)
    failure = replace(failure, file=item.origin.source)
    result = Result(item.slug, "failed", item.key, failure)
    # No worker can tell of its death. Other errors may be those of a scheduler that is about to be
    # lost, and are none of the image.
    told = failure.code in (_LOST, _STUCK)
    return job.noted(result) if told else result


def _results(client: Any, future: Any, batch: Sequence[Item]) -> list[Result] | Failure:
    """What a worker says of the images of a batch, or what is known instead."""
    from distributed.scheduler import KilledWorker

    source = batch[0].origin.source
    try:
        results: list[Result] = future.result()
    except KilledWorker:
        return Failure(
            _LOST,
            "every worker that converted this image died, even when it converted nothing else: the "
            "image may need more memory than a worker has. Give workers more memory, or make fewer "
            "of them, and run the same command again",
            source,
        )
    except (CancelledError, OSError) as error:
        if isinstance(error, CancelledError) or client.status != "running":
            raise ArchiveError(
                "the scheduler is gone: run the same command again; finished images are kept",
                code="SCHEDULER_LOST",
            ) from error
        return failure_of(error, source, {})
    except Exception as error:  # a worker that cannot import what it is sent, for one
        return failure_of(error, source, {})
    return results
