"""How the images of a mapped cohort are opened: archives, and a transform applied to them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from voxarray.archive.metadata import Kind
from voxarray.archive.options import LabelLayer
from voxarray.cohort.catalogue.entry import Entry, entry_of
from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.cohort.plan.item import Input, Item
from voxarray.cohort.plan.opened_inputs import Opened, divided
from voxarray.core.errors import FormatError, SourceChangedError
from voxarray.core.transform_misfits import naming_misfits
from voxarray.subject import Subject

TransformLike = Callable[[Subject], Subject]


class MakesNamedImages(ABC):
    """A transform that knows the names of its images, also of a subject that it cannot be given."""

    @property
    @abstractmethod
    def makes(self) -> Mapping[str, Kind]:
        """Names of all images of every transformed subject, and whether each is a label map."""

    @abstractmethod
    def label_maps_used(self, subject: Subject) -> Collection[str]:
        """Names of those label maps of a subject that the images depend on; others may be there."""

    @abstractmethod
    def __call__(self, subject: Subject) -> Subject:
        """The subject of these images; reads nothing."""


@dataclass(frozen=True, slots=True)
class MappedOpener:
    """Opens the images of a subject and applies a transform.

    Attributes:
        member: The subject.
        transform: What is applied.
    """

    member: Member
    transform: TransformLike

    @property
    def places(self) -> dict[str, str]:
        root = self.member.root
        return {os.path.join(root, part.archive): part.archive for part in self.member.parts}

    def subject(self) -> Subject:
        """The subject after the transform; only headers are read."""
        with naming_misfits():
            result: Any = self.transform(self.member.subject())
        if not isinstance(result, Subject):
            raise FormatError(
                f"the transform returned {type(result).__name__} for a subject: the function "
                "must return a Subject",
                code="BAD_TRANSFORM",
            )
        return result

    def open(self, item: Item) -> Opened:
        archive, _ = divided(item.origin.source)
        if input_of(self.member.root, archive).header != item.origin.header:
            raise SourceChangedError(
                f"{archive} was replaced after it was planned: save again",
                path=archive,
            )
        transformed = self.subject()
        source = transformed.get_image(item.image).source
        layers = {}
        for layer in item.layers:
            label = transformed.get_image(layer.name).source
            layers[layer.name] = LabelLayer(label, label.label_table)
        return Opened(source, source.label_table, layers)


def input_of(root: str, archive: str) -> Input:
    """An archive as an input; its key stands for its content, wherever the archive was made."""
    return input_and_entry(root, archive)[0]


def input_and_entry(root: str, archive: str) -> tuple[Input, Entry | None]:
    """As `input_of`, and what the manifest of the archive says; None if it is damaged."""
    path = os.path.join(root, archive)
    entry = entry_of(path)
    key = "" if entry is None else entry.key
    return Input(archive, InputFingerprint.of(path), key), entry
