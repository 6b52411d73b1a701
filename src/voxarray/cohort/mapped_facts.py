"""Which facts of a subject's archives the images have that a transform makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.plan.item import Input
from voxarray.cohort.plan.opened_inputs import divided

_OF_THE_IMAGE = {"suffix"}
"""Facts that an image of another name does not have in common with what it was made of."""


@dataclass(frozen=True, slots=True)
class MappedFacts:
    """Facts for the catalogue about the images of a subject.

    Attributes:
        by_image: By the names of the images that have archives.
        by_archive: The same by the paths of the archives, below the folder of the cohort.
    """

    by_image: Mapping[str, Mapping[str, Any]]
    by_archive: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, member: Member, entries: Sequence[Entry | None]) -> MappedFacts:
        """The facts of a subject.

        Args:
            member: The subject.
            entries: What the manifests of its archives say, in its order; None for damaged ones.
        """
        by_image, by_archive = {}, {}
        for part, entry in zip(member.parts, entries, strict=True):
            if entry is not None:
                facts: Mapping[str, Any] = entry.facts["facts"]
                by_image[part.image] = by_archive[part.archive] = facts
        return cls(by_image, by_archive)

    def image(self, name: str, origin: Input) -> Mapping[str, Any]:
        """The facts of one image of the transformed subject.

        Args:
            name: Of the image. One that keeps its name keeps all facts.
            origin: What it was made from. An image of another name, such as a prediction, has its
                facts, too, such as age and session.
        """
        if name in self.by_image:
            return self.by_image[name]
        archive, _ = divided(origin.source)
        facts = self.by_archive.get(archive, {})
        return {key: value for key, value in facts.items() if key not in _OF_THE_IMAGE}
