"""The zip of a small image, which is in memory until it is written as one file.

Where the file system can make a file without a name, there is no hidden folder, and so no lock that
tells whose it is: the file gets its name when it is synced and was read back, and vanishes if its
process ends before. That is a third of the changes of the file system that a folder takes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from voxarray.archive import zip_file
from voxarray.archive.durability import ShardSync
from voxarray.archive.manifest import FileEntry
from voxarray.archive.staging import Staging, publish, refuse_existing, sync_name, workspace
from voxarray.core.disk import refusal, write_all
from voxarray.core.errors import VoxarrayError
from voxarray.storage.archive_suffixes import ZIP_SUFFIX
from voxarray.storage.atomic_write import followed
from voxarray.storage.destination import local_destination
from voxarray.storage.hidden_folders import folders_made, remove_abandoned
from voxarray.storage.unnamed_file import NoUnnamedFileError, give_name, unnamed_file

_LOG = logging.getLogger(__name__)

_LONGEST = 255 - 30
"""Bytes of a name for which there is room in that of a hidden folder. No archive could ever replace
one with a longer name, which is therefore refused here, too.
"""


class UnnamedZip(Staging):
    """A zip under construction, of which nothing is on disk before `publish`."""

    def publish(self, source: Mapping[str, Any], confirm: Callable[[], None] | None) -> None:
        """Write the zip, and give it its name.

        Args:
            source: Facts about the source, for the manifest.
            confirm: Called when only the name is left; if it raises, nothing is published.

        Raises:
            ArchiveExistsError: Something is at the destination.
            ArchiveError: It reads back otherwise than it was written; ``VERIFY_FAILED``.
            OSError: What the disk refuses.
        """
        data = zip_file.packed(self.members(source))
        try:
            self._publish_unnamed(data, confirm)
        except NoUnnamedFileError:
            with workspace(self.destination, holds=True) as area:
                path = f"{area.root}{ZIP_SUFFIX}"
                zip_file.write_at_once(path, data)
                publish(path, self.destination, False, confirm or _nothing)

    def _publish_unnamed(self, data: bytes, confirm: Callable[[], None] | None) -> None:
        folder, name = os.path.split(self.destination)
        if len(os.fsencode(name)) > _LONGEST:
            raise NoUnnamedFileError
        fd = unnamed_file(folder)
        try:
            write_all(fd, data)
            ShardSync(os.dup(fd), self.destination).finish(FileEntry.of(data))
            if confirm is not None:
                confirm()
            try:
                give_name(fd, self.destination)
            except FileExistsError:
                refuse_existing(self.destination, False)
                raise
        finally:
            os.close(fd)
        sync_name(self.destination, later=False)
        _LOG.info("published %r", self.destination)


def _nothing() -> None:
    pass


@contextmanager
def unnamed_zip(destination: str | os.PathLike[str]) -> Iterator[UnnamedZip]:
    """A zip for a destination where nothing is yet; a link is followed.

    Raises:
        ArchiveExistsError: Something is there.
        ArchiveError: With code ``NO_SPACE`` or ``IO_ERROR`` for what the disk refuses.
    """
    target = followed(local_destination(destination))
    refuse_existing(target, False)
    folder, name = os.path.split(target)
    try:
        with folders_made(folder):
            remove_abandoned(folder, name)  # where an earlier process had to make one
            yield UnnamedZip(target, target, holds=True)
    except VoxarrayError:
        raise  # some of our exceptions are OSErrors, too
    except OSError as error:
        raise refusal(error, target) from error
