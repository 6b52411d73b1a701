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
"""Images per slot whose durations give the estimate for the others."""
_ATTEMPTS = 3
"""How many workers are tried for an image, one after the other, if each gets stuck."""


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
        # Images that exceed the budget of a worker are converted at the end by this process, which
        # has a larger budget.
        large = [item for item in job.items if item.header and item.header.peak > budget]
        small = [item for item in job.items if item not in large] if large else list(job.items)
        if small:
            with client_of(self.workers, self.scheduler, job.overlapping, share) as client:
                # Workers of our own count as one slot each, since their threads take turns.
                workers = self.workers or sum(client.nthreads().values())
                worker_settings = settings.configured() | share
                owns_workers = bool(self.workers)
                yield from _spread(
                    client, job, small, workers, worker_settings, begin, own=owns_workers
                )
        yield from InProcess().run(replace(job, items=large), begin)

    def _share(self) -> dict[str, Any]:
        return share_of(self.workers if self.scheduler is None else 0)


def with_settings(ours: Mapping[str, Any], function: Any, *args: Any, **options: Any) -> Any:
    """Call a function in a worker, with the settings of the process that submitted it."""
    with settings.of_task(ours), heap.freed_kept():
        return function(*args, **options)


def convert_with_parts(batch: Batch, parts: Sequence[PartialWrite | Failure]) -> list[Result]:
    """Convert one image whose parts other workers wrote.

    The parts are an argument of their own, since dask replaces futures in lists, not in tasks.
    """
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
    lost_slugs: set[str] = set()
    patience = float(settings.get("worker-patience"))
    pace, slots = Pace(), _slots(client, workers)
    timed = _TIMED * slots if len(items) > 2 * _TIMED * slots else len(items)
    untimed: Sequence[Item] = items[timed:]
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
                outcome = _stuck(batch, stuck) if is_taken_back else _results(client, future, batch)
                if untimed:
                    if isinstance(outcome, list):
                        pace.learn(batch, outcome)
                    # All batches at once, so that an adaptive cluster sees the work and grows.
                    slots = _slots(client, workers)
                    for number, next_batch in enumerate(batches(untimed, slots, pace, divided)):
                        tasks.submit(next_batch, -timed - number)
                    untimed = ()
                for item in batch:
                    if item.slug in folders:
                        folders[item.slug].remove()
                if isinstance(outcome, list):
                    for item, result in zip(batch, outcome, strict=True):
                        # Another process seemed to convert it. It is tried again at the end, since
                        # that process may have died meanwhile.
                        if result.status == "busy":
                            tasks.submit((item,), -len(items), ignore_active_worker=True)
                        elif result.status == "present" and item.slug in lost_slugs:
                            # A worker of this run made it, and died afterwards.
                            yield replace(result, status="converted", voxel_bytes=item.size)
                        else:
                            yield result
                elif outcome.code == _LOST and (len(batch) > 1 or not tasks.was_alone(batch[0])):
                    lost.extend(batch)
                    lost_slugs.update(item.slug for item in batch)
                elif outcome.code == _STUCK:
                    if healthy_workers := watch.healthy():
                        warnings.warn(f"{outcome.message} [{batch[0].slug}]", VoxarrayWarning, 2)
                    for item in batch:
                        if healthy_workers and tasks.attempts(item) < _ATTEMPTS:
                            # One by one, so that the image that got stuck delays no other.
                            tasks.submit(
                                (item,), 0, ignore_active_worker=True, workers=healthy_workers
                            )
                        else:
                            yield _failed(item, outcome, job)
                elif len(batch) > 1:
                    for item in batch:  # for example, one of them could not be pickled
                        tasks.submit((item,), 0)
                else:
                    yield _failed(batch[0], outcome, job)
                future.release()
                if lost and not tasks.keys():
                    # A worker that dies loses all images that it had. To find the one that killed
                    # it, they are tried again at the end, one after another.
                    tasks.submit((lost.popleft(),), 0, alone=True)
    finally:
        tasks.cancel()
        for folder in folders.values():
            folder.remove()  # does nothing if a worker still writes there; a later run removes it


