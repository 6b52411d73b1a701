"""What a folder holds: images, other folders, links to folders, and what is none of these."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from voxarray.cohort.discover.census import Census
from voxarray.cohort.folder import CohortLayout
from voxarray.formats.dicom.detect import SUFFIXES as DICOM_SUFFIXES
from voxarray.formats.dicom.detect import is_dicom, is_dicom_folder
from voxarray.formats.file_sets import belongs_to_another, files_of, header_beside
from voxarray.formats.registry import (
    detached_suffixes,
    is_image_folder,
    known_suffixes,
    longest_suffix,
    searched_suffixes,
)
from voxarray.formats.table import FORMATS
from voxarray.storage.staging_names import is_hidden_staging

_BUILT_IN = searched_suffixes(FORMATS)

DOTS = "names that begin with a dot"
RESULTS = "results of a cohort"
NAMED_ONLY = "pictures, arrays and transforms, which are only taken if given one by one"
BESIDE = "texts, tables and programs"

# Of files that accompany scans and are none, also compressed.
_BESIDE = (
    *(".json", ".tsv", ".csv", ".txt", ".bval", ".bvec", ".bvals", ".bvecs", ".parquet"),
    *(".md", ".rst", ".html", ".htm", ".css", ".js", ".pdf", ".doc", ".docx", ".xls", ".xlsx"),
    *(".log", ".yml", ".yaml", ".xml", ".toml", ".ini", ".cfg", ".ipynb", ".py", ".m", ".r"),
    *(".sh", ".bib", ".cff", ".mat", ".xfm", ".lta", ".1d", ".tfm", ".gif", ".svg", ".mp4"),
    *(".webm", ".dat", ".edf", ".sqlite", ".tmp", ".lock", ".md5", ".sha256", ".cff"),
)
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_BESIDE_NAMES = {"readme", "license", "licence", "copying", "changes", "dicomdir", "authors"}


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds, not what is below it.

    Attributes:
        images: Names of files and archives; an empty one is the folder itself, as DICOM.
        folders: Names of folders that are to be searched.
        links: Names of links to folders that are to be searched.
        closed: Whether the folder may not be read; then it counts as an image.
        several: Number of files of each image that has several, by its name.
    """

    images: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    closed: bool = False
    several: Mapping[str, int] = field(default_factory=dict)

    @property
    def files(self) -> int:
        """Number of the files of all images."""
        return sum(self.several.get(name, 1) for name in self.images)


