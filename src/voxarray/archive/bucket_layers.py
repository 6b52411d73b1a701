"""Label maps and notes of an archive in a bucket: a new manifest, and no object that is changed.

A generation is published by a conditional put: ``manifest.json`` is replaced only if it is still
the one that was read. Of several writers the store lets one succeed; the others read it again and
retry::

    labels/tumour/zarr.json      created first: the writer that creates it owns the name
    labels/tumour/...            created
    generations/7.json           a copy of the manifest that is replaced, the same by every writer
    manifest.json                replaced: this step publishes the label map
    labels/zarr.json             OME-Zarr's list, put again until the manifest stays as it was read

Objects that leave the archive are deleted after the manifest is replaced, the document that holds
the name last. A writer that is interrupted leaves objects that no manifest names. Their name stays
taken until ``voxarray clean`` removes them: a bucket has no lock that tells whether a writer runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from voxarray.archive import manifest as manifests
from voxarray.archive.convert import counter, layer_plan
from voxarray.archive.generations import KEPT, REPLACED
from voxarray.archive.label_value_names import require_named
from voxarray.archive.layer_changes import (
    Change,
    replaced_meanwhile,
    require_free,
    require_layer,
)
from voxarray.archive.layer_leftovers import is_own_list
from voxarray.archive.layer_names import FOLDER, LIST, list_document, names_in, require_name
from voxarray.archive.locate import locate_root
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.root_prefix import TOP, root_of
from voxarray.archive.smaller_chunks import advice
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
from voxarray.storage.archive_suffixes import is_zip_name
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
    current, _ = archive.current()
    Change().apply(current, archive.url)  # says what is wrong before anything is read
    require_free(name, names_in(current.files, archive.root), archive.url)
    prefix = f"{FOLDER}/{name}/"
    if archive.place.below(archive.root + prefix.rstrip("/")).stamps():
        raise archive.taken(name)
    plan = layer_plan(name, layer, archive.base.grid, archive.base.image.factors, options)
    memory.require(
        plan.projected_peak,
        lambda: f"adding {name} to {archive.url}",
        lambda: advice(
            lambda other: (
                layer_plan(
                    name, layer, archive.base.grid, archive.base.image.factors, other
                ).projected_peak
            ),
            options,
        ),
    )
    with _local(archive.url) as area:
        plan.write(area, prefix, counter(progress, plan.voxel_bytes))
        area.settle()
        if all_named:
            require_named(area, prefix, plan, name)
        with _created(archive, name, area) as entries:
            before, published = archive.publish(Change(added={name: entries}))
    archive.tidy(before, published)
    return published


def remove(url: str, name: str) -> Manifest:
    """As `voxarray.archive.layers.remove_layer`."""
    archive = _BucketArchive.at(url)
    require_layer(name, archive.current()[0], archive.url)
    before, published = archive.publish(Change(removed=(name,)))
    archive.tidy(before, published)
    return published


def note(url: str, added: Mapping[str, Any], forgotten: tuple[str, ...]) -> Manifest:
    """As `voxarray.archive.layers.change_notes`."""
    archive = _BucketArchive.at(url)
    before, published = archive.publish(Change(notes=dict(added), forgotten=forgotten))
    archive.tidy(before, published)
    return published


def restate(url: str, facts: Mapping[str, Any], identity: str) -> Manifest:
    """As `voxarray.archive.layers.restate_source`."""
    archive = _BucketArchive.at(url)
    if archive.identity != identity:
        raise replaced_meanwhile(archive.url)
    before, published = archive.publish(Change(source=dict(facts)))
    archive.tidy(before, published)
    return published


@dataclass(slots=True)
class _BucketArchive:
    """An archive of ours in a bucket.

    Attributes:
        place: Where it is.
        base: Its image.
        identity: Of its manifest; an archive that replaces this one has another identity.
        root: What its keys begin with.
        is_unknown: Whether a manifest was put, and no answer told whether that succeeded.
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
        bucket = WritableObjects.at(url)
        inside = locate_root(url)
        stored = bucket.fetch(manifests.KEY, SMALL)
        if stored is None:
            Manifest.read(inside.store)  # says what is wrong
        current = Manifest.parse(stored[0] if stored else b"", bucket.url)
        return cls(bucket, open_archive(url), current.identity, root_of(current.files))

    @property
    def url(self) -> str:
        """Where it is, for messages."""
        return self.place.url

    def current(self) -> tuple[Manifest, Stamp]:
        """The manifest that is there now.

        Raises:
            SourceChangedError: It is that of another archive, or there is none.
        """
        stored = self.place.fetch(manifests.KEY, SMALL)
        manifest = None if stored is None else Manifest.parse(stored[0], self.url)
        if stored is None or manifest is None or manifest.identity != self.identity:
            raise replaced_meanwhile(self.url)
        return manifest, stored[1]

    def publish(self, change: Change) -> tuple[Manifest, Manifest]:
        """Apply a change to the manifest that is there, and put the result in its place.

        Returns:
            The manifest that was replaced, and the new one.

        Raises:
            VoxarrayError: As `Change.apply` and `current`, and what the store refuses.
        """
        in_vain, last = 0, -1
        while in_vain < max(1, int(settings.get("remote-attempts"))):
            current, stamp = self.current()
            # The answer to an earlier put may have been lost: then the change is published, and
            # other writers may have built on it.
            if last >= 0 and _is_done(change, current):
                return current, current
            # Each lost race means that another writer succeeded: only attempts after which the
            # generation is the same count as failures.
            in_vain = in_vain + 1 if current.generation == last else 0
            last = current.generation
            successor = change.apply(current, self.url)
            self._keep(current)
            data = successor.to_bytes()
            self.is_unknown = True
            is_put = self.place.replace(manifests.KEY, data, stamp)
            if is_put or self.place.holds(manifests.KEY, data):
                return current, successor
            self.is_unknown = False
            retries.pause(1 + in_vain)
        raise overtaken(self.place.objects.where(manifests.KEY))

    def tidy(self, before: Manifest, published: Manifest) -> None:
        """Update OME-Zarr's list, and delete objects that left the archive.

        The change is published already, so errors are only logged.
        """
        obsolete = [
            key for key in before.files if key not in published.files and key != self.root + LIST
        ]
        names = [key for key in obsolete if self._holds_name(key)]
        old = range(max(1, published.generation - 2 * KEPT), published.generation - KEPT)
        try:
            self._put_list()
            self.place.delete([key for key in obsolete if key not in names])
            # Last, since these hold the names: a writer that takes a name again must not have its
            # new objects deleted as old ones.
            self.place.delete(names)
            self.place.delete([f"{REPLACED}/{number}.json" for number in old])
        except (VoxarrayError, OSError) as error:
            _LOG.warning(
                "%r is changed, but outdated objects could not be deleted: %s", self.url, error
            )

    def taken(self, name: str) -> ArchiveError:
        """The error for a name under which there are objects already."""
        return ArchiveError(
            f"{self.url} holds objects of a label map {name!r} that is not in the archive's "
            "list of files (manifest.json): another process is adding or removing this label map, "
            "or was interrupted; try again, choose another name, or, if no process writes to the "
            "archive, run voxarray clean --unlocked on the archive",
            code="INTERRUPTED",
            path=self.url,
        )

    def _holds_name(self, key: str) -> bool:
        inside = key[len(self.root) :].split("/")
        return inside[0] == FOLDER and len(inside) == 3 and inside[2] == TOP

    def _keep(self, replaced: Manifest) -> None:
        """Keep a copy of the manifest that is replaced; every writer puts the same bytes."""
        key, data = f"{REPLACED}/{replaced.generation}.json", replaced.to_bytes()
        if not self.place.create(key, data) and not self.place.holds(key, data):
            self.place.put(key, data)  # the other copy is of an archive that was here before

    def _put_list(self) -> None:
        """Bring OME-Zarr's list up to date.

        Two writers may do this at once. Each repeats it until the manifest is the same before and
        after, so that the list agrees with the last manifest.
        """
        for _ in range(1 + max(1, int(settings.get("remote-attempts")))):
            current, _stamp = self.current()
            entry, key = current.files.get(self.root + LIST), self.root + LIST
            if entry is not None:
                self.place.put(key, list_document(names_in(current.files, self.root)))
            else:
                stored = self.place.fetch(key)
                if stored is not None and is_own_list(stored[0]):
                    self.place.delete([key])
            if self.current()[0].digest == current.digest:
                return


