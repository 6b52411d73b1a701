"""Inputs that are alike: one scan that is met twice, or several that one name would mean."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.input import DiscoveredInput
from voxarray.storage.remote.address import is_url

AGAIN = "met a second time, through a link to a folder or another source"

_DIGITS = 8

_TOLD = 5
"""Others of the same name that an image tells of."""

_Place = tuple[str, str, str]


@dataclass(slots=True)
class MetBefore:
    """What sources have led to so far, by its real place.

    A link to a folder leads to scans that have their own names elsewhere. A link to a file is an
    input of its own: two subjects may share a scan, and git-annex links all files of one content to
    one.

    Attributes:
        census: Told what is left out.
        several: Whether there are several sources.
    """

    census: Census
    several: bool
    _seen: set[_Place] = field(default_factory=set)
    _folders: dict[str, str] = field(default_factory=dict)

    def first(self, inputs: Sequence[DiscoveredInput]) -> list[DiscoveredInput]:
        """Those inputs of a source that were not met before; if there is a choice, without a link.

        As different images that patterns make of one file, all stay.
        """
        locations = {one.location for one in inputs}
        if not self.several and not self.census.linked and len(locations) == len(inputs):
            return list(inputs)  # as nearly always: no place is asked about
        places = [self._place(one) for one in inputs]
        chosen: dict[_Place, int] = {}
        for number, (one, place) in enumerate(zip(inputs, places, strict=True)):
            if place in self._seen:
                continue
            best = chosen.setdefault(place, number)
            if strangeness(one.location, place[0]) < strangeness(inputs[best].location, place[0]):
                chosen[place] = number
        numbers = set(chosen.values())
        self._seen |= chosen.keys()
        for _ in range(len(inputs) - len(numbers)):
            self.census.drop(AGAIN)
        return [one for number, one in enumerate(inputs) if number in numbers]

    def _place(self, one: DiscoveredInput) -> _Place:
        location = one.location
        if not is_url(location):
            # Of a folder that is one image, the last name may be a link, too.
            if os.path.isdir(location):
                location = os.path.realpath(location)
            else:
                folder, name = os.path.split(location)
                if folder not in self._folders:
                    self._folders[folder] = os.path.realpath(folder)
                location = os.path.join(self._folders[folder], name)
        return location, one.image, one.kind


def strangeness(path: str, real: str) -> int:
    """How many names at the beginning of a path are not those of its real place.

    The source may itself lie behind a link; a link inside of it makes them more.
    """
    names, places = PurePath(path).parts, PurePath(real).parts
    pairs = zip(reversed(names), reversed(places), strict=False)
    return len(names) - len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def told_apart(found: Sequence[DiscoveredInput]) -> list[DiscoveredInput]:
    """The same inputs, of which no two are called alike unless they are one.

    Of a URL the query is not shown, of a path no more than its end: where names are alike, a
    digest of the whole stands behind each.
    """
    places: dict[str, set[str]] = {}
    for one in found:
        places.setdefault(one.source, set()).add(one.location)
    return [
        replace(one, source=f"{one.source}#{digest_of(one.location)}")
        if len(places[one.source]) > 1
        else one
        for one in found
    ]


def digest_of(location: str) -> str:
    """What tells a place from another of the same name."""
    whole = location.encode("utf-8", "surrogateescape")
    return hashlib.sha256(whole).hexdigest()[:_DIGITS]


def marked(found: Sequence[DiscoveredInput]) -> list[DiscoveredInput]:
    """The same inputs, of which those that would be one image name each other."""
    owners: dict[tuple[str, str], list[DiscoveredInput]] = {}
    for one in found:
        owners.setdefault((one.subject, one.image), []).append(one)
    marked = []
    for one in found:
        others = [other for other in owners[one.subject, one.image] if other is not one]
        marked.append(replace(one, collides_with=tuple(o.source for o in others[:_TOLD])))
    return marked
