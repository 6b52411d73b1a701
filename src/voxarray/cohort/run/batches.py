"""Batches of small images for workers: the overhead of a task costs as much as a small image."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.opened_inputs import FileOpener
from voxarray.cohort.run import throttle
from voxarray.cohort.run.dask_monitoring import slowed_monitoring
from voxarray.cohort.run.opened_ahead import opened_ahead
from voxarray.cohort.run.resource_usage import measured_often
from voxarray.cohort.run.task import Result, Task, convert_throttled, noted_down
from voxarray.cohort.run.worker_news import Reporter
from voxarray.core.errors import ArchiveError
from voxarray.storage.remote.address import is_url
from voxarray.storage.spare_folders import folders_reused
from voxarray.storage.synced_names import names_synced_together

BATCH_SECONDS = 4.0
"""Work in a batch, at most, since a worker that dies loses it. A larger image is sent alone."""

LEAST_SECONDS = 1.0
"""Work in the last batches, at least, as long as each worker has one. A task costs the scheduler,
its client and a worker 5 to 10 ms of processor time together, as much as a scan of 64^3."""

BATCH_IMAGES = 256

_ROUNDS = 2
_BESIDE = 1 << 20
"""Cost of an image without its voxels (files, folders, waiting for the disk), in bytes."""


@dataclass(slots=True)
class Pace:
    """Estimate of the time that images take, from those that were converted.

    Attributes:
        per_byte: Seconds; at first, about the time that one core takes.
    """

    per_byte: float = 1 / (32 << 20)

    def of(self, item: Item) -> float:
        """Seconds that an image will take."""
        return (item.size + _BESIDE) * self.per_byte

    def learn(self, items: Sequence[Item], results: Sequence[Result]) -> None:
        """Replace the estimate by the time of the fastest image of a batch.

        The first images wait for imports. Later ones are as fast as the fastest, and batches that
        are too large cost less than too many tasks.

        Args:
            items: Of the batch.
            results: One for each item.
        """
        # The first image of a batch may include the imports of its worker.
        pairs = list(zip(items, results, strict=True))[1:]
        rates = [
            result.seconds / (item.size + _BESIDE)
            for item, result in pairs
            if result.status == "converted" and result.seconds > 0
        ]
        if rates:
            self.per_byte = min(rates)


def batches(
    items: Sequence[Item], slots: int, pace: Pace, alone: Collection[str] = ()
) -> Iterator[tuple[Item, ...]]:
    """Group items in their order; the groups become smaller towards the end.

    No group takes longer than half of the remaining work of each slot, so that at the end no slot
    works on a large batch while the others are idle. Groups are not made shorter than a task is
    worth.

    Args:
        items: The largest first.
        slots: Images that are converted at once.
        pace: Estimate of their time.
        alone: Names of archives that are sent alone.

    Examples:
        >>> from types import SimpleNamespace
        >>> small = [SimpleNamespace(slug=str(n), size=15 << 20) for n in range(10)]
        >>> [len(batch) for batch in batches(small, slots=1, pace=Pace())]
        [5, 2, 2, 1]
    """
    seconds = [pace.of(item) for item in items]
    begin, remaining = 0, sum(seconds)
    shortest = min(LEAST_SECONDS, remaining / slots)
    while begin < len(items):
        longest = min(BATCH_SECONDS, max(remaining / slots / _ROUNDS, shortest))
        end, total = begin + 1, seconds[begin]
        if not _is_alone(items[begin], alone):
            last = min(len(items), begin + BATCH_IMAGES)
            # With a tolerance, since sums are rounded and the last item would not fit.
            while (
                end < last
                and not _is_alone(items[end], alone)
                and total + seconds[end] <= longest * (1 + 1e-9)
            ):
                total += seconds[end]
                end += 1
        yield tuple(items[begin:end])
        begin, remaining = end, remaining - total


def _is_alone(item: Item, alone: Collection[str]) -> bool:
    """Whether an item is sent alone, as items of unknown size are."""
    return item.slug in alone or not item.size


class Batch:
    """Images that one worker converts, one after another; into a bucket several at once.

    A scheduler unpickles and pickles each object that it passes on, which for some hundred images
    takes longer than all its other work. So the tasks are pickled to bytes here, and unpickled by
    the worker.

    Args:
        tasks: One per image: each fails alone, and existing archives are not made again.
        topic: Of the progress events of the worker; see `WorkerNews`.
    """

    def __init__(self, tasks: Sequence[Task] | bytes, topic: str) -> None:
        self._tasks, self.topic = tasks, topic

    @property
    def tasks(self) -> Sequence[Task]:
        """One per image."""
        if not isinstance(self._tasks, bytes):
            return self._tasks
        from distributed.protocol.pickle import loads

        tasks: Sequence[Task] = loads(self._tasks)
        self._tasks = tasks
        return tasks

    def __reduce__(self) -> tuple[type[Batch], tuple[bytes, str]]:
        if isinstance(self._tasks, bytes):
            return Batch, (self._tasks, self.topic)
        from distributed.protocol.pickle import dumps  # also pickles functions of users' scripts

        return Batch, (dumps(self._tasks), self.topic)


def convert_batch(batch: Batch) -> list[Result]:
    """Convert the images of a batch, each as soon as memory has room for it."""
    reporter = Reporter(batch.topic)
    folder = CohortLayout.of(batch.tasks[0].root)
    results: list[Result] = []
    try:
        with (
            slowed_monitoring(),
            folders_reused(folder.staging),
            names_synced_together(folder.subjects),
            measured_often(),
        ):
            results.extend(_converted(batch.tasks, reporter))
    except ArchiveError as error:
        # With NOT_SYNCED the archives are complete, but their names may be lost in a power loss.
        if error.code != "NOT_SYNCED":
            raise
        return [_not_synced(result, error, folder) for result in results]
    return results


def _converted(tasks: Sequence[Task], reporter: Reporter) -> Iterator[Result]:
    def convert(task: Task) -> Result:
        return convert_throttled(task, partial(reporter.of, task.item.slug))

    if len(tasks) == 1 or not is_url(tasks[0].root) or not _may_overlap(tasks):
        yield from map(convert, opened_ahead(tasks))
        return
    with ThreadPoolExecutor(throttle.ANSWERS, "voxarray-image") as threads:
        yield from threads.map(convert, tasks)


def _may_overlap(tasks: Sequence[Task]) -> bool:
    """Whether several threads may open the images: transforms of users may not be thread-safe."""
    return all(isinstance(task.opener, FileOpener) for task in tasks)


def _not_synced(result: Result, error: ArchiveError, folder: CohortLayout) -> Result:
    if result.status != "converted":
        return result
    failure = failure_of(error, result.slug, {folder.root: "the archive"})
    return noted_down(replace(result, status="failed", failure=failure, voxel_bytes=0), folder)
