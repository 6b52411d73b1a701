"""Small images go to workers together: what a scheduler does per task costs as much as they do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.task import Result, Task, convert_throttled
from voxarray.cohort.run.worker_news import Reporter

BATCH_BYTES = 32 << 20
"""Of voxels in a batch, about a second of work: a worker that dies loses no more than that, and
one that finishes none within minutes is stuck. An image that has more goes alone."""

BATCH_IMAGES = 64
_ROUNDS = 2


def batches(
    items: Sequence[Item], slots: int, alone: Collection[str] = ()
) -> Iterator[tuple[Item, ...]]:
    """Group neighbours, in their order; the groups become smaller towards the end.

    None is larger than half of what is left for each that converts, so that nobody has a whole
    batch to do while the others have nothing.

    Args:
        items: The largest first.
        slots: Images that are converted at once.
        alone: Names of archives that are no part of a batch.

    Examples:
        >>> from types import SimpleNamespace
        >>> small = [SimpleNamespace(slug=str(n), size=100) for n in range(10)]
        >>> [len(batch) for batch in batches(small, slots=1)]
        [5, 2, 1, 1, 1]
    """
    begin = 0
    while begin < len(items):
        most = min(BATCH_IMAGES, (len(items) - begin) // (_ROUNDS * slots))
        end, total = begin + 1, _weight(items[begin], alone)
        while end < begin + most and (total := total + _weight(items[end], alone)) <= BATCH_BYTES:
            end += 1
        yield tuple(items[begin:end])
        begin = end


def _weight(item: Item, alone: Collection[str]) -> int:
    """Bytes that an image takes of a batch; all, if it is to be alone or nobody knows its size."""
    return BATCH_BYTES + 1 if item.slug in alone or not item.size else item.size


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that one worker converts, one after another.

    Attributes:
        tasks: One per image: each fails alone, and what is there already is not made again.
        topic: Of what the worker tells meanwhile; see `WorkerNews`.
    """

    tasks: tuple[Task, ...]
    topic: str


def convert_batch(batch: Batch) -> list[Result]:
    """Convert the images of a batch, each as soon as memory has room for it."""
    reporter = Reporter(batch.topic)
    return [convert_throttled(task, partial(reporter.of, task.item.slug)) for task in batch.tasks]
