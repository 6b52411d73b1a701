"""What is to be converted, and what an engine is that converts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from voxarray.archive.partial_writes import PartialWrite
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.plan.opening import Opener
from voxarray.cohort.run.task import Result, Task, is_made, noted_down
from voxarray.core.progress import Progress
from voxarray.storage.remote.address import is_url

Begin = Callable[[Item], Progress | None]


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be converted, and into what.

    Attributes:
        items: In the order in which to begin them.
        opener_of: What opens an item.
        root: Folder of the cohort.
        options: Of the cohort.
        overwrite: Convert also what is up to date.
        overlapping: Whether items may be opened by several threads at once: files may, transforms
            of users need not know of threads.
        late: What was done when the engine had been stopped; engines add to it.
    """

    items: Sequence[Item]
    opener_of: Callable[[Item], Opener]
    root: str
    options: ArchiveOptions
    overwrite: bool
    overlapping: bool = True
    late: list[Result] = field(default_factory=list)

    def task(
        self,
        item: Item,
        ignore_active_worker: bool = True,
        parts: Sequence[PartialWrite | Failure] = (),
    ) -> Task:
        """What converts one of the items; see `Task`."""
        return Task(
            item=item,
            opener=self.opener_of(item),
            root=self.root,
            options=self.options,
            overwrite=self.overwrite,
            ignore_active_worker=ignore_active_worker,
            parts=parts,
        )

    @property
    def divisible(self) -> bool:
        """Whether parts of one image may be written by several workers."""
        return not is_url(self.root)  # parts are put together on a file system that all share

    def is_there(self, item: Item) -> bool:
        """Whether what an item becomes is whole.

        Raises:
            VoxarrayError: Of a store that does not answer.
        """
        folder = CohortLayout.of(self.root)
        return is_made(folder.archive(item.slug, self.options.zipped), item)

    def noted(self, result: Result) -> Result:
        """Write down what no worker could tell."""
        return noted_down(result, CohortLayout.of(self.root))


class Engine(Protocol):
    """Converts the items of a job, in any order."""

    def run(self, job: Job, begin: Begin) -> Iterator[Result]:
        """Results as they come; closing the iterator stops the engine.

        Args:
            job: What to do.
            begin: Called when an item is begun, where that is known; gives what to call with the
                bytes done.
        """
