"""What a run over the images of a cohort did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from voxarray.cohort.catalogue.finalise import Summary
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.input import source_told
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Failure
from voxarray.cohort.run.interrupts import ASKED_TO_END, let_go_on
from voxarray.core.errors import VoxarrayError
from voxarray.core.html_table import html_table

_TOLD = 3


@dataclass(frozen=True, slots=True, repr=False)
class CohortResult:
    """What a run over the images of a cohort did.

    Attributes:
        converted: Number of images that the run converted.
        present: Number of images that were up to date already.
        failed: Number of images that failed in this run, or that failed before because of their
            content and were not retried.
        remaining: Number of images that the run did not reach.
        summary: Summary of the whole cohort; None after a part of it.
        interrupted_by: Why the run ended early; empty if it did not.
        census: How many files were found in the sources, and which of them were taken as images;
            None if no sources were searched.
        failures: Why each of the failed images failed.
        unable: The error because of which no worker could do anything; None if one could.
        replaced: Number of images, among the converted ones, that replaced those which another
            pipeline had made, or an older voxarray that did not record the pipeline.
        labels_apart: Number of label maps in the plan that have archives of their own, since they
            are on the grid of no image of their subject.
        interrupt: Kind of the exception by which Ctrl-C or another signal ended the run; None if
            neither did.
    """

    converted: int
    present: int
    failed: int
    remaining: int
    summary: Summary | None
    interrupted_by: str = ""
    census: Census | None = None
    failures: tuple[Failure, ...] = ()
    unable: VoxarrayError | None = None
    replaced: int = 0
    interrupt: type[KeyboardInterrupt] | None = None
    labels_apart: int = 0

    def _repr_html_(self) -> str:
        """A table of what became of the images, for notebooks."""
        facts = self._facts
        failures = self.different_failures
        for failure in failures[:_TOLD]:
            text = f"{failure.code}: {failure.message}"
            # Of one file several images may have failed.
            file = source_told(failure.file)
            facts[file] = f"{facts[file]}; {text}" if file in facts else text
        if len(failures) > _TOLD:
            facts["and"] = f"{len(failures) - _TOLD} more failures"
        return html_table(type(self).__name__, facts)

    def __repr__(self) -> str:
        facts = "; ".join(f"{name}: {value}" for name, value in self._facts.items())
        return f"{type(self).__name__}({facts})"

    @property
    def different_failures(self) -> tuple[Failure, ...]:
        """The failures, each once: if a subject fails as a whole, each of its images does so."""
        return tuple(dict.fromkeys(self.failures))

    @property
    def replaced_told(self) -> str:
        """How many images of another pipeline were replaced, in words; empty if none were."""
        if not self.replaced:
            return ""
        if self.replaced == 1:
            return "1 image of another pipeline was replaced"
        return f"{self.replaced:,} images of another pipeline were replaced"

    @property
    def _facts(self) -> dict[str, str]:
        replaced = f" ({self.replaced_told})" if self.replaced_told else ""
        facts = {
            "converted": f"{self.converted}{replaced}",
            "up to date": str(self.present),
            "failed": str(self.failed),
            "remaining": str(self.remaining),
        }
        if self.labels_apart:
            facts["label maps in archives of their own"] = str(self.labels_apart)
        return facts | ({"stopped because": self.interrupted_by} if self.interrupted_by else {})

    @contextmanager
    def hiding_no_interrupt(self) -> Iterator[None]:
        """Let an error of the body be the cause of the interrupt, if one ended the run.

        Raises:
            KeyboardInterrupt: Ctrl-C ended the run; the message has the error, too.
            SystemExit: Another signal did (exit code 75).
            Exception: That of the body, if no interrupt ended the run.
        """
        try:
            yield
        except Exception as error:  # also of the system, and warnings that are errors
            if self.interrupt is None:
                raise
            let_go_on(self.interrupt, f"{self._interrupted()}; then: {error}", error)

    def require_able(self) -> None:
        """Raise what ended the run: a signal, or an error because of which no worker could work.

        Raises:
            KeyboardInterrupt: Ctrl-C ended the run.
            SystemExit: Another signal did (exit code 75).
            VoxarrayError: No worker could do anything.
        """
        if self.interrupt is not None:
            let_go_on(self.interrupt, self._interrupted())
        if self.unable is not None:
            raise self.unable

    def require_all(self, folder: CohortLayout | None) -> None:
        """Raise an error (``SOME_FAILED``) unless all images are there.

        If no worker could do anything, that error is raised as it is: no image is to blame. So is
        what asked the run to end.

        Args:
            folder: Of the cohort; None where files were made, of which there is no report.
        """
        self.require_able()
        if not (self.interrupted_by or self.failed or self.remaining):
            return
        failures = self.different_failures
        if folder is None:
            texts = "".join(
                f"\n{source_told(failure.file)}: {failure.code}: {failure.message}"
                for failure in failures
            )
            raise VoxarrayError(
                f"not all images were written: {self._shortfall()}; all others were written{texts}",
                code="SOME_FAILED",
            )
        texts = "; ".join(
            f"{source_told(failure.file)}: {failure.code}" for failure in failures[:_TOLD]
        )
        texts = f": {texts}" if texts else ""
        more = f" and {len(failures) - _TOLD} more" if len(failures) > _TOLD else ""
        reasons = dict.fromkeys(f"\n{failure.code}: {failure.message}" for failure in failures)
        told = "".join([*reasons][:_TOLD])
        report = folder.readable_report if self.summary else "the journal of the cohort"
        raise VoxarrayError(
            f"not all images were converted: {self._shortfall()}; all others were converted, "
            f"and {report} names the missing ones{texts}{more}{told}",
            code="SOME_FAILED",
            path=folder.readable_report if self.summary else folder.journal,
        )

    def _interrupted(self) -> str:
        """How far a run came that was asked to end."""
        there = self.converted + self.present
        done = f"{there:,} of {there + self.failed + self.remaining:,} images are there"
        failed = f", {self.failed:,} failed" if self.failed else ""
        more = self.interrupted_by.removeprefix(ASKED_TO_END)  # what the disk refused meanwhile
        if not self.remaining:
            return f"the run was asked to end when it had finished: {done}{failed}{more}"
        remaining = "1 remains" if self.remaining == 1 else f"{self.remaining:,} remain"
        return (
            f"the run was asked to end before it was done: {done}{failed}, {remaining}; make the "
            f"same call again to resume{more}"
        )

    def _shortfall(self) -> str:
        """How many images are not there, and why a run ended early."""
        counts = ((self.failed, "failed", "failed"), (self.remaining, "remains", "remain"))
        texts = [
            f"1 image {one}" if number == 1 else f"{number:,} images {several}"
            for number, one, several in counts
            if number
        ]
        why = f" ({self.interrupted_by})" if self.interrupted_by else ""
        return (" and ".join(texts) or "the run was stopped") + why
