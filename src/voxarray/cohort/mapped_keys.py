"""Keys of the archives of a mapped cohort: digests of all that they are made from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxarray.archive.added_content import changed_labels
from voxarray.archive.layer_names import FOLDER
from voxarray.cohort.catalogue.entry import Entry, entry_of
from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.mapped_opener import MakesNamedImages, TransformLike
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.plan import key_of
from voxarray.cohort.unchanged import Unchanged

Changes = Mapping[str, str | None]
"""Digests of label maps by their paths below the folder of the cohort; None if removed."""


def changes_in(root: str, archive: str, entry: Entry | None) -> Changes:
    """Label maps that came, changed or went after an archive was made.

    Its key stays the same then: what is made from a corrected label map would count as up to date.

    Args:
        root: Folder of the cohort.
        archive: Its path below that.
        entry: What its manifest says; None if it is damaged.

    Raises:
        VoxarrayError: It cannot be read.
    """
    if entry is None or not entry.generation:
        return {}
    labels = changed_labels(os.path.join(root, archive))
    return {f"{archive}/{FOLDER}/{name}": digest for name, digest in labels.items()}


@dataclass(frozen=True, slots=True)
class MappedKeys:
    """Keys of what a transform makes of one subject.

    Attributes:
        member: The subject.
        transform: What is applied to it.
        description: Of the transform, as it was before it was applied to any subject.
        archives: Path and key of each archive of the subject.
        options: Digest of the options of the new archives.
        changes: Label maps that came, changed or went after the archives were made.
    """

    member: Member
    transform: TransformLike
    description: Any
    archives: Sequence[Sequence[str]]
    options: str
    changes: Changes

    @classmethod
    def now(
        cls, member: Member, transform: TransformLike, description: Any, options: str
    ) -> MappedKeys:
        """The keys by what the archives are now; their manifests are read."""
        archives, changes = list[list[str]](), dict[str, str | None]()
        for part in member.parts:
            entry = entry_of(os.path.join(member.root, part.archive))
            archives.append([part.archive, "" if entry is None else entry.key])
            changes |= changes_in(member.root, part.archive, entry)
        return cls(member, transform, description, archives, options, changes)

    @property
    def _all(self) -> list[Any]:
        return [self.archives, self.description, self.options]

    @property
    def of_failing(self) -> str:
        """Key of all images of a subject that the transform does not fit."""
        more = [sorted(self.changes.items())] if self.changes else []  # any of them may be why
        return key_of([self.member.name, *self._all, *more])

    def of_item(self, item: Item) -> str:
        """Key of what was planned."""
        if item.failure is not None:
            return self.of_failing
        layers = [layer.name for layer in item.layers]
        return self.of_image(item.image, layers, [one.source for one in item.inputs])

    def of_image(self, image: str, layers: Sequence[str], sources: Sequence[str]) -> str:
        """Key of an image.

        Args:
            image: Its name.
            layers: Names of the label maps that are archived with it.
            sources: Paths of what image and label maps are made from, if they stay as they are.
        """
        used = self._used(sources)
        more = [sorted(used.items())] if used else []  # or keys would differ from those of before
        return key_of([self.member.name, image, list(layers), *self._all, *more])

    def _used(self, sources: Sequence[str]) -> Changes:
        """Those of the changes that an image may depend on.

        A transform may look at each label map of its subject, as masks are: nothing tells at which.
        """
        if not self.changes:
            return {}
        if isinstance(self.transform, Unchanged):
            wanted = {*sources}
        elif isinstance(self.transform, MakesNamedImages):
            names = self.transform.label_maps_used(self.member.subject())
            wanted = {
                f"{part.archive}/{FOLDER}/{label}"
                for part in self.member.parts
                for label in part.labels
                if label in names
            }
            wanted |= {path for path, digest in self.changes.items() if digest is None}
        else:
            return self.changes
        return {path: digest for path, digest in self.changes.items() if path in wanted}
