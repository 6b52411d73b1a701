"""Finding images among the objects of a bucket, as `voxarray.cohort.discover.files` in folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from voxarray.archive.metadata import NODE_DOCUMENTS
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.files import joined
from voxarray.cohort.discover.listing import BESIDE, DOTS, NAMED_ONLY, RESULTS, is_beside
from voxarray.cohort.folder import CohortLayout
from voxarray.formats.dicom.detect import SUFFIXES as DICOM_SUFFIXES
from voxarray.formats.registry import (
    detached_suffixes,
    format_of,
    known_suffixes,
    longest_suffix,
    names_archive,
    searched_suffixes,
)
from voxarray.storage.archive_suffixes import ZIP_SUFFIXES
from voxarray.storage.remote.address import OBJECT_STORES, Address, is_url
from voxarray.storage.remote.writing import WritableObjects

_OF_COHORTS = ("plan.json", "catalogue.parquet")


def is_prefix(url: str) -> bool:
    """Whether a URL looks like a folder of a bucket; no request is made.

    The URL of an image has the suffix of a format, or lies in an archive.
    """
    if not is_url(url):
        return False
    address = Address.parse(url)
    if address.scheme not in OBJECT_STORES:
        return False
    if any(part.lower().endswith((".zarr", *ZIP_SUFFIXES)) for part in address.path.split("/")):
        return False
    return not longest_suffix(address.name or "/", known_suffixes())


def objects_below(url: str, census: Census, *, destination: str, alone: bool) -> list[str]:
    """Names of the images below a prefix, sorted; the empty one is the prefix itself.

    The DICOM files of a folder count as one image, named after the folder. Opening it fails, since
    series are not read from buckets.

    Args:
        url: The prefix.
        census: Counts the files.
        destination: Of the cohort; its results are left out.
        alone: Whether this is the only source: then, if it is a cohort without other images, its
            archives are the images.
    """
    bucket = WritableObjects.at(url)
    keys = [key for key in bucket.stamps() if key]
    if any(key in NODE_DOCUMENTS for key in keys) or not keys:
        census.take()
        return [""]
    cohorts = _cohorts(keys)
    if destination.startswith(f"{bucket.url}/"):
        cohorts[destination[len(bucket.url) + 1 :] + "/"] = True
    sorted_objects = _Sorted(frozenset(keys), cohorts, census)
    for key in keys:
        sorted_objects.add(key)
    for name, count in sorted_objects.files.items():
        if count > 1:
            census.files[joined(url, name)] = count
    if not sorted_objects.images and alone and "" in cohorts:
        archives = CohortLayout.of(bucket.url).archives()
        sorted_objects.images.update(archive[len(bucket.url) + 1 :] for archive in archives)
        census.take(len(sorted_objects.images))
    return sorted(sorted_objects.images)


def _cohorts(keys: Collection[str]) -> dict[str, bool]:
    """Folders of cohorts, with their final slash."""
    folders = {
        key[: -len(name)]
        for key in keys
        for name in _OF_COHORTS
        if key == name or key.endswith(f"/{name}")
    }
    return {
        folder: True
        for folder in folders
        if any(key.startswith((f"{folder}subjects/", f"{folder}journal/")) for key in keys)
    }


class _Sorted:
    """Objects, sorted into images and others."""

    def __init__(self, keys: Collection[str], cohorts: Mapping[str, bool], census: Census) -> None:
        self.keys, self.cohorts, self.census = keys, cohorts, census
        self.images: set[str] = set()
        self.files = Counter[str]()
        self._searched, self._known = searched_suffixes(), known_suffixes()
        self._results = [
            (folder, tuple(f"{folder}{name}" for name in CohortLayout("").results))
            for folder in cohorts
        ]
        self._zarr = {
            key.rpartition("/")[0] for key in keys if key.rpartition("/")[2] in NODE_DOCUMENTS
        }

    def add(self, key: str) -> None:
        """Count an object as an image, a part of one, or ignored."""
        parts = key.split("/")
        if any(part.startswith(".") for part in parts if part not in NODE_DOCUMENTS):
            self.census.ignore(DOTS)
        elif self._is_result(key):
            self.census.ignore(RESULTS)
        elif (top := self._archive(parts)) is not None:
            self._take(top)
        else:
            self._add_file(key)

    def _is_result(self, key: str) -> bool:
        return any(
            key.startswith(f"{folder}subjects/")
            or any(key == name or key.startswith(f"{name}/") for name in names)
            for folder, names in self._results
        )

    def _archive(self, parts: list[str]) -> str | None:
        """The archive, or other Zarr store, that an object lies in."""
        for number in range(1, len(parts)):
            folder = "/".join(parts[:number])
            if folder in self._zarr or names_archive(folder):
                return folder
        return None

    def _add_file(self, key: str) -> None:
        suffix = longest_suffix(key, self._searched)
        if suffix in DICOM_SUFFIXES:
            folder = key.rpartition("/")[0]
            self.images.add(folder)
            self._take_part(folder)
        elif suffix:
            header = self._header(key, suffix)
            if header is None:
                self.files[key] += 1
                self._take(key)
            else:
                self._take_part(header)
        elif is_beside(key):
            self.census.ignore(BESIDE)
        elif longest_suffix(key, self._known):
            self.census.ignore(NAMED_ONLY)
        elif (header := self._detached_header(key)) is not None:
            self._take_part(header)
        else:
            self.census.note_unknown(key)

    def _take(self, name: str) -> None:
        if name not in self.images:
            self.images.add(name)
            self.census.take()

    def _take_part(self, name: str) -> None:
        """Count one of the files of an image that has several."""
        self.files[name] += 1
        self.census.take()

    def _header(self, key: str, suffix: str) -> str | None:
        """The object by which an image is found that another object is a part of, if it is one."""
        image_format = format_of(key)
        headers = dict(image_format.companions).get(suffix, ()) if image_format is not None else ()
        return self._first(f"{key[: -len(suffix)]}{end}" for end in headers)

    def _detached_header(self, key: str) -> str | None:
        """The header beside an object that probably holds its voxels."""
        start = key.rpartition("/")[2].partition(".")[0]
        folder = key[: key.rfind("/") + 1]
        return self._first(f"{folder}{start}{end}" for end in detached_suffixes())

    def _first(self, keys: Iterable[str]) -> str | None:
        return next((key for key in keys if key in self.keys), None)
