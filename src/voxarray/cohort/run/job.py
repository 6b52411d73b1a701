"""A job, that is images to convert, and the protocol of the engines that convert them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from voxarray.archive.partial_writes import PartialWrite
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.plan.opened_inputs import Opener
from voxarray.cohort.run.task import Result, Task, is_made, noted_down
from voxarray.core.progress import Progress
from voxarray.storage.remote.address import is_url

Begin = Callable[[Item], Progress | None]


@dataclass(frozen=True, slots=True)
class Job:
    """Images to convert, and their destination.

    Attributes:
        items: In the order in which to start them.
        opener_of: Returns the opener of an item.
        root: Folder of the cohort.
        options: Of the cohort.
        overwrite: Also convert images that are up to date.
        overlapping: Whether items may be opened by several threads at once: files may, but
            transforms of users may not be thread-safe.
        absent: Slugs of items in a bucket that had no archive when the run began.
        late: Results that came after the engine was stopped; engines add to it.
    """

    items: Sequence[Item]
    opener_of: Callable[[Item], Opener]
    root: str
    options: ArchiveOptions
    overwrite: bool
    overlapping: bool = True
    absent: frozenset[str] = frozenset()
    late: list[Result] = field(default_factory=list)

    def task(
        self,
        item: Item,
        ignore_active_worker: bool = True,
        parts: Sequence[PartialWrite | Failure] = (),
    ) -> Task:
        """The task that converts one of the items; see `Task`."""
        return Task(
            item=item,
            opener=self.opener_of(item),
            root=self.root,
            options=self.options,
            overwrite=self.overwrite,
            ignore_active_worker=ignore_active_worker,
            parts=parts,
            exists=False if item.slug in self.absent else None,
        )

    @property
    def divisible(self) -> bool:
        """Whether parts of one image may be written by several workers."""
        return not is_url(self.root)  # workers exchange the parts through a shared file system

    def is_there(self, item: Item) -> bool:
        """Whether the archive of an item is complete.

        Raises:
            VoxarrayError: If the store does not answer.
        """
        folder = CohortLayout.of(self.root)
        return is_made(folder.archive(item.slug, self.options.zipped), item)

    def noted(self, result: Result) -> Result:
        """Write a result into the journal for a worker that could not."""
        return noted_down(result, CohortLayout.of(self.root))


class Engine(Protocol):
    """Converts the items of a job, in any order."""

    def run(self, job: Job, begin: Begin) -> Iterator[Result]:
        """Results as they come; closing the iterator stops the engine.

        Args:
            job: The images.
            begin: Called when an item is started, if the engine knows that; returns the function
                to call with the bytes done.
        """
