"""Counts of the files that a search of sources met, and what they were taken as."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from voxarray.cohort.discover.input import source_told
from voxarray.core.printable import printable

_MAX_SHOWN = 20
"""Unknown names in the text; all are counted."""

_MAX_LABELS_SHOWN = 3

_MAX_MISFITS_SHOWN = 5

_NO_PATTERN = "that no pattern fits"

_MAX_NAMES = 1000
"""Names that are kept."""


@dataclass(slots=True)
class Census:
    """Counts of files, archives and folders that were met.

    A folder that is left out as a whole counts once. The files that an image is made of, such as
    those of a DICOM series, count as taken.

    Attributes:
        taken: Files and archives that are images, or parts of them.
        ignored: Number of files that were left out, by rule.
        unknown: Names of files that no rule and no reader knows; the first thousand.
        unknowns: Number of these files.
        likely_labels: Images whose names look like those of label maps.
        closed: Folders that may not be read. Their content is unknown, so that no rule leaves them
            out; each counts as an image, which fails when it is opened.
        linked: Whether a link to a folder was followed.
        misfits: Names of the images that no pattern of the user matches; the first thousand.
        misfits_in_all: Number of these images.
        by_pattern: Whether patterns of the user were applied.
        fits: Number of files that each pattern matched; keys are the role (image or label map), the
            name of the image, and the pattern.
        label_maps: Inputs that are label maps, by a pattern, a column or a rule of BIDS.
        inputs: Images and label maps; each may have several files.
        tables: Number of files that are no images, and from which metadata were kept.
        files: Number of files of each image that has several, by its absolute path or URL.
    """

    taken: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    unknowns: int = 0
    likely_labels: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    linked: bool = False
    misfits: list[str] = field(default_factory=list)
    misfits_in_all: int = 0
    by_pattern: bool = False
    fits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    label_maps: int = 0
    inputs: int = 0
    tables: int = 0
    files: dict[str, int] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        """Number of all files."""
        return self.taken + self.tables + self.ignored.total() + self.unknowns

    def take(self, count: int = 1) -> None:
        """Count files that are images, or parts of one."""
        self.taken += count

    def ignore(self, rule: str, count: int = 1) -> None:
        """Count files that a rule leaves out, and that were not counted before."""
        self.ignored[rule] += count

    def drop(self, rule: str, location: str) -> None:
        """Count the files of an image as ignored by a rule that were counted as taken before."""
        self._drop(rule, self.files.get(location, 1))

    def drop_parts(self, rule: str, location: str, count: int) -> None:
        """As `drop`, some of the files of an image that was counted with all of its files."""
        self._drop(rule, min(count, self.files.get(location, 1) - 1))

    def _drop(self, rule: str, count: int) -> None:
        self.taken -= count
        if count:
            self.ignored[rule] += count

    def use_table(self, rule: str) -> None:
        """Count a file as one that metadata are kept from, which was ignored by a rule before."""
        if self.ignored[rule]:
            self.ignored[rule] -= 1
            self.tables += 1
        self.ignored += Counter()  # without rules that leave nothing out

    def note_misfit(self, name: str, location: str) -> None:
        """Count an image as ignored, since no pattern fits it, that was counted as taken before."""
        self.drop(_NO_PATTERN, location)
        self.misfits_in_all += 1
        if len(self.misfits) < _MAX_NAMES:
            self.misfits.append(name)

    def note_unknown(self, name: str) -> None:
        """Count a file that no rule and no reader knows."""
        self.unknowns += 1
        if len(self.unknown) < _MAX_NAMES:
            self.unknown.append(name)

    def document(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {
            "seen": self.seen,
            "taken": self.taken,
            "label_maps": self.label_maps,
            "tables": self.tables,
            "ignored": dict(self.ignored),
            "not_understood": sorted(self.unknown),
            "not_understood_in_all": self.unknowns,
            "fitting_no_pattern": self.misfits,
            "likely_labels": self.likely_labels[:_MAX_NAMES],
        }

    @property
    def _kinds(self) -> str:
        """What files were taken as; with counts only if there are images and label maps."""
        if not self.label_maps:
            return "an image" if self.taken == 1 else "images"
        images = self.inputs - self.label_maps
        kinds = [(images, "image"), (self.label_maps, "label map")]
        return " and ".join(f"{n} {kind}{'s' * (n > 1)}" for n, kind in kinds if n)

    def __str__(self) -> str:
        kept_from = f"metadata kept from {self.tables}, " if self.tables else ""
        lines = [
            f"{self.seen} file{'s' * (self.seen != 1)} seen: {self.taken} taken as {self._kinds}, "
            f"{kept_from}{self.ignored.total()} ignored, {self.unknowns} not recognised"
        ]
        if self.ignored:
            rules = (f"{count} {rule}" for rule, count in self.ignored.most_common())
            lines.append(f"  ignored: {'; '.join(rules)}")
        if self.misfits:
            names = ", ".join(map(source_told, self.misfits[:_MAX_MISFITS_SHOWN]))
            more = self.misfits_in_all - min(_MAX_MISFITS_SHOWN, len(self.misfits))
            others = f", and {more} more; --json names them" if more else ""
            lines.append(f"  no pattern fits: {names}{others}")
        if self.unknown:
            names = ", ".join(map(printable, sorted(self.unknown)[:_MAX_SHOWN]))
            more = self.unknowns - min(_MAX_SHOWN, len(self.unknown))
            lines.append(f"  not recognised: {names}{f', and {more} more' if more else ''}")
        if self.likely_labels:
            names = ", ".join(map(printable, self.likely_labels[:_MAX_LABELS_SHOWN]))
            lines.append(
                f"  taken as images, though named like label maps: {names}"
                f"{_more(self.likely_labels, _MAX_LABELS_SHOWN)}; --label-pattern "
                "(label_patterns=) stores them with their image"
            )
        return "\n".join(lines)


def _more(names: list[str], count_named: int) -> str:
    return f", and {len(names) - count_named} more" if len(names) > count_named else ""
