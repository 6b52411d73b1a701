"""The report: what failed or is missing, for programs and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from voxarray.cohort.catalogue import parquet
from voxarray.cohort.discover.input import source_told
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.archive_names import shown
from voxarray.cohort.plan.item import Failure
from voxarray.core.printable import printable
from voxarray.storage.small_files import Put, side_by_side, write_if_other

_NAMED = 5
"""Archives that a summary names; the report names all."""

_ARCHIVE_STATES = {
    "": "",
    "outdated": ": the existing archive was made from other source data or with other options",
    "unreadable": ": the existing archive is incomplete or cannot be read; voxarray verify says "
    "why",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """An image that was planned and has no archive, or no current one.

    Attributes:
        slug: Name of the archive that it would have.
        subject: Whose it is.
        image: Its name in the subject.
        failure: Why it failed; None if it was not tried yet.
        seconds: Duration of the attempt.
        peak: Bytes of memory at the peak of the attempt; None if that is unknown.
        archive_state: State of an existing archive that does not count: ``"outdated"``, made of
            other bytes or with other options, or ``"unreadable"``; empty if there is none.
    """

    slug: str
    subject: str
    image: str
    failure: Failure | None
    seconds: float | None = None
    peak: int | None = None
    archive_state: str = ""

    @property
    def code(self) -> str:
        """Code of the failure; ``MISSING`` if there is none."""
        return "MISSING" if self.failure is None else self.failure.code

    @property
    def message(self) -> str:
        """Message of the failure."""
        if self.failure is not None:
            return self.failure.message
        return f"not converted yet{_ARCHIVE_STATES[self.archive_state]}"


def write(
    folder: CohortLayout,
    done: int,
    missing: Sequence[Missing],
    unplanned: Sequence[str] = (),
    put: Put = write_if_other,
) -> None:
    """Write both reports, unless the files have this content already; ``put`` writes the bytes."""
    import pyarrow

    text, number = pyarrow.string(), pyarrow.float64()
    schema = pyarrow.schema(
        [
            *((name, text) for name in ("code", "message", "file", "subject", "image")),
            ("seconds", number),
            ("peak_bytes", number),
        ]
    )
    rows = [
        {
            "code": image.code,
            "message": shown(image.message),
            "file": shown(image.failure.file) if image.failure else None,
            "subject": shown(image.subject),
            "image": shown(image.image),
            "seconds": image.seconds,
            "peak_bytes": image.peak,
        }
        for image in missing
    ]
    text_data = readable(done, missing, unplanned, every=True).encode()
    side_by_side(
        folder.root,
        lambda: parquet.write(folder.report, schema, rows, put),
        lambda: put(folder.readable_report, text_data),
    )


def left_over(unplanned: Sequence[str], *, every: bool = False) -> str:
    """A remark on archives whose sources the plan no longer names; empty if there are none.

    The user should know, since a scan that was renamed is in the cohort twice.

    Args:
        unplanned: File names of the archives.
        every: Whether to name all of them, as the report does, and not only the first.
    """
    if not unplanned:
        return ""
    is_single = len(unplanned) == 1
    count = "1 archive is" if is_single else f"{len(unplanned)} archives are"
    sources = (
        "its source was removed, renamed or left out, or is a label map that is now stored in the "
        "archive of its image"
        if is_single
        else "their sources were removed, renamed or left out, or are label maps that are now "
        "stored in the archives of their images"
    )
    named = unplanned if every else unplanned[:_NAMED]
    names = ", ".join(f"subjects/{name}" for name in named)
    hidden = len(unplanned) - len(named)
    more = f" and {hidden} more, which report.txt names" if hidden else ""
    return (
        f"{count} still in the catalogue, though {sources}: {names}{more}. Delete the archives "
        "that you do not want, and run voxarray finalise"
    )


def readable(
    done: int, missing: Sequence[Missing], unplanned: Sequence[str] = (), *, every: bool = False
) -> str:
    """The report as text: counts by code, then a paragraph per image; see `left_over`."""
    absent = "1 is missing" if len(missing) == 1 else f"{len(missing)} are missing"
    lines = [f"{done} of {done + len(missing)} images are converted, {absent}."]
    if unplanned:
        lines += ["", left_over(unplanned, every=every)]
    if missing:
        lines.append("")
        counts = Counter(image.code for image in missing)
        lines += [f"{number:>8}  {code}" for code, number in counts.most_common()]
    # If a subject fails as a whole, each of its images does so; that is told once.
    for paragraph in dict.fromkeys(map(_paragraph, missing)):
        lines += ["", paragraph]
    return "\n".join(lines) + "\n"


def _paragraph(missing: Missing) -> str:
    file = missing.failure.file if missing.failure else f"{missing.subject}/{missing.image}"
    first, *rest = (printable(line) for line in shown(missing.message).split("\n"))
    return "\n    ".join([source_told(shown(file)), f"{missing.code}: {first}", *rest])
