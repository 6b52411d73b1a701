"""Small images go to workers together: what a scheduler does per task costs as much as they do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.opened_ahead import opened_ahead
from voxarray.cohort.run.resource_usage import measured_often
from voxarray.cohort.run.seldom_sampled import seldom_sampled
from voxarray.cohort.run.task import Result, Task, convert_throttled, noted_down
from voxarray.cohort.run.worker_news import Reporter
from voxarray.core.errors import ArchiveError
from voxarray.storage.spare_folders import folders_reused
from voxarray.storage.synced_names import names_synced_together

BATCH_SECONDS = 4.0
"""Of work in a batch: a worker that dies loses no more than that. An image of more goes alone."""

LEAST_SECONDS = 1.0
"""Of work in the last batches, as long as each worker has one. A task takes a scheduler, its client
and a worker 5 to 10 ms of processor time together, which is as much as a scan of 64^3 takes."""

BATCH_IMAGES = 256

_ROUNDS = 2
_BESIDE = 1 << 20
"""What an image costs that has no voxels (files, folders, waiting for the disk), in bytes."""


@dataclass(slots=True)
class Pace:
    """How long images take the workers, by those that they have converted.

    Attributes:
        per_byte: Seconds; before anything is known, about what one core takes.
    """

    per_byte: float = 1 / (32 << 20)

    def of(self, item: Item) -> float:
        """Seconds that an image will take."""
        return (item.size + _BESIDE) * self.per_byte

    def learn(self, items: Sequence[Item], results: Sequence[Result]) -> None:
        """Take what the fastest image of a batch took instead of what was assumed.

        The first ones wait for what others of their process load; as fast as the fastest are all
        that come later, and a group that is too large costs less than too many tasks.

        Args:
            items: Of the batch.
            results: One of each.
        """
        # The first one of a worker takes all imports.
        pairs = list(zip(items, results, strict=True))[1:]
        known = [
            result.seconds / (item.size + _BESIDE)
            for item, result in pairs
            if result.status == "converted" and result.seconds > 0
        ]
        if known:
            self.per_byte = min(known)


def batches(
    items: Sequence[Item], slots: int, pace: Pace, alone: Collection[str] = ()
) -> Iterator[tuple[Item, ...]]:
    """Group neighbours, in their order; the groups become smaller towards the end.

    None takes longer than half of what is left for each that converts, so that nobody has a whole
    batch to do while the others have nothing; unless that is hardly worth a task.

    Args:
        items: The largest first.
        slots: Images that are converted at once.
        pace: How long they take.
        alone: Names of archives that are no part of a batch.

    Examples:
        >>> from types import SimpleNamespace
        >>> small = [SimpleNamespace(slug=str(n), size=15 << 20) for n in range(10)]
        >>> [len(batch) for batch in batches(small, slots=1, pace=Pace())]
        [5, 2, 2, 1]
    """
    seconds = [pace.of(item) for item in items]
    begin, left = 0, sum(seconds)
    least = min(LEAST_SECONDS, left / slots)
    while begin < len(items):
        most = min(BATCH_SECONDS, max(left / slots / _ROUNDS, least))
        end, total = begin + 1, seconds[begin]
        if not _is_alone(items[begin], alone):
            last = min(len(items), begin + BATCH_IMAGES)
            # Sums are rounded: what is left for the last one may be a trifle less than it takes.
            while (
                end < last
                and not _is_alone(items[end], alone)
                and total + seconds[end] <= most * (1 + 1e-9)
            ):
                total += seconds[end]
                end += 1
        yield tuple(items[begin:end])
        begin, left = end, left - total


def _is_alone(item: Item, alone: Collection[str]) -> bool:
    """Whether it is to be alone, as those that nobody knows the size of."""
    return item.slug in alone or not item.size


class Batch:
    """Images that one worker converts, one after another.

    A scheduler takes what it passes on apart and puts it together again, which for some hundred
    images takes longer than all else that it does. So it gets bytes, which the worker takes apart.

    Args:
        tasks: One per image: each fails alone, and what is there already is not made again.
        topic: Of what the worker tells meanwhile; see `WorkerNews`.
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
        from distributed.protocol.pickle import dumps  # also what users have in their scripts

        return Batch, (dumps(self._tasks), self.topic)


def convert_batch(batch: Batch) -> list[Result]:
    """Convert the images of a batch, each as soon as memory has room for it."""
    reporter = Reporter(batch.topic)
    folder = CohortLayout.of(batch.tasks[0].root)
    results: list[Result] = []
    try:
        with (
            seldom_sampled(),
            folders_reused(folder.staging),
            names_synced_together(folder.subjects),
            measured_often(),
        ):
            results.extend(
                convert_throttled(task, partial(reporter.of, task.item.slug))
                for task in opened_ahead(batch.tasks)
            )
    except ArchiveError as error:
        if error.code != "NOT_SYNCED":  # else the disk did not take the names that are there
            raise
        return [_not_synced(result, error, folder) for result in results]
    return results


def _not_synced(result: Result, error: ArchiveError, folder: CohortLayout) -> Result:
    if result.status != "converted":
        return result
    failure = failure_of(error, result.slug, {folder.root: "the archive"})
    return noted_down(replace(result, status="failed", failure=failure, voxel_bytes=0), folder)
