"""What was seen while sources were searched, and what became of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from voxarray.core.printable import printable

_TOLD = 20
"""Names that are told; all are counted."""

_FEW = 3

_KEPT = 1000
"""Names that are kept."""


@dataclass(slots=True)
class Census:
    """Counts of files, archives and folders that were met.

    A folder that is left out as a whole counts once. The files that an image is made of, such as
    those of a DICOM series, count as taken.

    Attributes:
        taken: Files and archives that are images, or parts of them.
        ignored: What was left out by a rule, by the rule.
        unknown: Names of what no rule and no reader knows; the first thousand.
        unknowns: How many these are.
        likely_labels: Images that are label maps, by their names.
        closed: Folders that may not be read: nobody knows what is in them, so that no rule leaves
            them out. Each is a scan that fails, by its name.
        linked: Whether a link to a folder was followed.
        misfit: The first image that no pattern of the user fits; empty without any.
        by_pattern: Whether patterns of the user chose among files.
        fits: How many files each of these takes, by what it finds, the image's name and its text.
        label_maps: Inputs that are label maps, by a pattern, a column or a rule of BIDS.
        inputs: Images and label maps; each may have several files.
    """

    taken: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    unknowns: int = 0
    likely_labels: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    linked: bool = False
    misfit: str = ""
    by_pattern: bool = False
    fits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    label_maps: int = 0
    inputs: int = 0

    @property
    def seen(self) -> int:
        """All that was met."""
        return self.taken + self.ignored.total() + self.unknowns

    def take(self, count: int = 1) -> None:
        """Count what is an image, or part of one."""
        self.taken += count

    def ignore(self, rule: str, count: int = 1) -> None:
        """Count what a rule leaves out, though it was not taken before."""
        self.ignored[rule] += count

    def drop(self, rule: str) -> None:
        """Count as ignored by a rule what was counted as taken."""
        self.taken -= 1
        self.ignored[rule] += 1

    def note_unknown(self, name: str) -> None:
        """Note what nothing here understands."""
        self.unknowns += 1
        if len(self.unknown) < _KEPT:
            self.unknown.append(name)

    def document(self) -> dict[str, Any]:
        """The counts as JSON says them."""
        return {
            "seen": self.seen,
            "taken": self.taken,
            "label_maps": self.label_maps,
            "ignored": dict(self.ignored),
            "not_understood": sorted(self.unknown),
            "not_understood_in_all": self.unknowns,
            "likely_labels": self.likely_labels[:_KEPT],
        }

    @property
    def _kinds(self) -> str:
        """What files were taken as; how many of each only where there are both."""
        if not self.label_maps:
            return "an image" if self.taken == 1 else "images"
        images = self.inputs - self.label_maps
        kinds = [(images, "image"), (self.label_maps, "label map")]
        return " and ".join(f"{n} {kind}{'s' * (n > 1)}" for n, kind in kinds if n)

    def __str__(self) -> str:
        lines = [
            f"{self.seen} file{'s' * (self.seen != 1)} seen: {self.taken} taken as {self._kinds}, "
            f"{self.ignored.total()} ignored, {self.unknowns} not recognised"
        ]
        if self.ignored:
            rules = (f"{count} {rule}" for rule, count in self.ignored.most_common())
            lines.append(f"  ignored: {'; '.join(rules)}")
        if self.unknown:
            names = ", ".join(map(printable, sorted(self.unknown)[:_TOLD]))
            more = self.unknowns - min(_TOLD, len(self.unknown))
            lines.append(f"  not recognised: {names}{f', and {more} more' if more else ''}")
        if self.likely_labels:
            names = ", ".join(map(printable, self.likely_labels[:_FEW]))
            lines.append(
                f"  taken as images, though named like label maps: {names}"
                f"{_more(self.likely_labels, _FEW)}; --label-pattern (label_patterns=) stores them "
                "with their image"
            )
        return "\n".join(lines)


def _more(names: list[str], told: int) -> str:
    return f", and {len(names) - told} more" if len(names) > told else ""
