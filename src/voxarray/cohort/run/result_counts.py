"""Counts of the results of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from voxarray.cohort.catalogue.finalise import Summary
from voxarray.cohort.catalogue.part_failures import Failed
from voxarray.cohort.run.result import CohortResult
from voxarray.cohort.run.task import Result
from voxarray.core.errors import VoxarrayError


@dataclass(slots=True)
class Tally:
    """Counts of the results so far.

    Attributes:
        present: Number of images that were up to date already.
        converted: Number of images that were converted.
        failures: Those that failed.
        unable: The error because of which no worker could do anything.
        others: Slugs of images that another pipeline has made.
        replaced: Number of these that were converted.
        statuses: Status of each image that the run has finished, by slug.
        interrupt: What asked the run to end: Ctrl-C or another signal.
        interrupted_by: Why the run ended early; empty if it did not.
    """

    present: int = 0
    converted: int = 0
    failures: list[Failed] = field(default_factory=list)
    unable: VoxarrayError | None = None
    others: frozenset[str] = frozenset()
    replaced: int = 0
    statuses: dict[str, str] = field(default_factory=dict)
    interrupt: type[KeyboardInterrupt] | None = None
    interrupted_by: str = ""

    @property
    def failed(self) -> int:
        return len(self.failures)

    def count(self, result: Result) -> None:
        self.statuses[result.slug] = result.status
        self.present += result.status == "present"
        self.converted += result.status == "converted"
        self.replaced += result.status == "converted" and result.slug in self.others
        if result.status == "failed" and result.failure is not None:
            self.failures.append(Failed(result.slug, result.key, result.failure))

    def lose(self, failed: Failed) -> None:
        """Count an image as failed that was counted as converted or present."""
        if self.statuses.get(failed.slug) == "converted":
            self.converted -= 1
        else:
            self.present -= 1
        self.failures.append(failed)

    def result(self, images: int, summary: Summary | None = None) -> CohortResult:
        """What the run did.

        Args:
            images: Number of images that were to be there.
            summary: Of the whole cohort, once it is made.
        """
        remaining = images - self.present - self.converted - self.failed
        return CohortResult(
            *(self.converted, self.present, self.failed, remaining, summary, self.interrupted_by),
            failures=tuple(image.failure for image in self.failures),
            unable=self.unable,
            replaced=self.replaced,
            interrupt=self.interrupt,
        )

    @contextmanager
    def hiding_no_interrupt(self, images: int) -> Iterator[None]:
        """As that of `CohortResult`, with the counts of the moment at which the body failed.

        Args:
            images: Number of images that were to be there.
        """
        try:
            yield
        except Exception:
            with self.result(images).hiding_no_interrupt():
                raise
