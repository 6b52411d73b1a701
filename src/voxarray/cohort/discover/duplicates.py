"""Duplicate inputs: one scan that is found twice, or several scans with one name."""

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

_MAX_OTHERS = 5
"""Images of the same name that the error of an image names."""

_Key = tuple[str, str, str]


@dataclass(slots=True)
class EarlierInputs:
    """The inputs of earlier sources, by their real paths.

    A scan behind a link to a folder is the same scan as the one in that folder. A link to a file is
    an input of its own: two subjects may share a scan, and git-annex links all files of the same
    content to one.

    Attributes:
        census: Counts the inputs that are left out.
        several: Whether there are several sources.
    """

    census: Census
    several: bool
    _keys: set[_Key] = field(default_factory=set)
    _folders: dict[str, str] = field(default_factory=dict)

    def first(self, inputs: Sequence[DiscoveredInput]) -> list[DiscoveredInput]:
        """The inputs of a source that were not found before; paths without links are preferred.

        Several images that patterns make of one file all stay.
        """
        locations = {item.location for item in inputs}
        if not self.several and not self.census.linked and len(locations) == len(inputs):
            return list(inputs)  # nearly always: no path has to be resolved
        keys = [self._key(item) for item in inputs]
        first_numbers: dict[_Key, int] = {}
        for number, (item, key) in enumerate(zip(inputs, keys, strict=True)):
            if key in self._keys:
                continue
            best = first_numbers.setdefault(key, number)
            if strangeness(item.location, key[0]) < strangeness(inputs[best].location, key[0]):
                first_numbers[key] = number
        numbers = set(first_numbers.values())
        self._keys |= first_numbers.keys()
        for number, item in enumerate(inputs):
            if number not in numbers:
                self.census.drop(AGAIN, item.location)
        return [item for number, item in enumerate(inputs) if number in numbers]

    def _key(self, item: DiscoveredInput) -> _Key:
        location = item.location
        if not is_url(location):
            # If the input is a folder, such as an archive, a link to it is resolved, too.
            if os.path.isdir(location):
                location = os.path.realpath(location)
            else:
                folder, name = os.path.split(location)
                if folder not in self._folders:
                    self._folders[folder] = os.path.realpath(folder)
                location = os.path.join(self._folders[folder], name)
        return location, item.image, item.kind


def strangeness(path: str, real: str) -> int:
    """How many names at the beginning of a path differ from those of its real path.

    If the source itself lies behind a link, this holds for all of its inputs; a further link inside
    the source makes the number larger.
    """
    names, real_names = PurePath(path).parts, PurePath(real).parts
    pairs = zip(reversed(names), reversed(real_names), strict=False)
    return len(names) - len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def told_apart(inputs: Sequence[DiscoveredInput]) -> list[DiscoveredInput]:
    """The same inputs, with names that differ unless the locations are the same.

    Names hold only the end of a path, and not the query of a URL. If two of them are the same, a
    digest of the location is appended to each.
    """
    locations: dict[str, set[str]] = {}
    for item in inputs:
        locations.setdefault(item.source, set()).add(item.location)
    return [
        replace(item, source=f"{item.source}#{digest_of(item.location)}")
        if len(locations[item.source]) > 1
        else item
        for item in inputs
    ]


def digest_of(location: str) -> str:
    """Short digest of a location, to tell inputs of the same name apart."""
    encoded = location.encode("utf-8", "surrogateescape")
    return hashlib.sha256(encoded).hexdigest()[:_DIGITS]


def marked(inputs: Sequence[DiscoveredInput]) -> list[DiscoveredInput]:
    """The same inputs; those that would become the same image name each other."""
    owners: dict[tuple[str, str], list[DiscoveredInput]] = {}
    for item in inputs:
        owners.setdefault((item.subject, item.image), []).append(item)
    result = []
    for item in inputs:
        same = owners[item.subject, item.image]
        if len(same) > 1:
            others = tuple(other.source for other in same if other is not item)
            item = replace(item, collides_with=others[:_MAX_OTHERS])
        result.append(item)
    return result
