"""Which image of a subject each image was made from that a transform returned."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from voxarray.cohort.catalogue.member import Member
from voxarray.cohort.plan.item import Input
from voxarray.image import Image
from voxarray.source.base import Source
from voxarray.storage.remote.address import is_url


@dataclass(frozen=True, slots=True)
class MappedSources:
    """The images of a subject, as what a transform makes can be traced to them.

    Attributes:
        by_place: Inputs by the paths or URLs of their images.
        by_name: The same by the names of the images.
        first: Of the first scan; of the first label map if there is no scan.
    """

    by_place: dict[str, Input]
    by_name: dict[str, Input]
    first: Input

    @classmethod
    def of(cls, member: Member, inputs: Sequence[Input]) -> MappedSources:
        """The images of a subject.

        Args:
            member: The subject.
            inputs: Its archives, in its order.
        """
        places, names = {}, {}
        for part, archive in zip(member.parts, inputs, strict=True):
            path = os.path.join(member.root, part.archive)
            places[_absolute(path)] = names[part.image] = archive
            for label in part.labels:
                layer = layer_of(archive, label)
                places[_absolute(os.path.join(path, "labels", label))] = names[label] = layer
        kinds = [part.kind for part in member.parts]
        first = kinds.index("intensity") if "intensity" in kinds else 0
        return cls(places, names, inputs[first])

    def origin(self, name: str, image: Image, otherwise: Input | None = None) -> Input:
        """What an image of the transformed subject was made from.

        Args:
            name: Of the image.
            image: The image. Several images of the subject may be in it: then its name decides.
            otherwise: What to return where neither the image nor its name tells.
        """
        read = (self.by_place.get(_absolute(path)) for path in _paths(image.source))
        origins = [item for item in read if item is not None]
        origin_of_name = self.by_name.get(name)
        if origin_of_name is not None and (not origins or origin_of_name in origins):
            return origin_of_name
        return origins[0] if origins else otherwise or self.first


def layer_of(archive: Input, label: str) -> Input:
    """A label map in an archive, as what an image is made from."""
    return replace(archive, source=f"{archive.source}/labels/{label}")


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


def _paths(source: Source) -> Iterator[str]:
    """Paths of what the voxels of a source are computed from, the first input first."""
    waiting, visited = [source], set[int]()
    while waiting:
        current = waiting.pop()
        if id(current) in visited:
            continue
        visited.add(id(current))
        if current.path is not None:
            yield current.path
        else:
            waiting += reversed(current.inputs)
