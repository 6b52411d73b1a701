"""The images of a cohort as files of another format: a folder per subject, a file per image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.catalogue.part_failures import Failed
from voxarray.cohort.enclosing import in_results, refuse_name_of_image, refuse_results_around
from voxarray.cohort.exported_files import ExportJob, MemberOpener, items_of
from voxarray.cohort.exported_names import names_for_one_file, names_of
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.left_over_files import warn_of_left_over
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.plan import by_size
from voxarray.cohort.run.build import ExecutionOptions, carry_out
from voxarray.cohort.run.engine_choice import choose_engine
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result import CohortResult
from voxarray.cohort.run.result_counts import Tally
from voxarray.cohort.run.task import Result
from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayWarning
from voxarray.core.progress import Progress
from voxarray.formats.registry import writable_format, written_suffixes
from voxarray.storage.remote.address import is_url


def export(
    members: Sequence[Member],
    destination: str | os.PathLike[str],
    suffix: str,
    run: ExecutionOptions,
    watcher: ProgressListener | None = None,
) -> CohortResult:
    """Write every image and label map of some subjects to ``destination/subject/name.suffix``.

    Args:
        members: The subjects.
        destination: Folder, made if it is not there.
        suffix: Of a format of files, with or without its dot.
        run: How to execute it, and when to stop.
        watcher: Told about progress.

    Raises:
        UnsupportedError: If no files are written by that suffix (``UNKNOWN_SUFFIX``).
        FormatError: If the destination is a file, or is or lies in a cohort or an archive
            (``OTHER_FORM``).
    """
    folder = CohortLayout.of(destination)
    written = _checked_suffix(suffix)
    _refuse_place(folder)
    engine = choose_engine(run.workers, run.scheduler, run.executor)
    shared = names_for_one_file(names_of(members), folder.root)
    if run.partition is not None:
        number, count = run.partition
        members = members[number - 1 :: count]
    remarks = _Remarks(watcher or ProgressListener())
    openers = {member.name: MemberOpener(member) for member in members}
    items: list[Item] = []
    for planned, opener in enumerate(openers.values(), 1):
        items += items_of(opener, folder.root, written, shared)
        remarks.planned(planned, len(openers))
    tally = Tally(failures=[Failed(one.slug, one.key, one.failure) for one in items if one.failure])
    to_write = by_size([item for item in items if item.failure is None])
    job = ExportJob(
        to_write,
        lambda item: openers[item.subject],
        folder.root,
        ArchiveOptions(),
        run.overwrite,
        suffix=written,
    )
    with tally.hiding_no_interrupt(len(items)):
        carry_out(engine, job, run, remarks, tally)
        remarks.pass_on()
        warn_of_left_over(items, folder.root, written)
    return tally.result(len(items))


class _Remarks(ProgressListener):
    """Collects the warnings of images, and passes progress on to another listener."""

    def __init__(self, listener: ProgressListener) -> None:
        self._listener, self._names = listener, dict[str, str]()
        self._about: dict[str, list[str]] = {}

    def start(self, items: Sequence[Item]) -> None:
        self._names = {item.slug: item.origin.source for item in items}
        self._listener.start(items)

    def begin(self, item: Item) -> Progress | None:
        return self._listener.begin(item)

    def end(self, result: Result) -> None:
        for text in result.remarks:
            self._about.setdefault(text, []).append(self._names[result.slug])
        self._listener.end(result)

    def planned(self, done: int, total: int) -> None:
        self._listener.planned(done, total)

    def pass_on(self) -> None:
        """Give each warning once, with an example of the images that it is about."""
        for text, names in self._about.items():
            example = min(names)
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            warn_caller(f"{text} ({example}{more})", VoxarrayWarning)


def _refuse_place(folder: CohortLayout) -> None:
    """Refuse a path that is no folder, and folders in cohorts and archives.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    root = folder.root
    above = [] if is_url(root) else [root, *map(str, Path(root).parents)]
    for path in above:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise FormatError(
                f"{path} is not a folder, so no files can be written to {root}: choose another "
                "folder",
                code="OTHER_FORM",
                path=path,
            )
    if folder.is_cohort():
        raise in_results(root, root)
    refuse_results_around(root)
    refuse_name_of_image(folder)


def _checked_suffix(suffix: str) -> str:
    dotted = suffix if suffix.startswith(".") else f".{suffix}"
    image_format = writable_format(f"image{dotted}")
    if image_format is None or image_format.identity == "zarr" or dotted not in written_suffixes():
        files = [known_suffix for known_suffix in written_suffixes() if _is_of_files(known_suffix)]
        raise UnsupportedError(
            f"voxarray writes no files with suffix={suffix!r}: choose one of {', '.join(files)}; "
            "to make a cohort of archives, leave suffix= out",
            code="UNKNOWN_SUFFIX",
        )
    return dotted


def _is_of_files(suffix: str) -> bool:
    image_format = writable_format(f"image{suffix}")
    return image_format is not None and image_format.identity != "zarr"
