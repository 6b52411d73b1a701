"""Finding images in a folder: files that can be opened; pairs and DICOM series count once."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.linked_folders import images_below
from voxarray.cohort.discover.listing import FolderReader
from voxarray.cohort.folder import CohortLayout
from voxarray.formats.registry import is_image_folder, names_archive
from voxarray.storage.remote.address import is_url


def images(
    path: str,
    census: Census | None = None,
    *,
    destination: str = "",
    alone: bool = True,
    state_of: Callable[[str], Hashable] | None = None,
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
        state_of: What the name of a folder below the path, with ``/`` at its end, says of what may
            be chosen in it; without it, names choose nothing.
    """
    found = image_paths(path, census, destination=destination, alone=alone, state_of=state_of)
    return list(map(Path, found))


def image_paths(
    path: str,
    census: Census | None = None,
    *,
    destination: str = "",
    alone: bool = True,
    state_of: Callable[[str], Hashable] | None = None,
) -> list[str]:
    """As `images`, as texts: a folder has thousands, and a `Path` costs as much as a question."""
    root = str(Path(path))
    counts = Census() if census is None else census
    if not os.path.isdir(root) or is_image_folder(root):
        counts.take()
        return [root]
    paths = sorted(images_below(FolderReader(root, counts, destination), state_of), key=_parts)
    if not paths and alone and CohortLayout.of(root).is_cohort():
        paths = list(CohortLayout.of(root).archives())
        counts.take(len(paths))
    return paths


def names_below(folder: str, paths: Sequence[str]) -> list[str]:
    """Paths below a folder relative to it, with ``/``; ``.`` for the folder itself."""
    start = os.path.join(str(Path(folder)), "")
    return [
        (
            path[len(start) :]
            if path.startswith(start)
            else os.path.relpath(path, folder)  # an archive of a cohort, or the folder itself
        ).replace(os.sep, "/")
        for path in paths
    ]


def _parts(path: str) -> list[str]:
    """What a path is sorted by: the files of a folder come one after another."""
    return os.path.normcase(path).split(os.sep)


def is_archive(path: Path) -> bool:
    """Whether a path has the name or the documents of an archive."""
    return names_archive(path) or (path / "zarr.json").is_file()


def joined(folder: str, name: str) -> str:
    """Absolute path, or URL, of an image in a folder."""
    if is_url(folder):
        return f"{folder.rstrip('/')}/{name}"
    return os.path.abspath(os.path.join(folder, name))
