"""Building and publishing an archive, on a local file system or in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from voxarray.archive import zip_file
from voxarray.archive.added_content import manifest_at, refuse_additions
from voxarray.archive.bucket_staging import BucketStaging, bucket_staging
from voxarray.archive.staging import Staging, publish, staging
from voxarray.archive.unnamed_zip import UnnamedZip, unnamed_zip
from voxarray.storage.archive_suffixes import is_zip_name
from voxarray.storage.destination import destination_of
from voxarray.storage.remote.address import is_url
from voxarray.storage.uploads import uploading


def in_the_making(
    destination: str, overwrite: bool, folder: str | None = None, *, holds: bool = False
) -> AbstractContextManager[Staging]:
    """An archive under construction; it is removed unless `finish` publishes it.

    Args:
        destination: Where the archive will be: a local path, of which a link is followed, or a URL
            of a place in a bucket.
        overwrite: Whether an archive may be there already.
        folder: Of the same file system, in which to build it; by default that of the destination.
        holds: Whether all of it stays in memory until it is complete.

    Raises:
        ArchiveExistsError: If the destination exists and ``overwrite`` is False.
        ArchiveError: With code ``NO_SPACE`` or ``IO_ERROR`` for what the disk refuses.
        AccessDeniedError, TransportError: What an object store refuses.
    """
    target = destination_of(destination)
    if is_url(target):
        if is_zip_name(target):
            return _uploaded(target, overwrite, holds)
        return bucket_staging(target, overwrite, holds=holds)
    if holds and not overwrite and is_zip_name(target):
        return unnamed_zip(target)
    return staging(target, overwrite, folder, holds=holds)


@contextmanager
def _uploaded(target: str, overwrite: bool, holds: bool) -> Iterator[Staging]:
    with uploading(target, overwrite) as local, staging(local, False, holds=holds) as area:
        yield area


def finish(
    area: Staging,
    source: Mapping[str, Any],
    overwrite: bool,
    *,
    zipped: bool,
    confirm: Callable[[], None] | None = None,
) -> None:
    """Publish an archive after all its files were written.

    Args:
        area: Where it was made.
        source: Facts about the source, for the manifest.
        overwrite: As for `in_the_making`.
        zipped: Whether it becomes one file. The name that the user gave decides, not that of the
            file that it may be a link to.
        confirm: Called when only the rename is left; if it raises, nothing is published.

    Raises:
        ArchiveExistsError: If another archive has appeared meanwhile, or somebody has added to the
            one that is replaced (``CONTENT_ADDED``).
        VoxarrayError: As `in_the_making`.
    """
    if isinstance(area, BucketStaging):
        if confirm is not None:
            # Before all objects are put: additions that come later are safe anyway, since the
            # manifest is only replaced if it is still the one from the start.
            confirm()
        area.publish(source)
        return
    if isinstance(area, UnnamedZip):
        area.publish(source, confirm)
        return
    if zipped:
        staged = zip_file.pack(area, source)
    else:
        area.seal(source)
        staged = area.root
    # Only after small archives the next one comes soon enough to share the sync of the folder.
    later = area.is_synced_as_one and not zipped
    publish(staged, area.destination, overwrite, partial(_confirm, area, confirm), later=later)


def _confirm(area: Staging, confirm: Callable[[], None] | None) -> None:
    if area.before is not None:
        refuse_additions(area.destination, area.before, manifest_at(area.destination))
    if confirm is not None:
        confirm()
