"""Converting many images into a cohort, by one call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

from voxarray.cohort.discover.patterns import Patterns, pattern_pairs
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.build import ExecutionOptions, Sources, build
from voxarray.cohort.run.progress import ProgressListener, bars
from voxarray.cohort.run.result import CohortResult
from voxarray.cohort.run.task import Result
from voxarray.core.progress import Progress, ProgressOption
from voxarray.geometry.pyramid_levels import Levels


def convert_cohort(
    sources: Sources,
    destination: str | os.PathLike[str],
    *,
    image_patterns: Patterns = (),
    label_patterns: Patterns = (),
    image_columns: Sequence[str] = (),
    label_columns: Sequence[str] = (),
    subject_column: str | None = None,
    keep_metadata: Sequence[str] = (),
    codec: str | None = None,
    levels: Levels = None,
    chunks: int | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    partition: tuple[int, int] | None = None,
    max_failures: int | None = None,
    retry_failed: bool = False,
    zip: bool = False,  # noqa: A002  # what the command line calls it
    memory: int | str | None = None,
    executor: Executor | None = None,
    overwrite: bool = False,
    progress: ProgressOption = None,
) -> CohortResult:
    """Convert the images in some sources into a cohort.

    Images that are up to date in the cohort are not converted again: call this again to
    resume. Images that cannot be converted are named in the result and in the cohort's report; the
    others are converted.

    Examples:
        >>> scan = vx.testing.sample()
        >>> import os
        >>> os.makedirs("scans")
        >>> scan.save("scans/a.nii.gz")
        >>> done = vx.convert_cohort("scans", "cohort", progress=False)
        >>> done.converted, done.failed, len(vx.Cohort("cohort"))
        (1, 0, 1)

    Args:
        sources: Files, folders, globs, a BIDS dataset, a manifest (``.csv``, ``.tsv``,
            ``.parquet``), a list of paths or URLs (``.txt``), or URLs; one or several.
        destination: Folder of the cohort.
        image_patterns: Patterns of image files in the folders among the sources, such as
            ``"**/*_t1.nii.gz"``. The subject's name is all that the stars match, folders of ``**``
            included: ``sub-1/a`` for ``sub-1/a_t1.nii.gz``. To choose one part, write
            ``{subject}``. In a mapping, the keys are the names of the images, and each has one
            pattern or several.
        label_patterns: As ``image_patterns``, for label maps. A label map belongs to the images of
            its subject; if several of these have its grid, it is stored with the first one of
            ``image_patterns``. Without ``image_patterns``, the subject of an image is its path
            below the folder, without the suffix.
        image_columns: Columns of a manifest that hold paths of images. A relative path is relative
            to the folder of the manifest.
        label_columns: Columns of a manifest that hold paths of label maps.
        subject_column: Column of a manifest that names the subject.
        keep_metadata: Header fields, and columns of a manifest or of ``participants.tsv``, to keep
            in the catalogue, though they may identify a patient.
        codec: Profile of the archives' codec: one of the profiles that `Image.save` lists.
        levels: Pyramid levels, as `Image.save` has them.
        chunks: Edge of chunks, in voxels.
        workers: Processes on this machine; 0 converts in the current process.
        scheduler: Address of a running dask scheduler.
        partition: ``(i, n)``: only part ``i`` of ``n``, ``i`` from 1 to ``n``, of the plan that
            ``voxarray plan`` wrote before. The result then counts this part only. When all parts
            are done, ``voxarray finalise`` makes the catalogue.
        max_failures: Stop after so many failures.
        retry_failed: Also retry images that failed because of their content, such as damaged files.
            Other failures are retried anyway.
        zip: One ``.ozx`` file per image.
        memory: Memory budget, in bytes or as ``"4 GiB"``; by default the setting
            ``voxarray.memory-budget`` (in dask's configuration).
        executor: Any `concurrent.futures.Executor`, or an executor of submitit, that runs the
            conversions. If it starts processes on this machine, they share the memory budget and
            the cores.
        overwrite: Replace all existing archives, even those that are up to date. Label maps and
            notes that were added to them are deleted, and a warning names them first. To make only
            one archive again, delete it and convert without ``overwrite``.
        progress: True shows a progress bar, False none, None (the default) only in a terminal or
            notebook; or a function of (bytes done, bytes in all).

    Returns:
        A summary: how many images were converted, up to date, failed and remaining.

    Raises:
        MissingFileError: If a source is missing, or ``partition`` is given and there is no plan.
        FormatError: If the folder holds a cohort of other sources (``OTHER_SOURCE``), or if its
            archives are zipped and ``zip`` is false, or the reverse (``OTHER_FORM``). If the cohort
            was made with patterns or columns, and now there are none (``OTHER_PATTERNS``).
        ArchiveError: If writing fails (``NO_SPACE``, ``IO_ERROR``).
        StateError: If ``workers`` are asked for by a script without
            ``if __name__ == "__main__":`` (``NO_MAIN_GUARD``).
        TransportError: If no worker started (``NO_WORKERS``), or no scheduler answers
            (``NO_SCHEDULER``). If the run stops later, after some images were converted or failed,
            there is no error: the result says why it stopped.
        KeyboardInterrupt: If Ctrl-C ended the run. The catalogue and the report have what is done:
            call this again to go on.
        SystemExit: As for Ctrl-C, if SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 or SIGXCPU ended the run.
            The exit code is 75.

    Warns:
        VoxarrayWarning: If ``overwrite`` deletes label maps or notes that were added to archives
            (``ADDITIONS_DELETED``); if archives are made again, since options changed
            (``OPTIONS_CHANGED``); or if the cohort was made with other patterns or columns
            (``PATTERNS_CHANGED``).
    """
    import dask.config

    options = ArchiveOptions(levels, chunks, codec, zip, keep_metadata=tuple(keep_metadata))
    choice = InputSelection(
        pattern_pairs(image_patterns),
        pattern_pairs(label_patterns),
        tuple(image_columns),
        tuple(label_columns),
        subject_column,
    )
    run = ExecutionOptions(
        workers, scheduler, partition, max_failures, retry_failed, overwrite, executor
    )
    budget = {} if memory is None else {"voxarray.memory-budget": memory}
    with dask.config.set(budget), watching(progress) as watcher:
        made = build(sources, destination, options=options, choice=choice, run=run, watcher=watcher)
    made.require_able()
    return made


@contextmanager
def watching(option: ProgressOption) -> Iterator[ProgressListener]:
    """The listener for a `ProgressOption`, for many images."""
    if callable(option):
        yield _Counter(option)
    elif option is False:
        yield ProgressListener()
    else:
        with bars(anywhere=option is True) as watcher:
            yield watcher


class _Counter(ProgressListener):
    """Calls a function with the bytes of voxels done and in all, after each image."""

    def __init__(self, report: Progress) -> None:
        self._report, self._sizes, self._done, self._total = report, dict[str, int](), 0, 0

    def start(self, items: Sequence[Item]) -> None:
        self._sizes = {item.slug: item.size for item in items}
        self._total = sum(self._sizes.values())
        self._report(0, self._total)

    def end(self, result: Result) -> None:
        self._done += self._sizes.get(result.slug, 0)
        self._report(self._done, self._total)
