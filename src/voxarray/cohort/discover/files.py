"""Which files of a folder are images: what can be opened, pairs once, a series of DICOM once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from voxarray.archive.staging import is_hidden_staging
from voxarray.cohort.folder import Folder
from voxarray.formats.dicom.detect import SUFFIXES as DICOM_SUFFIXES
from voxarray.formats.dicom.detect import is_dicom_folder
from voxarray.formats.file_sets import belongs_to_another
from voxarray.formats.registry import longest_suffix, names_archive, searched_suffixes


def images(path: str) -> list[Path]:
    """The file or archive at a path, or all that can be opened in a folder and below, sorted.

    The DICOM files of a folder count as one image, named by the folder, and so do the two files of
    a pair, named by the header. Figures, arrays and transforms have to be named one by one.
    """
    given = Path(path)
    if not given.is_dir() or is_archive(given):
        return [given]
    return sorted(_below(given, searched_suffixes()))


def is_archive(path: Path) -> bool:
    """Whether a path has the name or the look of an archive."""
    return names_archive(path) or (path / "zarr.json").is_file()


def _below(folder: Path, suffixes: set[str]) -> Iterator[Path]:
    if is_dicom_folder(folder):
        yield folder
        suffixes = suffixes - DICOM_SUFFIXES
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if is_hidden_staging(entry.name) or _leads_upwards(entry):
            continue
        if os.path.isdir(path):  # False, not an error, for links that lead in a circle
            if is_archive(path):
                yield path
            elif not Folder.of(path).is_cohort():  # results of another run are no scans
                yield from _below(path, suffixes)
        elif longest_suffix(path, suffixes) and not belongs_to_another(entry.path):
            yield path


def _leads_upwards(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link to a folder that it lies in: following it would never end."""
    if not entry.is_symlink():
        return False
    target, here = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path))
    return here == target or here.startswith(target.rstrip(os.sep) + os.sep)