class FolderReader:
    """Lists folders of a search, and counts what is in them.

    Args:
        root: The folder that is searched, from which names begin.
        census: Told what was seen.
        destination: Absolute path of a folder whose results are left out in any case.
    """

    def __init__(self, root: str, census: Census, destination: str) -> None:
        self.root, self.census, self.destination = root, census, destination

    def _suffix(self, path: str) -> str:
        """The suffix by which a file is an image here; empty if it has none of them."""
        suffix = longest_suffix(path, _BUILT_IN)
        # What other packages add is looked up for names that need it: a folder of DICOM files is
        # described in two thirds of the time without.
        if suffix or "." not in os.path.basename(path):
            return suffix
        return longest_suffix(path, self._added)

    @cached_property
    def _added(self) -> set[str]:
        return searched_suffixes() - _BUILT_IN

    @cached_property
    def _known(self) -> list[str]:
        return known_suffixes()

    def listing(self, folder: str) -> Listing:
        """What is in a folder."""
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
            holds_dicom = is_dicom_folder(folder)
            results = self._results(folder)
        except OSError:  # it fails as one image, by name, when it is opened
            self.census.take()
            return Listing(("",), closed=True)
        images = [""] if holds_dicom else []
        folders: list[str] = []
        links: list[str] = []
        parts: list[str] = []
        remaining: list[str] = []
        for entry in entries:
            if entry.name.startswith("."):
                staging = is_hidden_staging(entry.name)
                self.census.ignore(RESULTS if staging else DOTS)
            elif entry.name in results:
                self.census.ignore(RESULTS)
            elif is_folder(entry):
                if is_image_folder(entry.path):
                    self.census.take()
                    self.census.linked |= entry.is_symlink()
                    images.append(entry.name)
                else:
                    (links if entry.is_symlink() else folders).append(entry.name)
            elif self._is_image(entry.path, holds_dicom):
                self.census.take()
                images.append(entry.name)
            else:
                is_part = self._is_part(entry.path, holds_dicom)
                (parts if is_part else remaining).append(entry.path)
        parts += self._explain(folder, remaining)
        several = self._of_several(folder, images, parts) if parts else {}
        return Listing(tuple(images), tuple(folders), tuple(links), several=several)

    def _is_image(self, path: str, holds_dicom: bool) -> bool:
        suffix = self._suffix(path)
        if not suffix or (holds_dicom and suffix in DICOM_SUFFIXES):
            return False
        return not belongs_to_another(path)

    def _is_part(self, path: str, holds_dicom: bool) -> bool:
        """Whether a file belongs to an image that is found by another name; then it is counted."""
        part = bool(self._suffix(path)) or (holds_dicom and is_dicom(path))
        if part:
            self.census.take()
        return part

    def _of_several(
        self, folder: str, images: Sequence[str], parts: Sequence[str]
    ) -> dict[str, int]:
        """The number of files of each image of several, by its name; also told to the census.

        Args:
            folder: Path.
            images: Names of the images in it.
            parts: Paths of the other files of these.
        """
        others = Counter[str]()
        remaining = set[str]()
        for part in parts:
            header = header_beside(part)
            if header is None:
                remaining.add(part)
            else:
                others[os.path.basename(header)] += 1
        for name in images:
            path = os.path.join(folder, name)
            # A header names its files; those of a pair, which are found by their stem, are known.
            if name and remaining and name not in others and os.path.isfile(path):
                own = remaining.intersection(files_of(path))
                others[name] += len(own)
                remaining -= own
        several = {name: 1 + count for name, count in others.items() if count}
        if "" in images:
            several[""] = len(remaining)
        for name, count in several.items():
            self.census.files[os.path.abspath(os.path.join(folder, name))] = count
        return several

    def _results(self, folder: str) -> set[str]:
        """Names in a folder that are results of a cohort; scans may lie beside them."""
        cohort, above = (
            CohortLayout.of(folder),
            CohortLayout.of(os.path.dirname(os.path.abspath(folder))),
        )
        paths: set[str] = set()
        if self._is_cohort(cohort):
            paths.update(cohort.results)
        if above.subjects == cohort.root and self._is_cohort(above):
            paths.update(above.archives())
        return {os.path.basename(path) for path in paths}

    def _is_cohort(self, folder: CohortLayout) -> bool:
        return folder.was_made or folder.root == self.destination

    def _explain(self, folder: str, paths: list[str]) -> list[str]:
        """Count the files of a folder that are no images: by a rule, or as not understood.

        Returns:
            Those that hold the voxels of images whose headers are beside them.
        """
        unknown = []
        for path in paths:
            if is_beside(path):
                self.census.ignore(BESIDE)
            elif longest_suffix(path, self._known):
                self.census.ignore(NAMED_ONLY)
            else:
                unknown.append(path)
        parts = _detached_parts(folder) if unknown else set()
        for path in unknown:
            if path in parts:
                self.census.take()
            else:
                self.census.note_unknown(os.path.relpath(path, self.root).replace(os.sep, "/"))
        return [path for path in unknown if path in parts]


def is_beside(path: str) -> bool:
    """Whether a file accompanies scans and is none."""
    name = os.path.basename(path).lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith(_BESIDE) or name.partition(".")[0] in _BESIDE_NAMES


def _detached_parts(folder: str) -> set[str]:
    """Files of voxels that headers in a folder name."""
    ends = detached_suffixes()
    headers = [name for name in os.listdir(folder) if name.lower().endswith(ends)]
    parts = (part for name in headers for part in files_of(os.path.join(folder, name)))
    return {os.path.join(folder, os.path.basename(part)) for part in parts}


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; most can tell without a question."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False
