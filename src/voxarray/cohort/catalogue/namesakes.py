"""Images and label maps of one name in two places of a subject, which a cohort cannot open."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.catalogue.pipelines import pipeline_of
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.printable import printable

CODE = "NAME_COLLISION"

_NAMED = 5
"""Namesakes that a warning names."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image or label map is.

    Attributes:
        archive: File name of its archive.
        image: Name of the image of this archive.
        label: Name of the label map in this archive; None for the image itself.
    """

    archive: str
    image: str
    label: str | None = None

    @property
    def name(self) -> str:
        """Its name in the subject."""
        return self.image if self.label is None else self.label

    def __str__(self) -> str:
        return self.archive if self.label is None else f"{self.archive}/labels/{self.label}"


@dataclass(frozen=True, slots=True)
class Namesakes:
    """Two places in which a subject has an image or label map of one name."""

    subject: str
    first: Place
    second: Place

    def __str__(self) -> str:
        """What is wrong with the second, and what to do."""
        name, image = self.second.name, self.second.image
        such = "" if name == image else f' such as "image == {image!r}"'
        return (
            f"has the same name, {name!r}, as {self.first} of the same subject, {self.subject!r}. "
            "A cohort cannot open such a subject: remove one of them (a label map with voxarray "
            "remove-labels, an archive by deleting it and running voxarray finalise), or "
            f"choose one by a query{such}"
        )

    def remark(self, unplanned: Collection[str]) -> str:
        """The same as a sentence, which knows what archives an earlier run has left."""
        old = [place for place in (self.first, self.second) if place.archive in unplanned]
        if len(old) != 1:
            return f"subjects/{self.second} {self}"
        (extra,) = old
        archive = f"subjects/{extra.archive}"
        cure = "delete this archive and run voxarray finalise"
        if extra.label is not None:  # the image in it may be wanted
            cure = f"remove {extra.label!r} from it (voxarray remove-labels), or {cure}"
        return (
            f"the subject {self.subject!r} has {extra.name!r} twice, as subjects/{self.first} "
            f"and as subjects/{self.second}, so a cohort cannot open it. An earlier run made "
            f"{archive}, and the plan no longer names it: {cure}"
        )


Places = dict[tuple[str, str | None, str], Place]
"""Of images and label maps, by subject, pipeline (they may be mixed on purpose) and name."""


def namesakes(archive: str, entry: Entry, places: Places) -> list[Namesakes]:
    """The images and label maps of an archive whose names the subject has elsewhere, too.

    Args:
        archive: Its file name.
        entry: Of this archive.
        places: Of the images and label maps that were met; those of this archive are added.
    """
    subject, image = entry.facts["subject"], entry.facts["image"]
    pipeline = pipeline_of(entry.facts["facts"])
    pairs = []
    for place in (Place(archive, image), *(Place(archive, image, label) for label in entry.labels)):
        first = places.setdefault((subject, pipeline, place.name), place)
        if first != place:
            pairs.append(Namesakes(subject, first, place))
    return pairs


def warn_of_namesakes(pairs: Sequence[Namesakes], unplanned: Collection[str], cohort: str) -> None:
    """Warn of subjects that a cohort cannot open.

    Args:
        pairs: What they have twice.
        unplanned: File names of archives that the plan no longer names.
        cohort: Path of the cohort.
    """
    if not pairs:
        return
    remarks = "; ".join(printable(pair.remark(unplanned)) for pair in pairs[:_NAMED])
    more = f"; and {len(pairs) - _NAMED} more, which voxarray verify names"
    warn_by_code(CODE, f"{cohort}: {remarks}{more if len(pairs) > _NAMED else ''}")
