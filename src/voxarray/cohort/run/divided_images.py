"""Large images that are converted by several workers at once, each a part of it.

That is of use where the image can be read in any order, and where it alone would keep one worker
busy for longer than the others need for all the rest.
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
from voxarray.cohort.plan.opening import Opener
from voxarray.cohort.run.added_content import is_refused
from voxarray.cohort.run.job import Job
from voxarray.cohort.run.task import peak_of
from voxarray.cohort.run.throttle import HERE
from voxarray.core import settings
from voxarray.formats._voxels.file_array import PlainFile
from voxarray.formats.nifti.source import NiftiSource
from voxarray.source.base import Source
from voxarray.source.window import Window
from voxarray.storage.folder_lock import FolderLock
from voxarray.storage.hidden_folders import make_hidden_folder

_BY_PLACE = (ArchiveSource, PlainFile, NiftiSource)
"""Sources of which any plane is read without those before it."""


def parts_of(job: Job, workers: int) -> dict[str, list[range]]:
    """Planes of the parts of those images that are to be divided, by the name of their archive.

    An image is, if it has as many bytes as the setting ``split-from`` says, and more than half of
    what each worker would do if all did the same.

    Args:
        job: What is to be done; headers of its large images are opened.
        workers: That will do it.
    """
    least = settings.get_bytes("split-from")
    total = sum(item.size for item in job.items)
    found: dict[str, list[range]] = {}
    if not job.divisible:
        return found
    for item in job.items:
        if workers < 2 or item.size < least or 2 * item.size * workers <= total:
            continue
        if not job.overwrite and _is_refused(item, job):
            continue  # which is said at once where it is not divided, before a voxel is read
        parts = _parts(item, job.opener_of(item), job.options, workers)
        if parts:
            found[item.slug] = parts
    return found


def _is_refused(item: Item, job: Job) -> bool:
    return is_refused(CohortLayout.of(job.root).archive(item.slug, job.options.zipped))


def _parts(item: Item, opener: Opener, options: ArchiveOptions, workers: int) -> list[range]:
    try:
        source = opener.open(item).source
    except Exception:  # whoever converts it finds the same, and reports it
        return []
    if not isinstance(Window.of(source).base, _BY_PLACE):
        return []
    return divided(planned(source, item.kind, options.of_archive("", False)), workers)


def folder_for_parts(item: Item, root: str, options: ArchiveOptions) -> FolderLock:
    """A new folder for the parts of an image, of which this process holds a share of the lock."""
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
    """Write some planes of an image, which somebody else makes an archive of.

    Args:
        item: Of the plan.
        opener: Opens what it is made from.
        options: Of the cohort.
        planes: Which.
        folder: Of the parts of this image.
    """
    try:
        with HERE.acquire(peak_of(item)):
            source: Source = opener.open(item).source
            plan = planned(source, item.kind, options.of_archive("", False))
            return write_part(plan, planes, folder)
    except Exception as error:
        return failure_of(error, item.origin.source, opener.places)
