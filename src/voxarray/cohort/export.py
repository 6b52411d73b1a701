"""The images of a cohort as files of another format: a folder per subject, a file per image."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.failures import FATAL, failure_of
from voxarray.cohort.plan.item import Failure
from voxarray.cohort.run.build import ASKED_TO_END, ExecutionOptions
from voxarray.cohort.run.captured_warnings import capture_warnings
from voxarray.cohort.run.futures import cancel, completed, outcome, submitted
from voxarray.cohort.run.interrupts import Stopped, stoppable
from voxarray.cohort.run.result import CohortResult
from voxarray.core import settings
from voxarray.core.errors import (
    ArchiveExistsError,
    FormatError,
    UnsupportedError,
    VoxarrayError,
    VoxarrayWarning,
)
from voxarray.core.progress import Progress, ProgressOption, reporting_each
from voxarray.core.shares import processes_of, share_of
from voxarray.formats.registry import open_source, writable_format, written_suffixes
from voxarray.image import Image
from voxarray.saving import convert
from voxarray.source.base import Source
from voxarray.source.kept_blocks import dropped_afterwards
from voxarray.source.pieces import pieces
from voxarray.storage.remote.address import is_url

_PLAIN = re.compile(r"[^./\\\0-\x1f\x7f][^/\\\0-\x1f\x7f]*")
"""What may name a file or folder: never one outside of the destination, and never a hidden one."""

Begin = Callable[[str], Progress]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the images of a subject.

    Attributes:
        converted: Files that were written.
        present: Files that were there, with the same voxels in the same places.
        failures: Why the others were not written.
        remarks: Warnings, each with the subject and the image.
    """

    converted: int
    present: int
    failures: tuple[Failure, ...]
    remarks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """One subject whose images become files; can be sent to another process.

    Attributes:
        member: The subject.
        root: Absolute path, or URL, of the folder of all subjects.
        suffix: Of the files.
        overwrite: Replace files that are there.
    """

    member: Member
    root: str
    suffix: str
    overwrite: bool

    def write(self, progress: Progress | None = None) -> Written:
        """Write what is missing; an image that fails does not stop the others.

        Args:
            progress: Called with the bytes of voxels done and in all, image by image.
        """
        converted, present, failures = 0, 0, list[Failure]()
        remarks: list[tuple[str, str]] = []
        try:
            images = self.member.subject().get_images_dict(intensity_only=False)
        except VoxarrayError as error:
            return Written(0, 0, (self._failure(error, self.member.name),))
        for name, image in images.items():
            called = f"{self.member.name}: {name}"
            with capture_warnings() as texts:
                try:
                    written = self._write_one(self._target(name), image, progress)
                except Exception as error:
                    failures.append(self._failure(error, called))
                else:
                    converted, present = converted + written, present + (not written)
            remarks += [(text, called) for text in dict.fromkeys(texts)]
            if failures and failures[-1].code in FATAL:
                break
        return Written(converted, present, tuple(failures), tuple(remarks))

    def _write_one(self, target: str, image: Image, progress: Progress | None) -> bool:
        """Whether it had to be written."""
        source = image.source
        with dropped_afterwards([source]):
            try:
                convert(
                    image,
                    target,
                    labels={},
                    overwrite=self.overwrite,
                    progress=progress or False,
                )
            except ArchiveExistsError:
                why = _difference(source, target)
                if not why:
                    return False
                raise ArchiveExistsError(
                    f"{target} is there already, and {why}: choose another folder, or pass "
                    "overwrite=True (--overwrite)",
                    path=target,
                ) from None
        return True

    def _target(self, image: str) -> str:
        parts = [*self.member.name.split("/"), image]
        if not all(map(_PLAIN.fullmatch, parts)):
            raise FormatError(
                f"the image {image!r} of the subject {self.member.name!r} cannot name a file: it "
                "has an empty part, one that begins with a dot, or control characters",
                code="BAD_NAME",
            )
        return os.path.join(self.root, *parts) + self.suffix

    @property
    def places(self) -> dict[str, str]:
        """What the archives are called, by where they are."""
        root = self.member.root
        return {os.path.join(root, one.archive): one.archive for one in self.member.parts}

    def _failure(self, error: BaseException, name: str) -> Failure:
        return failure_of(error, name, self.places)


def export(
    members: Sequence[Member],
    destination: str | os.PathLike[str],
    suffix: str,
    run: ExecutionOptions,
    progress: ProgressOption = None,
) -> CohortResult:
    """Write every image and label map of some subjects to ``destination/subject/name.suffix``.

    Args:
        members: The subjects.
        destination: Folder, made if it is not there.
        suffix: Of a format of files, with or without its dot.
        run: Who does it, and when to stop.
        progress: As in `voxarray.Cohort.save`.

    Raises:
        UnsupportedError: If no files are written by that suffix (``UNKNOWN_SUFFIX``).
        FormatError: If the destination is a file, or is or lies in the cohort (``OTHER_FORM``), or
            for a scheduler (``NOT_WITH_FILES``).
    """
    folder = CohortLayout.of(destination)
    written = _checked_suffix(suffix)
    _refuse_place(folder, {one.root for one in members})
    if run.scheduler is not None:
        raise FormatError(
            "files are written by this process, by workers= or by an executor=: leave the "
            "scheduler out, or pass executor=client.get_executor()",
            code="NOT_WITH_FILES",
        )
    if run.partition is not None:
        number, of = run.partition
        members = members[number - 1 :: of]
    tasks = [Export(one, folder.root, written, run.overwrite) for one in members]
    done, stopped = list[Written](), ""
    given: dict[Future[Written], Export] = {}
    with reporting_each(progress, len(tasks)) as begin, ExitStack() as stack:
        results = _results(tasks, run, begin, stack, given)
        try:
            with stoppable():
                for one in results:
                    done.append(one)
                    stopped = _reason_to_stop(done, run)
                    if stopped:
                        break
        except (Stopped, KeyboardInterrupt):
            stopped = ASKED_TO_END
        finally:
            results.close()  # type: ignore[attr-defined]  # a generator, which lets its workers go
    # Workers finish the subject that they are at, also when the others are called off.
    for future, task in given.items():
        if future.done():
            late = outcome(future, Written, task.member.name, task.places)
            done += [late] if isinstance(late, Written) else []
    _pass_on(done)
    return _result(tasks, done, stopped)


