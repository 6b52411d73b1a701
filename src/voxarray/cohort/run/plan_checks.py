"""Checks before a plan is made, and warnings before it is written."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.cohort.catalogue.pipelines import PIPELINE
from voxarray.cohort.catalogue.rows import COLUMNS
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.dicom_folders import of_dicom_folders
from voxarray.cohort.discover.input import SUBJECT_KEY, DiscoveredInput, source_told
from voxarray.cohort.discover.patterns import misfit
from voxarray.cohort.discover.search import cohort_above, cohort_named
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run.absent_fields import warn_of_absent_fields
from voxarray.cohort.run.plan_states import check_changed_options
from voxarray.cohort.run.vanished import warn_of_vanished
from voxarray.core.errors import FormatError, MissingFileError, UnsupportedError

_OF_FIELDS = "modality"
"""A column that a kept field of the same name may replace, to correct it."""


def refuse_reserved(names: Sequence[str]) -> None:
    """Refuse to keep fields whose names the catalogue uses for other columns, or hides.

    Args:
        names: Of fields.

    Raises:
        UnsupportedError: ``RESERVED_NAME``.
    """
    reserved = {*COLUMNS, PIPELINE} - {_OF_FIELDS}
    bad = [name for name in names if name in reserved or name.startswith("_")]
    if bad:
        why = (
            "names that begin with _ are reserved for the catalogue"
            if bad[0].startswith("_")
            else "the catalogue has a column of this name that means something else"
        )
        raise UnsupportedError(
            f"the field {bad[0]!r} cannot be kept: {why}. Leave it out, or rename the column of "
            "the manifest or of participants.tsv",
            code="RESERVED_NAME",
        )


def refuse_reserved_images(inputs: Sequence[DiscoveredInput]) -> None:
    """Refuse images and label maps of a name under which a subject holds something else.

    Raises:
        UnsupportedError: ``RESERVED_NAME``.
    """
    reserved = next((item for item in inputs if item.image == SUBJECT_KEY), None)
    if reserved is not None:
        raise UnsupportedError(
            f"{source_told(reserved.source)} would be called {SUBJECT_KEY!r}. That name is "
            f"reserved: in a cohort, subject[{SUBJECT_KEY!r}] is the name of the subject. Give the "
            "image another name, in the pattern or the column that names it",
            code="RESERVED_NAME",
        )


def nothing_found(
    sources: Sequence[str], choice: InputSelection, census: Census
) -> MissingFileError:
    """The error of sources in which there is no image (``NOTHING_FOUND``)."""
    if census.misfits:
        patterns = (*choice.image_patterns, *choice.label_patterns)
        why = misfit(patterns, census.misfits[0])
        why += of_dicom_folders(patterns, census.misfits, sources)
        text = f"nothing to do: in {', '.join(sources)} {why}"
        return MissingFileError(text, code="NOTHING_FOUND")
    hint = ""
    above = next(((source, cohort) for source in sources if (cohort := cohort_above(source))), None)
    if above is not None:
        hint = f"; {above[0]} is a part of the cohort {above[1]}: give the folder {above[1]}"
    elif among := [source for source in sources if cohort_named([source]) is not None]:
        hint = f"; {among[0]} is a cohort, which can only be converted alone"
    return MissingFileError(
        f"nothing to do: no image was found in {', '.join(sources)} that voxarray reads{hint}\n"
        f"{census}",
        code="NOTHING_FOUND",
    )


def refused_cohort(cohort: str, *, alone: bool) -> FormatError:
    """The error of a cohort among sources of scans (``IS_COHORT``)."""
    why = (
        "converted as scans, it would lose subjects, label maps and metadata: use "
        "vx.Cohort(path).save(destination), or voxarray convert without a plan"
    )
    return FormatError(
        f"{cohort} is a cohort{f'; {why}' if alone else ', which can only be converted alone'}",
        code="IS_COHORT",
        path=cohort,
    )


def warn_of_plan(
    plan: Plan,
    previous: Plan | None,
    folder: CohortLayout,
    options: ArchiveOptions,
    *,
    refusing: bool,
    overwrite: bool,
) -> None:
    """Warn of images that are in the previous plan alone, and of fields that no image has.

    And of options that have changed, unless archives are to be overwritten; see
    `check_changed_options`.
    """
    if previous is not None:
        warn_of_vanished(folder, previous, plan)
    warn_of_absent_fields(plan, options)
    if not overwrite:
        check_changed_options(plan, previous, folder, options, refusing=refusing)


def require_options(file: str, plan: Plan, options: ArchiveOptions) -> None:
    """Refuse a part whose archives would differ from those that were planned.

    Args:
        file: Of the plan.
        plan: A part of it.
        options: Of this run.

    Raises:
        FormatError: It was made with other options (``OTHER_OPTIONS``).
    """
    if plan.options != options.digest():
        raise FormatError(
            f"{file} was planned with other options for archives (--codec, --levels, --chunk, "
            "--zip, --label, --keep-metadata) than this part has, or by another version of "
            "voxarray: pass the same options to convert as to plan, or plan again with those of "
            "this part",
            code="OTHER_OPTIONS",
            path=file,
        )


def require_choice(file: str, plan: Plan, choice: InputSelection) -> None:
    """Refuse a part for which other inputs are chosen than were planned: it would ignore that.

    Args:
        file: Of the plan.
        plan: A part of it.
        choice: Of this run; if it says nothing, that of the plan counts.

    Raises:
        FormatError: It differs from that of the plan (``OTHER_OPTIONS``).
    """
    if choice == InputSelection() or plan.choice in (None, choice.digest()):
        return
    # A table cannot be read without its columns.
    is_table = choice.image_columns or choice.label_columns or choice.subject_column
    leave_out = "" if is_table else "leave them out, or "
    raise FormatError(
        f"{file} was planned with other patterns or columns (--image-pattern, --label-pattern, "
        f"--image-column, --label-column, --subject-column) than this part has: {leave_out}pass "
        "the same ones to convert as to plan, or plan again with those of this part",
        code="OTHER_OPTIONS",
        path=file,
    )
