"""Archives and cohorts around a folder, into which no other files may be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import AccessDeniedError, FormatError
from voxarray.formats.registry import writable_format
from voxarray.storage.archive_suffixes import ENDS_OF_STORES
from voxarray.storage.remote.address import Address, is_url
from voxarray.storage.small_files import is_file, real_path

_DOCUMENTS = ("zarr.json", ".zgroup", ".zarray")
"""A folder with one of these is an archive, of Zarr 3 or 2."""


def enclosing_archive(path: str) -> str | None:
    """The archive (never a level of it) that a folder is, or lies in; links are followed."""
    return min(filter(_is_archive, _upwards(path)), key=len, default=None)


def enclosing_cohort(path: str) -> str | None:
    """The folder of the cohort that a folder is, or lies in; links are followed."""
    return next(filter(_is_cohort, _upwards(path)), None)


def refuse_name_of_image(folder: CohortLayout) -> None:
    """Refuse a folder whose name has the suffix of an image, since others would take it for one.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    format_ = writable_format(os.path.basename(folder.root))
    # If it is an existing file, making the folder raises the error.
    if format_ is not None and not folder.was_made and not os.path.isfile(folder.root):
        raise FormatError(
            f"{folder.root} is the name of one {format_.name} image, but many images go into a "
            "folder: choose a name without the suffix of an image",
            code="OTHER_FORM",
            path=folder.root,
        )


def refuse_results_around(path: str) -> None:
    """Refuse to write a file into an archive or a cohort, or anywhere below.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    if results := enclosing_archive(path) or enclosing_cohort(path):
        raise in_results(path, results)


def refuse_cohort_among_results(folder: CohortLayout) -> None:
    """Refuse to make a cohort in an archive, or among the results of another cohort.

    A folder whose name has the suffix of an image is refused, too.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    if archive := enclosing_archive(folder.root):
        raise in_results(folder.root, archive)
    refuse_name_of_image(folder)
    outer_root = enclosing_cohort(_parent(real_path(folder.root)))
    if outer_root is None:
        return
    outer, root = CohortLayout(outer_root), real_path(folder.root)
    # In another folder of the outer cohort, beside its results, a cohort does no harm.
    if any(f"{root}/".startswith(f"{path}/") for path in (outer.subjects, *outer.results)):
        raise in_results(folder.root, outer_root)


def in_results(path: str, results: str) -> FormatError:
    """The error for files that would be written into a cohort or an archive."""
    kind = "a cohort" if CohortLayout(results).is_cohort() else "an archive"
    position = "is" if real_path(path) == results else f"lies in {results}, which is"
    return FormatError(
        f"{path} {position} {kind}, and files that are written there would not belong to it: "
        "choose a folder outside of it",
        code="OTHER_FORM",
        path=path,
    )


def _is_archive(path: str) -> bool:
    # In a bucket each look takes a round trip, so the name is checked first.
    if is_url(path) and not path.lower().endswith(ENDS_OF_STORES):
        return False
    with suppress(AccessDeniedError):
        return any(is_file(f"{path}/{name}") for name in _DOCUMENTS)
    return False


def _is_cohort(path: str) -> bool:
    # The user may have rights for a folder, but none for those above it.
    with suppress(AccessDeniedError):
        return CohortLayout(path).was_made
    return False


def _upwards(location: str) -> Iterator[str]:
    """A folder and those above it; in a bucket, up to its top."""
    if not is_url(location):
        path = Path(real_path(location))
        yield from map(str, (path, *path.parents))
        return
    while True:
        yield location
        if (parent := _parent(location)) == location:
            return
        location = parent


def _parent(path: str) -> str:
    if not is_url(path):
        return os.path.dirname(path)
    address = Address.parse(path)
    return address.parent.url.rstrip("/") if address.path.strip("/") else path