def _pass_on(done: Sequence[Written]) -> None:
    """Warn once of each thing, wherever the files were written, and name who it is about."""
    about: dict[str, list[str]] = {}
    for text, called in (remark for one in done for remark in one.remarks):
        about.setdefault(text, []).append(called)
    for text, names in about.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        warnings.warn(f"{text} ({names[0]}{more})", VoxarrayWarning, stacklevel=4)


def _refuse_place(folder: CohortLayout, cohorts: set[str]) -> None:
    """Refuse what is no folder, and cohorts, which are no sources if other images are in them."""
    root = folder.root
    above = [] if is_url(root) else [root, *map(str, Path(root).parents)]
    for place in above:
        if os.path.lexists(place) and not os.path.isdir(place):
            raise FormatError(
                f"{place} is no folder, and files are to go into {root}: choose another one",
                code="OTHER_FORM",
                path=place,
            )
    if folder.is_cohort() or any(root.startswith(one.rstrip("/") + "/") for one in cohorts):
        raise FormatError(
            f"{root} is, or lies in, a cohort: files of its images go into a folder outside of it",
            code="OTHER_FORM",
            path=root,
        )


def _checked_suffix(suffix: str) -> str:
    dotted = suffix if suffix.startswith(".") else f".{suffix}"
    found = writable_format(f"image{dotted}")
    if found is None or found.identity == "zarr" or dotted not in written_suffixes():
        files = [one for one in written_suffixes() if _is_of_files(one)]
        raise UnsupportedError(
            f"suffix={suffix!r} names no format of files that is written: choose one of "
            f"{', '.join(files)}; without a suffix another cohort of archives is made",
            code="UNKNOWN_SUFFIX",
        )
    return dotted


def _is_of_files(suffix: str) -> bool:
    found = writable_format(f"image{suffix}")
    return found is not None and found.identity != "zarr"


def _results(
    tasks: Sequence[Export],
    run: ExecutionOptions,
    begin: Begin,
    stack: ExitStack,
    given: dict[Future[Written], Export],
) -> Iterator[Written]:
    executor = run.executor
    if executor is None and run.workers:
        from multiprocessing import get_context

        pool = ProcessPoolExecutor(run.workers, mp_context=get_context("spawn"))
        stack.callback(pool.shutdown, cancel_futures=True)
        executor = pool
    if executor is None:
        for task in tasks:
            yield task.write(begin(task.member.name))
        return
    yield from _elsewhere(tasks, executor, begin, given)


def _elsewhere(
    tasks: Sequence[Export],
    executor: Executor,
    begin: Begin,
    given: dict[Future[Written], Export],
) -> Iterator[Written]:
    """What comes back, and in `given` what has not come back yet."""
    ours = settings.configured() | share_of(processes_of(executor))
    try:
        for task in tasks:
            given[submitted(executor, _write_with, ours, task)] = task
        for future in completed(list(given)):
            task = given.pop(future)
            begin(task.member.name)
            got = outcome(future, Written, task.member.name, task.places)
            yield got if isinstance(got, Written) else Written(0, 0, (got,))
    finally:
        cancel(list(given))


def _write_with(ours: Mapping[str, Any], task: Export) -> Written:
    """Write one subject with what is set where the work was given out."""
    with settings.of_task(ours):
        return task.write()


def _reason_to_stop(done: Sequence[Written], run: ExecutionOptions) -> str:
    failures = [failure for one in done for failure in one.failures]
    fatal = next((one for one in failures if one.code in FATAL), None)
    if fatal is not None:
        return f"{fatal.code}: {fatal.message}"
    if run.max_failures is not None and len(failures) >= run.max_failures:
        return f"{len(failures)} images failed, and --max-failures allows no more"
    return ""


def _result(tasks: Sequence[Export], done: Sequence[Written], stopped: str) -> CohortResult:
    wanted = sum(len(one.labels) + 1 for task in tasks for one in task.member.parts)
    converted, present = sum(one.converted for one in done), sum(one.present for one in done)
    failures = tuple(failure for one in done for failure in one.failures)
    remaining = max(0, wanted - converted - present - len(failures)) if stopped else 0
    return CohortResult(
        *(converted, present, len(failures), remaining, None, stopped), failures=failures
    )


def _difference(source: Source, path: str) -> str:
    """What tells the image in a file from a source; empty if its voxels and their places do not."""
    try:
        there = open_source(path)
        if there.shape != source.shape:
            return f"holds another image, of shape {there.shape} and not {source.shape}"
        if not there.grid.isclose(source.grid):
            return "its voxels are at other places"
        for box, voxels in pieces(there):
            if not np.array_equal(voxels, source.read(box), equal_nan=voxels.dtype.kind in "fc"):
                return "its voxels differ"
            del voxels  # or it would be held while the next one is read
    except VoxarrayError as error:
        return f"cannot be read ({error.code})"
    return ""
