"""Warning about fields that the user asked to keep, and that no image of a plan has."""

from __future__ import annotations

from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.plan import Plan
from voxarray.core.caller_warnings import warn_by_code


def warn_of_absent_fields(plan: Plan, options: ArchiveOptions) -> None:
    """Warn of fields that no image has: a name may be misspelt, or its table was not found.

    Args:
        plan: Of the cohort.
        options: With the names of fields.
    """
    opened = [item for item in plan.items if item.header is not None]
    absent = [
        name for name in options.keep_metadata if not any(name in image.facts for image in opened)
    ]
    if opened and absent:
        warn_by_code(
            "METADATA_ABSENT",
            f"no image has {' or '.join(map(repr, absent))} to keep: expected a column of a "
            "manifest, or of participants.tsv at the top of the folder that is converted, a text "
            "of the NIfTI header such as descrip, or a keyword of DICOM such as PatientAge; upper "
            "and lower case differ",
        )
