"""Dividing large images, so that several workers convert one image at once.

That pays if the image can be read in any order, and if it would keep one worker busy for longer
than the others need for all other images.
"""

from __future__ import annotations

import os

from voxarray.archive.convert import planned
from voxarray.archive.partial_writes import PartialWrite, divided, write_part
from voxarray.archive.source import ArchiveSource
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.plan.neighbour_files import with_neighbours
from voxarray.cohort.plan.opened_inputs import Opener
from voxarray.cohort.run.job import Job
from voxarray.cohort.run.lost_additions import is_refused
from voxarray.cohort.run.task import peak_of
from voxarray.cohort.run.throttle import HERE
from voxarray.core import settings
from voxarray.formats._voxels.file_array import PlainFile
from voxarray.formats.nifti.source import NiftiSource
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.storage.folder_lock import FolderLock
from voxarray.storage.hidden_folders import make_hidden_folder

_RANDOM_ACCESS = (ArchiveSource, PlainFile, NiftiSource)
"""Sources of which any plane can be read without those before it."""


def parts_of(job: Job, workers: int) -> dict[str, list[range]]:
    """Planes of the parts of the images that are to be divided, by the name of their archive.

    An image is divided if it has at least as many bytes as the setting ``split-from``, and more
    than half of the average work of a worker.

    Args:
        job: The images; headers of the large ones are opened.
        workers: Number of workers.
    """
    smallest = settings.get_bytes("split-from")
    total = sum(item.size for item in job.items)
    ranges: dict[str, list[range]] = {}
    if not job.divisible:
        return ranges
    for item in job.items:
        if workers < 2 or item.size < smallest or 2 * item.size * workers <= total:
            continue
        if not job.overwrite and _is_refused(item, job):
            continue  # without parts, the conversion refuses it at once, before it reads a voxel
        parts = _parts(item, job.opener_of(item), job.options, workers)
        if parts:
            ranges[item.slug] = parts
    return ranges


def _is_refused(item: Item, job: Job) -> bool:
    return is_refused(CohortLayout.of(job.root).archive(item.slug, job.options.zipped))


def _parts(item: Item, opener: Opener, options: ArchiveOptions, workers: int) -> list[range]:
    try:
        source = opener.open(item).source
    except Exception:  # the conversion meets the same error, and reports it
        return []
    if not isinstance(SlicedSource.of(source).base, _RANDOM_ACCESS):
        return []
    return divided(planned(source, item.kind, options.of_archive("", False)), workers)


def folder_for_parts(item: Item, root: str, options: ArchiveOptions) -> FolderLock:
    """A new folder for the parts of an image, with a shared lock that this process holds."""
    folder = CohortLayout.of(root)
    name = os.path.basename(folder.archive(item.slug, options.zipped))
    return make_hidden_folder(folder.staging, name, shared=True)


def convert_part(
    item: Item,
    opener: Opener,
    options: ArchiveOptions,
    planes: range,
    folder: str,
) -> PartialWrite | Failure:
    """Write some planes of an image; another task makes the archive from all parts.

    Args:
        item: Of the plan.
        opener: Opens its inputs.
        options: Of the cohort.
        planes: The planes of this part.
        folder: Of the parts of this image.
    """
    try:
        with HERE.acquire(peak_of(item)):
            source: Source = opener.open(item).source
            plan = planned(source, item.kind, options.of_archive("", False))
            return write_part(plan, planes, folder)
    except Exception as error:
        failure = failure_of(error, item.origin.source, opener.places)
        series = item.origin.series is not None
        return with_neighbours(failure, error, opener.places, of_series=series)
