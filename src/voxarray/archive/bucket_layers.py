"""Label maps and notes of an archive in a bucket: a new manifest, and no object that is changed.

A generation is published by putting ``manifest.json`` in the place of the very one that was read,
which the store lets one of several writers do; the others read it again and go on from there::

    labels/tumour/zarr.json      created first: who creates it has the name
    labels/tumour/...            created
    generations/7.json           a copy of the manifest that is replaced, the same by every writer
    manifest.json                replaced: now, and not before, it is there
    labels/zarr.json             OME-Zarr's list, put again until the manifest stays as it was read

What leaves the archive is deleted after its manifest, the document that holds the name last. Who is
interrupted leaves objects that no manifest names, and their name is taken until ``voxarray clean``
removes them: nobody can tell whether their writer lives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from voxarray.archive import manifest as manifests
from voxarray.archive.changes import (
    Change,
    replaced_meanwhile,
    require_free,
    require_layer,
)
from voxarray.archive.convert import counter, layer_plan
from voxarray.archive.generations import HISTORY, KEPT
from voxarray.archive.layer_leftovers import is_own_list
from voxarray.archive.layer_names import FOLDER, LIST, list_document, names_in, require_name
from voxarray.archive.locate import locate_root
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.named_values import require_named
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.roots import TOP, root_of
from voxarray.archive.source import ArchiveSource, open_archive
from voxarray.archive.staging import Staging
from voxarray.core import memory, settings
from voxarray.core.disk import refusal
from voxarray.core.errors import (
    ArchiveError,
    MissingDataError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.core.progress import Progress
from voxarray.storage.archive_names import is_zip_name
from voxarray.storage.remote import retries
from voxarray.storage.remote.objects import Stamp
from voxarray.storage.remote.writing import Body, WritableObjects
from voxarray.storage.store import SMALL
from voxarray.storage.uploads import body_of, overtaken, spool

_LOG = logging.getLogger(__name__)


def add(
    url: str,
    name: str,
    layer: LabelLayer,
    *,
    all_named: bool,
    options: Options,
    progress: Progress | None,
) -> Manifest:
    """As `voxarray.archive.layers.add_layer`, for an archive in a bucket.

    The label map is written on this machine's disk first (``voxarray.download-directory``).

    Raises:
        ArchiveError: Also if objects of the name are there that no manifest names
            (``INTERRUPTED``).
        SourceChangedError: If the archive was replaced by another one meanwhile.
    """
    archive = _BucketArchive.at(url)
    require_name(name)
    now, _ = archive.current()
    Change().apply(now, archive.url)  # says what is wrong before anything is read
    require_free(name, names_in(now.files, archive.root), archive.url)
    prefix = f"{FOLDER}/{name}/"
    if archive.place.below(archive.root + prefix.rstrip("/")).stamps():
        raise archive.taken(name)
    plan = layer_plan(name, layer, archive.base.grid, archive.base.image.factors, options)
    memory.require(
        plan.projected_peak,
        lambda: f"adding {name} to {archive.url}",
        "use smaller chunks, or raise the budget",
    )
    with _local(archive.url) as area:
        plan.write(area, prefix, counter(progress, plan.voxel_bytes))
        area.settle()
        if all_named:
            require_named(area, prefix, plan, name)
        with _created(archive, name, area) as entries:
            before, made = archive.publish(Change(added={name: entries}))
    archive.tidy(before, made)
    return made


def remove(url: str, name: str) -> Manifest:
    """As `voxarray.archive.layers.remove_layer`."""
    archive = _BucketArchive.at(url)
    require_layer(name, archive.current()[0], archive.url)
    before, made = archive.publish(Change(removed=(name,)))
    archive.tidy(before, made)
    return made


def note(url: str, added: Mapping[str, Any], forgotten: tuple[str, ...]) -> Manifest:
    """As `voxarray.archive.layers.change_notes`."""
    archive = _BucketArchive.at(url)
    before, made = archive.publish(Change(notes=dict(added), forgotten=forgotten))
    archive.tidy(before, made)
    return made


@dataclass(slots=True)
class _BucketArchive:
    """An archive of ours in a bucket.

    Attributes:
        place: Where it is.
        base: Its image.
        identity: What tells it from what others may put in its place.
        root: What its keys begin with.
        is_unknown: Whether a manifest was put, and no answer said that it was.
    """

    place: WritableObjects
    base: ArchiveSource
    identity: str
    root: str
    is_unknown: bool = field(default=False)

    @classmethod
    def at(cls, url: str) -> _BucketArchive:
        """The archive at a URL.

        Raises:
            UnsupportedError: It is a zip file (``SEALED``).
            FormatError: It lies in another archive (``NOT_AN_ARCHIVE``).
        """
        if is_zip_name(url):
            raise UnsupportedError(
                f"{url} is a zip file, which cannot be changed: convert the image and its label "
                "maps together, or convert the image to a folder of objects (.ome.zarr)",
                code="SEALED",
                path=url,
            )
        place = WritableObjects.at(url)
        inside = locate_root(url)
        found = place.fetch(manifests.KEY, SMALL)
        if found is None:
            Manifest.read(inside.store)  # says what is wrong
        now = Manifest.parse(found[0] if found else b"", place.url)
        return cls(place, open_archive(url), now.identity, root_of(now.files))

    @property
    def url(self) -> str:
        """Where, for people."""
        return self.place.url

    def current(self) -> tuple[Manifest, Stamp]:
        """The manifest that is there now.

        Raises:
            SourceChangedError: It is that of another archive, or there is none.
        """
        found = self.place.fetch(manifests.KEY, SMALL)
        now = None if found is None else Manifest.parse(found[0], self.url)
        if found is None or now is None or now.identity != self.identity:
            raise replaced_meanwhile(self.url)
        return now, found[1]

    def publish(self, change: Change) -> tuple[Manifest, Manifest]:
        """Put the manifest that a change makes of the one that is there.

        Returns:
            The one that it replaced, and the new one.

        Raises:
            VoxarrayError: As `Change.apply` and `current`, and what the store refuses.
        """
        in_vain, last = 0, -1
        while in_vain < max(1, int(settings.get("remote-attempts"))):
            now, stamp = self.current()
            # An answer may have been lost, and others may have gone on from what was put.
            if last >= 0 and _is_done(change, now):
                return now, now
            # Of several writers one gets on, so that only what changes nothing is in vain.
            in_vain = in_vain + 1 if now.generation == last else 0
            last = now.generation
            made = change.apply(now, self.url)
            self._keep(now)
            data = made.to_bytes()
            self.is_unknown = True
            is_put = self.place.replace(manifests.KEY, data, stamp)
            if is_put or self.place.holds(manifests.KEY, data):
                return now, made
            self.is_unknown = False
            retries.pause(1 + in_vain)
        raise overtaken(self.place.objects.where(manifests.KEY))

    def tidy(self, before: Manifest, made: Manifest) -> None:
        """Tell other readers of the label maps, and delete what left; it is published anyway."""
        gone = [key for key in before.files if key not in made.files and key != self.root + LIST]
        names = [key for key in gone if self._holds_name(key)]
        old = range(max(1, made.generation - 2 * KEPT), made.generation - KEPT)
        try:
            self._put_list()
            self.place.delete([key for key in gone if key not in names])
            # By these the names are taken: who adds one anew must not meet deletions of the old.
            self.place.delete(names)
            self.place.delete([f"{HISTORY}/{number}.json" for number in old])
        except (VoxarrayError, OSError) as error:
            _LOG.warning(
                "%r is changed, but outdated objects could not be deleted: %s", self.url, error
            )

    def taken(self, name: str) -> ArchiveError:
        """The error of a name of which there are objects already."""
        return ArchiveError(
            f"{self.url} holds objects of a label map {name!r} that is not in the archive's "
            "manifest: another process is adding or removing this label map, or was interrupted; "
            "try again, choose another name, or, if no process writes to the archive, run voxarray "
            "clean --unlocked on the archive",
            code="INTERRUPTED",
            path=self.url,
        )

    def _holds_name(self, key: str) -> bool:
        inside = key[len(self.root) :].split("/")
        return inside[0] == FOLDER and len(inside) == 3 and inside[2] == TOP

    def _keep(self, now: Manifest) -> None:
        """Put the manifest that is replaced beside it: every writer puts the same bytes."""
        key, data = f"{HISTORY}/{now.generation}.json", now.to_bytes()
        if not self.place.create(key, data) and not self.place.holds(key, data):
            self.place.put(key, data)  # that of an archive that was here before

    def _put_list(self) -> None:
        """Bring OME-Zarr's list up to date.

        Of two writers, the later one to look at the manifest has the last word.
        """
        for _ in range(1 + max(1, int(settings.get("remote-attempts")))):
            now, _stamp = self.current()
            entry, key = now.files.get(self.root + LIST), self.root + LIST
            if entry is not None:
                self.place.put(key, list_document(names_in(now.files, self.root)))
            else:
                found = self.place.fetch(key)
                if found is not None and is_own_list(found[0]):
                    self.place.delete([key])
            if self.current()[0].digest == now.digest:
                return


@contextmanager
def _created(
    archive: _BucketArchive, name: str, area: Staging
) -> Iterator[Mapping[str, FileEntry]]:
    """The objects of a label map, and their entries; gone again unless it is published."""
    place, root, holder = archive.place, archive.root, f"{FOLDER}/{name}/{TOP}"
    others = [key for key in area.files if key != holder]

    def put(key: str) -> None:
        data = body_of(f"{area.root}/{key}")
        # The name is ours: what has the same bytes is what an attempt put whose answer was lost.
        if not _is_new(place, root + key, data) and not place.holds(root + key, data):
            raise archive.taken(name)

    if not _is_new(place, root + holder, body_of(f"{area.root}/{holder}")):
        raise archive.taken(name)
    try:
        with ThreadPoolExecutor(max(1, int(settings.get("remote-requests")))) as threads:
            for _ in threads.map(put, others):
                pass
        entries = {root + key: entry for key, entry in area.files.items()}
        _require_all(archive, entries)
        yield entries
    except BaseException:
        if not archive.is_unknown:
            with suppress(VoxarrayError, OSError):
                place.delete([root + key for key in others])
                place.delete([root + holder])
        raise


def _is_new(place: WritableObjects, key: str, data: Body) -> bool:
    """Create an object; False if there was one."""
    for number in range(1, 1 + max(1, int(settings.get("remote-attempts")))):
        if place.create(key, data):
            return True
        if place.stat(key) is not None:
            return False
        retries.pause(number)  # the store was of two minds: 409, and nothing is there
    return False


def _require_all(archive: _BucketArchive, entries: Mapping[str, FileEntry]) -> None:
    folder = archive.root + FOLDER
    seen = archive.place.below(folder).stamps()
    for key, entry in entries.items():
        stamp = seen.get(key[len(folder) + 1 :])
        if stamp is None or stamp.size != entry.size:
            raise MissingDataError(
                f"{key} was deleted or changed in {archive.url} while the label map was added: add "
                "the label map again",
                path=archive.url,
            )


def _is_done(change: Change, now: Manifest) -> bool:
    """Whether a manifest has all that a change makes."""
    entries = {key: entry for one in change.added.values() for key, entry in one.items()}
    return (
        all(now.files.get(key) == entry for key, entry in entries.items())
        and not set(change.removed) & set(names_in(now.files, root_of(now.files)))
        and all(now.metadata.get(key) == value for key, value in change.notes.items())
        and not set(change.forgotten) & set(now.metadata)
    )


@contextmanager
def _local(url: str) -> Iterator[Staging]:
    """A folder of this machine in which a label map is written."""
    try:
        with spool() as folder:
            yield Staging(folder, url)
    except VoxarrayError:
        raise
    except OSError as error:
        raise refusal(error, url) from error
