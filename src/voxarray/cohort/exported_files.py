"""One image of a cohort as a file of another format: what is run for it, here or in a worker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from voxarray.archive.partial_writes import PartialWrite
from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.exported_names import Name, refuse_linked_place, target_of
from voxarray.cohort.plan.archive_names import slug
from voxarray.cohort.plan.failures import failure_of, redact_paths
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.cohort.plan.item import Failure, Header, Input, Item
from voxarray.cohort.plan.opened_inputs import Opened
from voxarray.cohort.run.captured_warnings import capture_warnings
from voxarray.cohort.run.job import Job
from voxarray.cohort.run.resource_usage import metered
from voxarray.cohort.run.task import Result, Status
from voxarray.core.errors import ArchiveExistsError, FormatError, VoxarrayError
from voxarray.core.progress import Progress
from voxarray.formats.registry import load, open_source, writable_format
from voxarray.geometry.grid import Grid
from voxarray.image import Image, LabelMap
from voxarray.saving import convert, projected_peak
from voxarray.source.base import Source
from voxarray.source.dropped_blocks import dropped_afterwards
from voxarray.source.pieces import pieces
from voxarray.source.storable import refuse_beyond_disks
from voxarray.storage.uploads import spool

_NO_STAMP = InputFingerprint(0, 0, "")
"""Nothing is planned ahead: archives are those of this moment."""


@dataclass(frozen=True, slots=True)
class MemberOpener:
    """Opens the images of a subject as they are.

    Attributes:
        member: The subject.
    """

    member: Member

    @property
    def places(self) -> dict[str, str]:
        root = self.member.root
        return {os.path.join(root, part.archive): part.archive for part in self.member.parts}

    def image(self, name: str) -> Image:
        """One of its images; nothing is read."""
        return self.member.subject().get_image(name)

    def open(self, item: Item) -> Opened:
        source = self.image(item.image).source
        return Opened(source, source.label_table)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTask:
    """One image that becomes a file, and all that is needed: it can be sent to a worker.

    Attributes:
        item: The image.
        opener: Opens it.
        root: Absolute path, or URL, of the folder of all subjects.
        suffix: Of the file.
        overwrite: Replace the file if it is there.
    """

    item: Item
    opener: MemberOpener
    root: str
    suffix: str
    overwrite: bool

    def run(self, progress: Progress | None = None) -> Result:
        """Write the file, unless it is there with the same voxels in the same places."""
        item, places = self.item, self.opener.places
        failure: Failure | None = None
        with metered() as cost, capture_warnings() as remarks:
            try:
                status: Status = "converted" if self._write(progress) else "present"
                if status == "present":
                    remarks.clear()  # of what was made only to be compared
            except Exception as error:
                status, failure = "failed", failure_of(error, item.origin.source, places)
        return Result(
            item.slug,
            status,
            item.key,
            failure,
            cost.seconds,
            cost.peak,
            item.size if status == "converted" else 0,
            tuple(redact_paths(text, places) for text in dict.fromkeys(remarks)),
        )

    def _write(self, progress: Progress | None) -> bool:
        """Whether it had to be written."""
        item = self.item
        target = target_of(item.subject, item.image, self.root, self.suffix)
        image = self.opener.image(item.image)
        with dropped_afterwards([image.source]):
            try:
                convert(
                    image, target, labels={}, overwrite=self.overwrite, progress=progress or False
                )
            except ArchiveExistsError as error:
                why = _difference(image.source, target)
                if not why:
                    return False
                existing = error.path or target
                if existing != target and not os.path.lexists(target):
                    # Of two files that belong together, this run's or somebody else's.
                    why = f"{target}, which belongs to it, is missing"
                raise ArchiveExistsError(
                    f"{existing} exists already, and {why}: choose another folder, or pass "
                    "overwrite=True (--overwrite)",
                    path=existing,
                ) from None
        return True


@dataclass(frozen=True, slots=True)
class ExportJob(Job):
    """Images that become files.

    Attributes:
        suffix: Of the files.
    """

    suffix: str = ""

    def task(  # type: ignore[override]  # engines know `item`, `root` and `run` of tasks alone
        self,
        item: Item,
        ignore_active_worker: bool = True,  # noqa: ARG002  # two that write a file do no harm
        parts: Sequence[PartialWrite | Failure] = (),  # noqa: ARG002  # there are none
    ) -> ExportTask:
        """What writes one of the files."""
        opener = cast(MemberOpener, self.opener_of(item))
        return ExportTask(
            item=item, opener=opener, root=self.root, suffix=self.suffix, overwrite=self.overwrite
        )

    @property
    def divisible(self) -> bool:
        """Never: a file is written from its first voxel to its last."""
        return False

    def is_there(self, item: Item) -> bool:  # noqa: ARG002
        """Whether the file is whole: only who reads it could tell."""
        return False

    def noted(self, result: Result) -> Result:
        """Files have no journal: the result says it all."""
        return result


def items_of(
    opener: MemberOpener, root: str, suffix: str, shared: Mapping[Name, Name]
) -> list[Item]:
    """The images of a subject by their headers, those that cannot be written included.

    Args:
        opener: Of the subject.
        root: Folder of all subjects.
        suffix: Of the files.
        shared: Names that the file system takes for those of other images, and those.
    """
    subject = opener.member.name
    try:
        images = opener.member.subject().get_images_dict(intensity_only=False)
    except VoxarrayError as error:
        failure = failure_of(error, subject, opener.places)
        return [_item(subject, part.image, subject, None, failure) for part in opener.member.parts]
    items = []
    for name, image in images.items():
        called, header, failed = f"{subject}: {name}", None, None
        try:
            target = target_of(subject, name, root, suffix)
            _refuse_shared(shared.get((subject, name)), target)
            refuse_linked_place(target, root)
            header = _header(image.source, target)
        except Exception as error:
            failed = failure_of(error, called, opener.places)
        items.append(_item(subject, name, called, header, failed, isinstance(image, LabelMap)))
    return items


def _refuse_shared(other: Name | None, target: str) -> None:
    if other is not None:
        raise FormatError(
            f"{target} would also be the file of the image {other[1]!r} of the subject "
            f"{other[0]!r}, since this file system treats the two names as one: write one of the "
            "images into another folder (choose it with a query)",
            code="NAME_COLLISION",
        )


def _item(
    subject: str,
    image: str,
    called: str,
    header: Header | None,
    failure: Failure | None,
    is_label: bool = False,
) -> Item:
    return Item(
        slug=slug(subject, image),
        subject=subject,
        image=image,
        kind="label" if is_label else "intensity",
        origin=Input(called, _NO_STAMP),
        header=header,
        key="",
        failure=failure,
    )


def _header(source: Source, target: str) -> Header:
    refuse_beyond_disks(source)
    x, y, z = source.grid.spacing
    return Header(
        shape=source.shape,
        spacing=(float(x), float(y), float(z)),
        orientation="".join(source.grid.orientation),
        dtype=source.dtype.name,
        voxel_bytes=int(np.prod(source.shape, dtype=np.int64)) * source.dtype.itemsize,
        peak=projected_peak(source, target),
    )


def _difference(source: Source, path: str) -> str:
    """What tells the image in a file from a source; empty if nothing that the file holds does."""
    try:
        existing = open_source(path)
        difference = _differing(
            existing, source, _held_dtype(source, path), _held_grid(source, path)
        )
        written = writable_format(path)
        if not difference or written is None or not written.changes_voxels:
            return difference
        # Only a file that is made in the same way shows what such a format leaves of the voxels.
        with spool() as folder:
            fresh = os.path.join(folder, os.path.basename(path))
            convert(source, fresh, labels={}, progress=False)
            fresh_source = open_source(fresh)
            difference = _differing(existing, fresh_source, fresh_source.dtype, fresh_source.grid)
    except VoxarrayError as error:
        return f"cannot be read ({error.code})"
    return f"{difference} (compared with a new file of the same format)" if difference else ""


def _differing(existing: Source, source: Source, dtype: np.dtype, grid: Grid) -> str:
    """What tells one image from another, of which a file holds this type and this grid."""
    if existing.shape != source.shape:
        return f"holds another image, of shape {existing.shape} instead of {source.shape}"
    # MINC's type depends on the values, too; they are compared below, whatever the type.
    if existing.dtype not in (dtype, source.dtype):
        return f"holds {existing.dtype.name} voxels instead of {dtype.name} ones"
    if not existing.grid.isclose(grid):
        return "its affine is different"
    for box, voxels in pieces(existing):
        if not np.array_equal(voxels, source.read(box), equal_nan=voxels.dtype.kind in "fc"):
            return "its voxels differ"
        del voxels  # or it would be held while the next one is read
    return ""


def _held_grid(source: Source, path: str) -> Grid:
    """The grid of a source as a file holds it; pictures hold no place in a patient."""
    written = writable_format(path)
    if written is None or written.held_affine is None:
        return source.grid
    return Grid(source.grid.shape, load(written.held_affine)(source))


def _held_dtype(source: Source, path: str) -> np.dtype:
    """The type of voxels that are read from a file of a source, in native byte order."""
    written = writable_format(path)
    if written is not None and written.held_dtype is not None:
        dtype: np.dtype = load(written.held_dtype)(source, path)
        return dtype
    return np.dtype(np.uint8) if source.dtype == np.bool_ else source.dtype
