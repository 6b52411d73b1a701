"""What a folder lies in: archives and cohorts, to which nobody else adds files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import AccessDeniedError, FormatError
from voxarray.formats.registry import writable_format
from voxarray.storage.archive_names import ENDS_OF_STORES
from voxarray.storage.remote.address import Address, is_url
from voxarray.storage.small_files import is_file, real_path

_DOCUMENTS = ("zarr.json", ".zgroup", ".zarray")
"""By which a folder is an archive, of Zarr 3 or 2."""


def enclosing_archive(place: str) -> str | None:
    """The archive that a folder is, or lies in, and no level of it; links are followed."""
    return min(filter(_is_archive, _upwards(place)), key=len, default=None)


def enclosing_cohort(place: str) -> str | None:
    """The folder of the cohort that a folder is, or lies in; links are followed."""
    return next(filter(_is_cohort, _upwards(place)), None)


def refuse_name_of_image(folder: CohortLayout) -> None:
    """Refuse a folder that is named like one image, for which everybody else would take it.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    named = writable_format(os.path.basename(folder.root))
    # Of a file that is there, making the folder tells.
    if named is not None and not folder.was_made and not os.path.isfile(folder.root):
        raise FormatError(
            f"{folder.root} is the name of one {named.name} image, but many images go into a "
            "folder: choose a name without the suffix of an image",
            code="OTHER_FORM",
            path=folder.root,
        )


def refuse_results_around(place: str) -> None:
    """Refuse to write a file into an archive or a cohort, or anywhere below.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    if found := enclosing_archive(place) or enclosing_cohort(place):
        raise in_results(place, found)


def refuse_cohort_among_results(folder: CohortLayout) -> None:
    """Refuse to make a cohort in an archive, or in a folder in which another cohort has its own.

    Nor is one made in a folder that is named like an image.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    if archive := enclosing_archive(folder.root):
        raise in_results(folder.root, archive)
    refuse_name_of_image(folder)
    above = enclosing_cohort(_parent(real_path(folder.root)))
    if above is None:
        return
    outer, root = CohortLayout(above), real_path(folder.root)
    # Beside what the other one has written, a cohort does no harm.
    if any(f"{root}/".startswith(f"{one}/") for one in (outer.subjects, *outer.results)):
        raise in_results(folder.root, above)


def in_results(place: str, found: str) -> FormatError:
    """The error of who would add to a cohort or an archive."""
    kind = "a cohort" if CohortLayout(found).is_cohort() else "an archive"
    where = "is" if real_path(place) == found else f"lies in {found}, which is"
    return FormatError(
        f"{place} {where} {kind}, and files that are written there would not belong to it: "
        "choose a folder outside of it",
        code="OTHER_FORM",
        path=place,
    )


def _is_archive(place: str) -> bool:
    # In a bucket each question takes a round trip, so the name is asked first.
    if is_url(place) and not place.lower().endswith(ENDS_OF_STORES):
        return False
    with suppress(AccessDeniedError):
        return any(is_file(f"{place}/{one}") for one in _DOCUMENTS)
    return False


def _is_cohort(place: str) -> bool:
    # Who may write to a folder need not be allowed to look at what is above it.
    with suppress(AccessDeniedError):
        return CohortLayout(place).was_made
    return False


def _upwards(place: str) -> Iterator[str]:
    """A folder and those above it; in a bucket, up to its top."""
    if not is_url(place):
        found = Path(real_path(place))
        yield from map(str, (found, *found.parents))
        return
    while True:
        yield place
        if (above := _parent(place)) == place:
            return
        place = above


def _parent(place: str) -> str:
    if not is_url(place):
        return os.path.dirname(place)
    address = Address.parse(place)
    return address.parent.url.rstrip("/") if address.path.strip("/") else place
