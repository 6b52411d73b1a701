"""The plan of one subject of a mapped cohort: what a transform makes of it, or why it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voxarray.archive.metadata import Kind
from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.catalogue.pipelines import PIPELINE
from voxarray.cohort.mapped_facts import MappedFacts
from voxarray.cohort.mapped_keys import MappedKeys, changes_in
from voxarray.cohort.mapped_layers import archives_of
from voxarray.cohort.mapped_opener import (
    MakesNamedImages,
    MappedOpener,
    TransformLike,
    input_and_entry,
)
from voxarray.cohort.mapped_sources import MappedSources, layer_of
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.archive_names import slug
from voxarray.cohort.plan.described import description_digest
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.cohort.plan.item import Input, Item, Layer
from voxarray.cohort.plan.planning import header_of
from voxarray.core.errors import VoxarrayError
from voxarray.image import LabelMap

_NOWHERE = InputFingerprint(0, 0, "")


def items_of(
    member: Member, transform: TransformLike, description: Any, options: ArchiveOptions
) -> list[Item]:
    """The archives of a subject, for which nothing but headers is read; or its failure.

    Args:
        member: The subject.
        transform: What is applied to it.
        description: Of the transform, as it was before it was applied to any subject: some count.
        options: Of the archives.
    """
    opener, name = MappedOpener(member, transform), member.name
    inputs, entries, changes, error = _inputs(member)
    facts = MappedFacts.of(member, entries)
    recorded = [[item.source, item.header] for item in inputs]
    keys = MappedKeys(member, transform, description, recorded, options.digest(), changes)
    pipeline = {PIPELINE: description_digest(description)}
    if error is None:
        try:
            sources = MappedSources.of(member, inputs)
            return _items_made(opener, sources, facts, keys, pipeline, options)
        except Exception as raised:  # of a transform of the user's, too
            error = raised
    failure = failure_of(error, name, opener.places)
    # By the names that they have now, unless the transform says what it would call them.
    images = _by_name(member, inputs)
    if isinstance(transform, MakesNamedImages):
        first = MappedSources.of(member, inputs).first
        images = {image: (kind, first, ()) for image, kind in transform.makes.items()}
    return [
        Item(
            slug=slug(name, image),
            subject=name,
            image=image,
            kind=kind,
            origin=origin,
            layers=tuple(Layer(label, layer_of(origin, label)) for label in labels),
            facts={**facts.image(image, origin), **pipeline},
            key=keys.of_failing,
            failure=failure,
        )
        for image, (kind, origin, labels) in images.items()
    ]


_Failing = tuple[Kind, Input, tuple[str, ...]]
"""An image of a subject that fails: its kind, its archive, and the names of its label maps."""


def _by_name(member: Member, inputs: Sequence[Input]) -> dict[str, _Failing]:
    """The images of a subject as they are; of those of one name the first."""
    by_name: dict[str, _Failing] = {}
    for part, origin in zip(member.parts, inputs, strict=True):
        by_name.setdefault(part.image, (part.kind, origin, part.labels))
    return by_name


def _items_made(
    opener: MappedOpener,
    sources: MappedSources,
    facts: MappedFacts,
    keys: MappedKeys,
    pipeline: Mapping[str, str],
    options: ArchiveOptions,
) -> list[Item]:
    name, subject = opener.member.name, opener.subject()
    items = []
    for image, layers in archives_of(subject, sources):
        origin = sources.origin(image, subject.get_image(image))
        made_from = tuple(
            Layer(layer, sources.origin(layer, subject.get_image(layer), origin))
            for layer in layers
        )
        items.append(
            Item(
                slug=slug(name, image),
                subject=name,
                image=image,
                kind="label" if isinstance(subject[image], LabelMap) else "intensity",
                origin=origin,
                layers=made_from,
                header=header_of(subject.get_image(image).source, options),
                facts={**facts.image(image, origin), **pipeline},
                key=keys.of_image(
                    image, layers, [origin.source, *(layer.origin.source for layer in made_from)]
                ),
            )
        )
    return items


def _inputs(
    member: Member,
) -> tuple[list[Input], list[Entry | None], dict[str, str | None], Exception | None]:
    """The archives of a subject, their entries, which label maps of them were changed since they
    were made, and why one of them cannot be looked at.
    """
    inputs, entries, why = list[Input](), list[Entry | None](), None
    changes = dict[str, str | None]()
    for part in member.parts:
        try:
            one, entry = input_and_entry(member.root, part.archive)
            changes |= changes_in(member.root, part.archive, entry)
        except (VoxarrayError, OSError) as error:
            one, entry, why = Input(part.archive, _NOWHERE), None, why or error
        inputs.append(one)
        entries.append(entry)
    return inputs, entries, changes, why
