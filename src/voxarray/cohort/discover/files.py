"""Which files of a folder are images: what can be opened, pairs once, a series of DICOM once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from voxarray.cohort.discover.census import Census
from voxarray.cohort.folder import CohortLayout
from voxarray.formats.dicom.detect import SUFFIXES as DICOM_SUFFIXES
from voxarray.formats.dicom.detect import is_dicom, is_dicom_folder
from voxarray.formats.file_sets import belongs_to_another, files_of
from voxarray.formats.registry import (
    detached_suffixes,
    is_image_folder,
    known_suffixes,
    longest_suffix,
    names_archive,
    searched_suffixes,
)
from voxarray.formats.table import FORMATS
from voxarray.storage.hidden_names import is_hidden_staging

_BUILT_IN = searched_suffixes(FORMATS)

DOTS = "names that begin with a dot"
RESULTS = "results of a cohort"
NAMED_ONLY = "pictures, arrays and transforms, which are only taken if given one by one"
BESIDE = "texts, tables and programs"
UPWARDS = "links to a folder that contains them"

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


def images(
    path: str, census: Census | None = None, *, destination: str = "", alone: bool = True
) -> list[Path]:
    """The file or archive at a path, or all that can be opened in a folder and below, sorted.

    The DICOM files of a folder count as one image, named by the folder, and so do the two files of
    a pair, named by the header. Figures, arrays and transforms have to be named one by one. Names
    that begin with a dot are no scans, and neither are the results of a cohort.

    Args:
        path: File, archive or folder.
        census: Told what was seen.
        destination: Absolute path of a folder whose results are left out in any case.
        alone: Whether nothing else is searched: then the archives of a cohort in which nothing
            else is are the images.
    """
    given = Path(path)
    told = Census() if census is None else census
    if not os.path.isdir(given) or is_image_folder(given):
        told.take()
        return [given]
    walk = _Walk(str(given), told, destination)
    found = sorted(walk.below(given))
    if not found and alone and CohortLayout.of(given).is_cohort():
        found = [Path(archive) for archive in CohortLayout.of(given).archives()]
        told.take(len(found))
    return found


def is_archive(path: Path) -> bool:
    """Whether a path has the name or the look of an archive."""
    return names_archive(path) or (path / "zarr.json").is_file()


class _Walk:
    """A search of a folder.

    Args:
        root: The folder, from which names begin.
        census: Told what was seen.
        destination: Absolute path of a folder whose results are left out in any case.
    """

    def __init__(self, root: str, census: Census, destination: str) -> None:
        self.root, self.census, self.destination = root, census, destination
        # Folders from which links were followed to where the search is now.
        self._left: list[str] = []

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

    def below(self, folder: Path) -> Iterator[Path]:
        """Images in a folder and below, in no order."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            holds_dicom = is_dicom_folder(folder)
            results = self._results(str(folder))
        except OSError:  # it fails as one image, by name, when it is opened
            self.census.take()
            self.census.closed.add(str(folder))
            yield folder
            return
        if holds_dicom:
            yield folder
        others: list[str] = []
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                staging = is_hidden_staging(entry.name)
                self.census.ignore(RESULTS if staging else DOTS)
            elif entry.name in results:
                self.census.ignore(RESULTS)
            elif _is_folder(entry):
                yield from self._folder(entry, path)
            elif self._is_image(entry.path, holds_dicom):
                self.census.take()
                yield path
            elif not self._is_part(entry.path, holds_dicom):
                others.append(entry.path)
        self._explain(folder, others)

    def _folder(self, entry: os.DirEntry[str], path: Path) -> Iterator[Path]:
        if entry.is_symlink():
            yield from self._link(entry, path)
        elif is_image_folder(path):
            self.census.take()
            yield path
        else:
            yield from self.below(path)

    def _link(self, entry: os.DirEntry[str], path: Path) -> Iterator[Path]:
        """Images behind a link to a folder, unless it leads to where the search came from."""
        here = os.path.realpath(os.path.dirname(entry.path))
        if _leads_upwards(entry.path, (here, *self._left)):
            self.census.ignore(UPWARDS)
            return
        self.census.linked = True
        self._left.append(here)
        if is_image_folder(path):
            self.census.take()
            yield path
        else:
            yield from self.below(path)
        self._left.pop()

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

    def _explain(self, folder: Path, others: list[str]) -> None:
        """Count the files of a folder that are no images: by a rule, or as not understood."""
        unknown = []
        for path in others:
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


def is_beside(path: str) -> bool:
    """Whether a file accompanies scans and is none."""
    name = os.path.basename(path).lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith(_BESIDE) or name.partition(".")[0] in _BESIDE_NAMES


def _detached_parts(folder: Path) -> set[str]:
    """Files of voxels that headers in a folder name."""
    ends = detached_suffixes()
    headers = [path for path in folder.iterdir() if path.name.lower().endswith(ends)]
    return {os.path.join(folder, os.path.basename(p)) for h in headers for p in files_of(str(h))}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; most can tell without a question."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def _leads_upwards(link: str, folders: Iterable[str]) -> bool:
    """Whether a link leads to one of some folders, or above: following it would never end."""
    target = os.path.realpath(link)
    below = target.rstrip(os.sep) + os.sep
    return any(folder == target or folder.startswith(below) for folder in folders)