class _Tasks:
    """The tasks that a scheduler has, and has not finished yet.

    Attributes:
        waiting: Futures, as they are done.
        given_up: Keys of tasks that the watch has cancelled, with the reason.
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
        """Submit a batch, to any worker or to one of ``workers``."""
        placement = {"pure": False, "priority": priority, "workers": workers}
        self._attempts.update(item.slug for item in batch)
        if alone:
            self._alone.update(item.slug for item in batch)
        parts = self._parts(batch[0], placement) if len(batch) == 1 else []
        job, send = self._job, self._client.submit
        tasks = tuple(job.task(item, ignore_active_worker or bool(parts)) for item in batch)
        content = Batch(tasks, self.news.topic)
        self.news.expect(batch)
        if parts:
            future = send(
                with_settings, self._ours, convert_with_parts, content, parts, **placement
            )
        else:
            future = send(with_settings, self._ours, convert_batch, content, **placement)
        self._owners[future.key] = batch, future, parts
        self.waiting.add(future)

    def _parts(self, item: Item, where: Mapping[str, Any]) -> list[Any]:
        """Futures of the parts of an image; none if it is not divided, or is tried again."""
        if item.slug not in self._divided or self._attempts[item.slug] > 1:
            return []  # its folder of parts may be gone
        opener, options = self._job.opener_of(item), self._job.options
        folder, ours = self._folders[item.slug].folder, self._ours
        return [
            self._client.submit(
                with_settings, ours, convert_part, item, opener, options, planes, folder, **where
            )
            for planes in self._divided[item.slug]
        ]

    def done(self, future: Any) -> tuple[Item, ...]:
        """The images of a future that is done."""
        batch = self._owners.pop(future.key)[0]
        self.news.forget(batch)
        return batch

    def keys(self) -> set[str]:
        """Keys of all tasks that are not done, parts of images included."""
        owners = dict(self._owners)
        return {*owners, *(part.key for _, _, parts in owners.values() for part in parts)}

    def give_up(self, keys: set[str], why: str) -> None:
        """Cancel the tasks of images that are, wholly or in part, at a worker that is stuck."""
        for key, (_, future, parts) in dict(self._owners).items():
            if keys & {key, *(part.key for part in parts)}:
                self.given_up[key] = why
                self._client.cancel([future, *parts], force=True)

    def attempts(self, item: Item) -> int:
        """How often an image was submitted."""
        return self._attempts[item.slug]

    def was_alone(self, item: Item) -> bool:
        """Whether an image was submitted while no other task was running."""
        return item.slug in self._alone

    def cancel(self) -> None:
        """Cancel all tasks."""
        if self._client.status == "running":
            self._client.cancel(list(self.waiting.futures), force=True)


def _slots(client: Any, workers: int) -> int:
    """Number of images that are converted at once."""
    return sum(client.nthreads().values()) or workers or 1


def _stuck(batch: Sequence[Item], why: str) -> Failure:
    message = f"{why}; run the same command again to resume"
    return Failure(_STUCK, message, batch[0].origin.source)


def _failed(item: Item, failure: Failure, job: Job) -> Result:
    """The result of an image whose task failed; "converted" if its archive was made anyway."""
    with suppress(VoxarrayError):  # a store may not answer
        # With ``overwrite``, an existing archive may be that of an earlier run.
        if not job.overwrite and job.is_there(item):
            return Result(item.slug, "converted", item.key, voxel_bytes=item.size)
    failure = replace(failure, file=item.origin.source)
    result = Result(item.slug, "failed", item.key, failure)
    # The journal is written here if the worker is dead or stuck. Other errors may come from a
    # scheduler that is about to be lost, and are not the fault of the image.
    is_of_worker = failure.code in (_LOST, _STUCK)
    return job.noted(result) if is_of_worker else result


def _results(client: Any, future: Any, batch: Sequence[Item]) -> list[Result] | Failure:
    """The results of a batch; or the failure, if the worker returned none."""
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
                "the dask scheduler is gone: run the same command again; finished images are kept",
                code="SCHEDULER_LOST",
            ) from error
        return failure_of(error, source, {})
    except Exception as error:  # for example, the worker lacks a module of the transform
        return failure_of(error, source, {})
    return results
