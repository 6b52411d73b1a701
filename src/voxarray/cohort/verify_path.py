"""Verification of a path: an archive, a cohort, or a folder with both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from voxarray.archive.verify import Problem, compare, examine
from voxarray.cohort.discover.archives import Holdings, holdings
from voxarray.cohort.discover.manifest_table import columns_of
from voxarray.cohort.discover.search import is_manifest, search
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import InputSelection
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.verify_cohort import Verdict, refused, verify_below, verify_cohort
from voxarray.core.errors import FormatError, MissingFileError, UnsupportedError, VoxarrayError
from voxarray.core.given_paths import path_text, path_texts
from voxarray.core.progress import Progress, ProgressOption, reporting
from voxarray.formats.registry import format_of, open_source
from voxarray.storage.remote.address import as_local, is_url


def verify(
    path: str | os.PathLike[str],
    *,
    source: Any = None,
    quick: bool = False,
    progress: ProgressOption = None,
) -> list[Problem]:
    """Compare every byte of an archive, or of all archives in a cohort or folder, with checksums.

    In a cohort, every planned archive must exist, and the catalogue must list it, too.

    Examples:
        >>> scan = vx.testing.sample()
        >>> scan.save("scan.nii.gz")
        >>> done = vx.convert("scan.nii.gz", "scan.ome.zarr")
        >>> vx.verify("scan.ome.zarr", source="scan.nii.gz")
        []

    Args:
        path: An archive, a cohort, or a folder that holds either at any depth.
        source: Source of the archive or cohort, to compare voxel by voxel, too.
        quick: Compare only names and sizes.
        progress: True shows a progress bar, False none, None (the default) only in a terminal or
            notebook; or a function of (bytes done, bytes in all).

    Returns:
        The problems; an empty list means that all is well. Each problem has a ``code``, a
        ``where``, and a ``message`` that says what was seen and expected.

    Raises:
        MissingFileError: If a folder holds no archive (``NOTHING_FOUND``).
        FormatError: If sources are given for more than one archive or cohort
            (``TOO_MANY_ARCHIVES``).
        UnsupportedError: If it is a file of another format (``NOT_AN_ARCHIVE``).
    """
    text = as_local(path_text(path))
    require_archive(text)
    with reporting(progress, os.path.basename(text)) as report:
        begin: Callable[[str], Progress] | None = None if report is None else lambda _: report
        contents = holdings([text])
        if contents.barren:
            raise MissingFileError(
                f"no archive in {text}: give archives, cohorts, or folders that contain them",
                code="NOTHING_FOUND",
                path=text,
            )
        if source is not None:
            verdicts = verify_against(contents, source, quick=quick, begin=begin)
        else:
            verdicts = verify_below([text], quick=quick, begin=begin)
        return [
            replace(problem, where=f"{verdict.name}: {problem.where}")
            for verdict in verdicts
            for problem in verdict.problems
        ]


def require_archive(path: str) -> None:
    """Refuse an image file that is no archive, which would be reported as damaged.

    Raises:
        UnsupportedError: Naming what it is (``NOT_AN_ARCHIVE``).
    """
    image_format = None if is_url(path) or not os.path.isfile(path) else format_of(path)
    if image_format is not None and image_format.identity != "zarr":
        raise UnsupportedError(
            f"{path} is a file of the format {image_format.name}, and verify checks only archives: "
            "voxarray info shows what the file holds",
            code="NOT_AN_ARCHIVE",
            path=path,
        )


def verify_against(
    contents: Holdings,
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    quick: bool = False,
    begin: Callable[[str], Progress] | None = None,
) -> Iterator[Verdict]:
    """Check one archive or one cohort, and compare it voxel by voxel with its sources.

    Args:
        contents: What is to be checked.
        sources: What it was made from; for an archive, one source.
        quick: Compare only names and sizes before voxels are compared.
        begin: Called with the name of an archive; returns the function to call with bytes done and
            in all.

    Raises:
        FormatError: If more is to be checked, or there are several sources for one archive
            (``TOO_MANY_ARCHIVES``).
    """
    source_paths = path_texts(sources)
    require_comparable(contents, source_paths)
    yield from map(refused, contents.refused)
    if contents.cohorts:
        root = contents.cohorts[0].root
        inputs = search(source_paths, root, _columns(contents.cohorts[0], source_paths))
        locations = {item.source: item.location for item in inputs}
        yield from verify_cohort(root, quick=quick, locations=locations, begin=begin)
        return
    path = contents.archives[0]
    report = None if begin is None else begin(os.path.basename(path))
    examination = examine(path, report, quick=quick)
    problems = examination.problems or compare(path, open_source(source_paths[0]), report)
    yield Verdict.of(path, examination, problems)


def _columns(folder: CohortLayout, sources: Sequence[str]) -> InputSelection:
    """The columns of manifests of which a cohort was made: its images are called after them."""
    tables = [
        columns_of(os.path.expanduser(name)) for name in map(as_local, sources) if is_manifest(name)
    ]
    try:
        items = Plan.read(folder.plan).items if tables else ()
    except (VoxarrayError, OSError):  # which is told with the cohort
        return InputSelection()
    names = [item.facts.get("_image", item.image) for item in items]
    names += [layer.name for item in items for layer in item.layers]
    in_all = [name for name in dict.fromkeys(names) if all(name in table for table in tables)]
    return InputSelection(image_columns=tuple(in_all))


def require_comparable(contents: Holdings, sources: Sequence[str | os.PathLike[str]]) -> None:
    """Raise `FormatError` (``TOO_MANY_ARCHIVES``) unless sources belong to what was found."""
    archives, cohorts = len(contents.archives), len(contents.cohorts)
    if (cohorts, archives) == (1, 0) or ((cohorts, archives) == (0, 1) and len(sources) == 1):
        return
    raise FormatError(
        f"expected one archive and its source, or one cohort and its sources, but found archives: "
        f"{archives}, cohorts: {cohorts}, sources: {len(sources)}; verify them one by one",
        code="TOO_MANY_ARCHIVES",
    )
