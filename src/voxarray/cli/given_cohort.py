"""Cohorts that a command was given, and what it is to take of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import FormatError, MissingFileError, UnsupportedError
from voxarray.formats.registry import format_of, is_image_folder

if TYPE_CHECKING:
    from voxarray.cohort.cohort import Cohort


def is_cohort(path: str) -> bool:
    """Whether a cohort was planned or made there.

    Args:
        path: Folder, file or URL.
    """
    if format_of(path) is not None or is_image_folder(path):
        return False
    try:
        return CohortLayout.of(path).is_cohort()
    except UnsupportedError:  # a URL from which is only read
        return False


def matching(cohort: Cohort, query: str | None) -> Cohort:
    """The images that a query chooses, be it none of them; without a query, all.

    Raises:
        click.UsageError: The query is none, or names no column.
    """
    if query is None:
        return cohort
    try:
        return cohort.query(query)
    except FormatError as error:
        raise click.UsageError(str(error)) from None


def queried(cohort: Cohort, query: str | None) -> Cohort:
    """The images that are wanted.

    Raises:
        click.UsageError: The query is none, or names no column.
        MissingFileError: No subject matches it (``NOTHING_FOUND``).
    """
    subset = matching(cohort, query)
    if query is not None and not len(subset):
        raise MissingFileError(
            f"nothing to do: 0 of {len(cohort)} subjects of {cohort.path} match the query "
            f"{query!r}; to try queries, run voxarray catalogue {cohort.path} --query QUERY",
            code="NOTHING_FOUND",
            path=cohort.path,
        )
    return subset
