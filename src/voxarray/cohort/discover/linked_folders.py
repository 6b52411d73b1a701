"""A search through folders and links to folders, in which each folder is searched once."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.duplicates import AGAIN, strangeness
from voxarray.cohort.discover.listing import FolderReader, Listing

UPWARDS = "links to a folder that contains them"


def images_below(
    reader: FolderReader, state_of: Callable[[str], Hashable] | None = None
) -> Iterator[str]:
    """Paths of the images in a folder and below, in no order; links to folders are followed.

    A folder that links lead to is searched once, by its own name if it has one here. It has as
    many names as there are ways to it, which may be far too many to look at. If names choose
    images, one of them is tried for each of their states.

    Args:
        reader: Of the folder.
        state_of: What the name of a folder, with ``/`` at its end, says of what may be chosen in
            it.
    """
    search = _Search(reader, state_of or _no_state)
    yield from search.tree(reader.root, "")
    while search.links:
        yield from search.behind(heapq.heappop(search.links))


@dataclass(frozen=True, slots=True, order=True)
class _Link:
    """A link to a folder.

    Attributes:
        strangeness: How many names at the beginning of its path are not those of its target.
        path: By which it was met.
        target: Real path of the folder that it leads to.
        home: Real path of the folder that it lies in.
    """

    strangeness: int
    path: str
    target: str
    home: str


@dataclass(frozen=True, slots=True)
class _Contents:
    """How many files images have in a folder and below, and where links lead; none followed."""

    files: int
    targets: tuple[str, ...]


@dataclass(slots=True)
class _Search:
    """A search of one folder.

    Folders are known by a key: their real path, or, below the folder that is searched, the part of
    it that is below. So no real path is asked for where there are no links.
    """

    reader: FolderReader
    state_of: Callable[[str], Hashable]
    links: list[_Link] = field(default_factory=list)
    _own: set[str] = field(default_factory=set)
    _states: dict[str, set[Hashable]] = field(default_factory=dict)
    _listings: dict[str, Listing] = field(default_factory=dict)
    _contents: dict[str, _Contents] = field(default_factory=dict)
    _root: str = ""

    def tree(self, path: str, key: str) -> Iterator[str]:
        """Images in a folder and below; links are kept for later."""
        linked = bool(self._root)
        waiting = [(path, key)]
        while waiting:
            path, key = waiting.pop()
            if not linked:
                self._own.add(key)
                listing = self.reader.listing(path)
            elif self._is_known(path, key):
                self._count_again(key)
                continue
            else:
                listing = self._taken_again(path, key)
            if listing.closed:
                self.reader.census.closed.add(path)
            yield from (os.path.join(path, name) if name else path for name in listing.images)
            waiting += [(os.path.join(path, n), _join(key, n)) for n in listing.folders]
            for name in listing.links:
                self._keep(os.path.join(path, name), path)

    def behind(self, link: _Link) -> Iterator[str]:
        """Images behind a link, unless they were found before."""
        census, key = self.reader.census, self._key(link.target)
        if _contains(link.target, link.home) or _contains(link.target, self._root):
            census.ignore(UPWARDS)
            return
        census.linked = True
        if not self._is_known(link.path, key, mark=False):
            yield from self.tree(link.path, key)
            return
        self._count_again(key)
        upwards = sum(_contains(target, link.home) for target in self._contents_of(key).targets)
        if upwards:
            census.ignore(UPWARDS, upwards)

    def _keep(self, path: str, folder: str) -> None:
        self._root = self._root or os.path.realpath(self.reader.root)
        target = os.path.realpath(path)
        link = _Link(
            strangeness(os.path.abspath(path), target), path, target, os.path.realpath(folder)
        )
        heapq.heappush(self.links, link)

    def _key(self, path: str) -> str:
        if not _contains(self._root, path):
            return path
        return path.removeprefix(self._root).lstrip(os.sep)

    def _is_known(self, path: str, key: str, *, mark: bool = True) -> bool:
        """Whether a folder was searched by a name like this one."""
        states = self._states.setdefault(key, set())
        if key in self._own and not states:
            states.add(self.state_of(_name(os.path.join(self.reader.root, key), self.reader.root)))
        state = self.state_of(_name(path, self.reader.root))
        is_known = state in states
        if mark:
            states.add(state)
        return is_known

    def _taken_again(self, path: str, key: str) -> Listing:
        """What is in a folder that is searched by one name more."""
        if key in self._own or key in self._listings:
            listing = self._listing_of(key)
            census = self.reader.census
            census.take(listing.files)
            for name, count in listing.several.items():
                census.files[os.path.abspath(os.path.join(path, name))] = count
            return listing
        self._listings[key] = self.reader.listing(path)
        return self._listings[key]

    def _listing_of(self, key: str) -> Listing:
        """What is in a folder that was searched and counted before."""
        if key not in self._listings:
            quiet = FolderReader(self.reader.root, Census(), self.reader.destination)
            self._listings[key] = quiet.listing(os.path.join(self.reader.root, key))
        return self._listings[key]

    def _contents_of(self, key: str) -> _Contents:
        if key not in self._contents:
            files, targets, waiting = 0, list[str](), [key]
            while waiting:
                folder = waiting.pop()
                listing = self._listing_of(folder)
                files += listing.files
                waiting += [_join(folder, name) for name in listing.folders]
                real = os.path.join(self._root, folder)
                targets += [os.path.realpath(os.path.join(real, n)) for n in listing.links]
            self._contents[key] = _Contents(files, tuple(targets))
        return self._contents[key]

    def _count_again(self, key: str) -> None:
        files = self._contents_of(key).files
        if files:
            self.reader.census.ignore(AGAIN, files)


def _no_state(_: str) -> None:
    """Names choose nothing."""


def _contains(folder: str, path: str) -> bool:
    """Whether a place is a folder, or below it; both are real paths."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _join(key: str, name: str) -> str:
    return os.path.join(key, name) if key else name


def _name(path: str, root: str) -> str:
    """The name of a folder below another one, with ``/`` at its end."""
    name = os.path.relpath(path, root).replace(os.sep, "/")
    return "" if name == "." else f"{name}/"