@contextmanager
def _created(
    archive: _BucketArchive, name: str, area: Staging
) -> Iterator[Mapping[str, FileEntry]]:
    """Create the objects of a label map; they are deleted if publishing it fails.

    Yields:
        Entries of the objects, by key.
    """
    bucket, root, name_document = archive.place, archive.root, f"{FOLDER}/{name}/{TOP}"
    others = [key for key in area.files if key != name_document]

    def put(key: str) -> None:
        data = body_of(f"{area.root}/{key}")
        # This writer owns the name: an object with the same bytes is its own, put by an attempt
        # whose answer was lost.
        if not _is_new(bucket, root + key, data) and not bucket.holds(root + key, data):
            raise archive.taken(name)

    if not _is_new(bucket, root + name_document, body_of(f"{area.root}/{name_document}")):
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
                bucket.delete([root + key for key in others])
                bucket.delete([root + name_document])
        raise


def _is_new(place: WritableObjects, key: str, data: Body) -> bool:
    """Create an object; False if there was one."""
    for number in range(1, 1 + max(1, int(settings.get("remote-attempts")))):
        if place.create(key, data):
            return True
        if place.stat(key) is not None:
            return False
        retries.pause(number)  # the store answered 409 (conflict), and yet there is no object
    return False


def _require_all(archive: _BucketArchive, entries: Mapping[str, FileEntry]) -> None:
    folder = archive.root + FOLDER
    stamps = archive.place.below(folder).stamps()
    for key, entry in entries.items():
        stamp = stamps.get(key[len(folder) + 1 :])
        if stamp is None or stamp.size != entry.size:
            raise MissingDataError(
                f"{key} was deleted or changed in {archive.url} while the label map was added: add "
                "the label map again",
                path=archive.url,
            )


def _is_done(change: Change, manifest: Manifest) -> bool:
    """Whether a manifest has all that a change makes."""
    entries = {key: entry for files in change.added.values() for key, entry in files.items()}
    return (
        all(manifest.files.get(key) == entry for key, entry in entries.items())
        and not set(change.removed) & set(names_in(manifest.files, root_of(manifest.files)))
        and all(manifest.metadata.get(key) == value for key, value in change.notes.items())
        and not set(change.forgotten) & set(manifest.metadata)
        and all(manifest.source.get(key) == value for key, value in change.source.items())
    )


@contextmanager
def _local(url: str) -> Iterator[Staging]:
    """A local folder in which a label map is written."""
    try:
        with spool() as folder:
            yield Staging(folder, url)
    except VoxarrayError:
        raise
    except OSError as error:
        raise refusal(error, url) from error
