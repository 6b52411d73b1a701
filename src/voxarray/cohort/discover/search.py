"""From what a user names to the inputs that are meant: folders, globs, BIDS, manifests, lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from voxarray.cohort.discover import bids, closed_folders, manifest_table, path_list
from voxarray.cohort.discover.buckets import is_prefix, objects_below
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.duplicates import EarlierInputs, marked, told_apart
from voxarray.cohort.discover.files import image_paths, joined, names_below
from voxarray.cohort.discover.globs import matches
from voxarray.cohort.discover.input import IMAGE, LABEL, DiscoveredInput, stem
from voxarray.cohort.discover.label_names import is_like_labels
from voxarray.cohort.discover.patterns import compile_pattern, progress_in, subject_of
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.core.errors import MissingFileError, UnsupportedError
from voxarray.formats.registry import is_image_folder
from voxarray.storage.remote.address import WEB, Address, as_local, is_url
from voxarray.storage.small_files import is_file


def search(
    sources: Sequence[str],
    destination: str,
    choice: InputSelection = InputSelection(),
    options: ArchiveOptions = ArchiveOptions(),
    census: Census | None = None,
) -> list[DiscoveredInput]:
    """All inputs that some sources mean, in a fixed order; nothing is opened but manifests.

    Inputs that would be one image of one subject say so (`DiscoveredInput.collides_with`).

    Args:
        sources: Each a file, a folder, a glob, a BIDS dataset, a manifest (``.csv``, ``.tsv``,
            ``.parquet``), a list of paths or URLs (``.txt``), or a URL.
        destination: Folder of the cohort; its results are no sources.
        choice: Which files or columns belong together.
        options: Of the cohort.
        census: Told what was seen, and what became of it.

    Raises:
        MissingFileError: If a source is not there.
        FormatError: If a manifest or a ``.bidsignore`` cannot be read.
    """
    find = _Search(destination, choice, options, Census() if census is None else census)
    find.several = len(sources) > 1
    met = EarlierInputs(find.census, find.several)
    inputs_found: list[DiscoveredInput] = []
    for source in map(as_local, sources):
        # Two folders may both hold a t1.nii.gz: their own names tell them apart.
        prefix = prefix_of(source) if find.several else ""
        inputs = list(find.in_source(source, prefix if is_searched(source) else ""))
        # Each line of a table or list is an input, for somebody has written it there.
        inputs_found += inputs if _is_listing(source) else met.first(inputs)
    find.census.inputs = len(inputs_found)
    find.census.label_maps = sum(item.kind == "label" for item in inputs_found)
    find.census.likely_labels = [
        item.source
        for item in inputs_found
        if item.kind == "intensity" and is_like_labels(item.source)
    ]
    # Label maps first: without one, its scan is converted as if it had none.
    find.census.misfits.sort(key=is_like_labels, reverse=True)
    return told_apart(marked(inputs_found))


def is_searched(source: str) -> bool:
    """Whether a source, local or not, is searched for images."""
    return is_prefix(source) or (
        not is_url(source) and os.path.isdir(source) and not is_image(source)
    )


def is_manifest(source: str) -> bool:
    """Whether a source is a table with a row per subject."""
    return _is_file_named(source, manifest_table.SUFFIXES)


def _is_listing(source: str) -> bool:
    return _is_file_named(source, (*manifest_table.SUFFIXES, path_list.SUFFIX))


def _is_file_named(source: str, suffixes: tuple[str, ...]) -> bool:
    path = os.path.expanduser(source)
    return not is_url(source) and path.lower().endswith(suffixes) and os.path.isfile(path)


def cohort_named(sources: Sequence[str]) -> str | None:
    """The only source, if it is the folder of a cohort in which no other images are."""
    if len(sources) != 1:
        return None
    (source,) = map(as_local, sources)
    if is_url(source) and not is_prefix(source):
        return None
    path = source if is_url(source) else os.path.expanduser(source)
    if not is_url(path) and (not os.path.isdir(path) or is_image(path)):
        return None
    folder = CohortLayout.of(path)
    if not (folder.is_cohort() and is_file(folder.catalogue)):
        return None
    if is_url(path):
        return path
    return path if _other_image(folder) is None else None


def _other_image(folder: CohortLayout) -> str | None:
    """An image in the folder of a cohort that is none of its archives."""
    return next(
        (
            path
            for path in image_paths(folder.root)
            if not path.startswith(folder.subjects + os.sep)
        ),
        None,
    )


def why_no_cohort(sources: Sequence[str], option: str) -> str:
    """Why sources are no cohort of which files could be made, for whoever named them as one."""
    for source in sources:
        path = source if is_url(source) else os.path.expanduser(source)
        if is_url(path) or not os.path.isdir(path) or is_image(path):
            continue
        folder = CohortLayout.of(path)
        if above := cohort_above(source):
            return f"{source} is a part of the cohort {above}: give the folder {above}"
        if not folder.is_cohort():
            continue
        if len(sources) > 1:
            return f"there are {len(sources)} sources: give only the cohort {source}"
        if not is_file(folder.catalogue):
            return f"{source} has no catalogue yet: run voxarray finalise {source}"
        if other := _other_image(folder):
            return (
                f"{source} holds images outside of the cohort's archives, such as {other}: move "
                "these out of the folder, or open the cohort in Python (vx.Cohort), which does not "
                "read them"
            )
    verb = "is not a cohort" if len(sources) == 1 else "are not a cohort"
    return (
        f"{', '.join(sources[:3])} {verb}: to convert one image, give a file as the destination; "
        f"to convert many, first make a cohort, without {option}"
    )


def cohort_above(source: str) -> str | None:
    """The folder of the cohort whose archives are at a source, which is no cohort itself."""
    if is_url(source):
        return None
    above = CohortLayout.of(os.path.dirname(os.path.abspath(os.path.expanduser(source))))
    is_part = above.subjects == os.path.abspath(os.path.expanduser(source))
    return above.root if is_part and above.is_cohort() else None


def prefix_of(source: str) -> str:
    """What the names of images in one of several folders begin with."""
    return f"{os.path.basename(os.path.normpath(source))}/"


def found_at(
    source: str, choice: InputSelection, options: ArchiveOptions
) -> Iterable[DiscoveredInput]:
    """The inputs of one source that no folder has to be walked for."""
    return _Search("", choice, options, Census()).in_source(source, "")


def fixed_part(pattern: str) -> str:
    """The folder below which a pattern begins to vary, and names begin."""
    fixed = pattern[: min(pattern.index(c) for c in "*?[" if c in pattern)]
    return os.path.abspath(os.path.dirname(fixed) or ".")


def is_image(path: str) -> bool:
    """Whether a folder is one image, such as an archive."""
    return is_image_folder(Path(path))


@dataclass(slots=True)
class _Search:
    """What is the same for all sources of one search.

    Attributes:
        destination: Folder of the cohort.
        choice: Which files or columns belong together.
        options: Of the cohort.
        census: Told what was seen.
        several: Whether there are several sources.
    """

    destination: str
    choice: InputSelection
    options: ArchiveOptions
    census: Census
    several: bool = False

    def in_source(self, source: str, prefix: str) -> Iterable[DiscoveredInput]:
        """The inputs of one source."""
        if is_prefix(source):
            return self._below_prefix(source.rstrip("/"), prefix)
        if is_url(source):
            return [self._at_url(source)]
        path = os.path.expanduser(source)
        lower = path.lower()
        if os.path.isfile(path) and lower.endswith(manifest_table.SUFFIXES):
            return self._counted(
                manifest_table.found_in(path, self.choice, self.options, self.census)
            )
        if os.path.isfile(path) and lower.endswith(path_list.SUFFIX):
            return self._counted(_listed(path, self.options))
        if os.path.isdir(path) and not is_image(path):
            return self._in_folder(path, prefix)
        is_there = closed_folders.is_there(path)
        if not is_there and glob.has_magic(path):
            return self._globbed(path)
        if not is_there:
            raise MissingFileError(f"there is nothing at {path}: check the path", path=path)
        absolute = os.path.abspath(path)
        return self._counted([_alone(absolute, os.path.basename(absolute), self.options)])

    def _at_url(self, url: str) -> DiscoveredInput:
        address = Address.parse(url)
        if not address.name and address.scheme not in WEB:
            raise UnsupportedError(
                f"{url} names a whole store, and voxarray cannot search stores of "
                f"{address.scheme}://: write the URLs of its images into a list (.txt) or a "
                "table (.csv), one per line",
                code="REMOTE_FOLDER",
                path=url,
            )
        self.census.take()
        return _alone(url, manifest_table.name_of(url, ""), self.options)

    def _below_prefix(self, url: str, prefix: str) -> Iterable[DiscoveredInput]:
        below = objects_below(
            url, self.census, destination=self.destination, alone=not self.several
        )
        if below == [""]:
            return [_alone(url, manifest_table.name_of(url, ""), self.options)]
        return self._named_below(url, prefix, below)

    def _counted(self, inputs: Iterable[DiscoveredInput]) -> Iterator[DiscoveredInput]:
        for item in inputs:
            self.census.take()
            yield item

    def _in_folder(self, path: str, prefix: str) -> Iterable[DiscoveredInput]:
        below = image_paths(
            path,
            self.census,
            destination=self.destination,
            alone=not self.several,
            state_of=self._state_in(path),
        )
        names = names_below(path, below)
        closed = [
            n
            for n, path_below in zip(names, below, strict=True)
            if path_below in self.census.closed
        ]
        # Patterns and rules are about what a folder holds, which nobody can see in these.
        mute = closed_folders.not_ruled_out(path, closed)
        for name in set(closed).difference(mute):
            self.census.drop("by a rule of BIDS", joined(path, name))
        inputs = [_alone(joined(path, name), prefix + name, self.options) for name in mute]
        if closed == ["."]:
            return inputs
        return [*self._named_below(path, prefix, [n for n in names if n not in closed]), *inputs]

    def _state_in(self, path: str) -> Callable[[str], Hashable] | None:
        """What names of folders say of what is chosen in them; None if they say nothing."""
        patterns = [text for _, text in (*self.choice.image_patterns, *self.choice.label_patterns)]
        if patterns:
            return progress_in(patterns)
        if not bids.is_dataset(path):
            return None
        ignored = bids.Ignored.of(path)
        return lambda name: bids.state_of(name, ignored)

    def _named_below(
        self, path: str, prefix: str, names: Sequence[str]
    ) -> Iterable[DiscoveredInput]:
        inputs: Iterable[DiscoveredInput]
        if self.choice.image_patterns or self.choice.label_patterns:
            inputs = self._by_pattern(path, prefix, names)
        elif bids.is_dataset(path):
            return self._of_dataset(path, prefix, names)
        else:
            inputs = (_alone(joined(path, name), prefix + name, self.options) for name in names)
        rows = bids.participants(path, self.options.keep_metadata, self.census)
        return bids.with_participants(rows, prefix, inputs, self.options.keep_metadata)

    def _globbed(self, pattern: str) -> Iterator[DiscoveredInput]:
        root = fixed_part(pattern)
        paths = {*matches(pattern), *closed_folders.closed_to(pattern)}
        self.census.linked = True  # perhaps: a glob passes links and does not tell of them
        for path in sorted(paths):
            for image in image_paths(path, self.census, destination=self.destination, alone=False):
                location = os.path.abspath(image)
                name = os.path.relpath(location, root).replace(os.sep, "/")
                yield _alone(location, name, self.options)

    def _by_pattern(
        self, folder: str, prefix: str, names: Sequence[str]
    ) -> Iterator[DiscoveredInput]:
        choice, labels_only = self.choice, self.options.labels_only
        patterns = [(name, text, "image") for name, text in choice.image_patterns]
        patterns += [(name, text, "label map") for name, text in choice.label_patterns]
        rules = [(name, text, compile_pattern(text), role) for name, text, role in patterns]
        by_rule: list[list[DiscoveredInput]] = [[] for _ in rules]
        self.census.by_pattern = True
        for name in names:
            # Labels first: "*_seg.nii.gz" is also a "*.nii.gz".
            for number, (image, text, pattern, role) in reversed([*enumerate(rules)]):
                match = pattern.fullmatch(name)
                if match:
                    is_label = role == "label map"
                    self.census.fits[role, image, text] += 1
                    item = DiscoveredInput(
                        subject=prefix + (subject_of(match) or stem(name)),
                        image=image or (LABEL if is_label else IMAGE),
                        kind="label" if is_label or labels_only else "intensity",
                        source=prefix + name,
                        location=joined(folder, name),
                    )
                    by_rule[number].append(item)
                    break
            else:
                if choice.image_patterns:
                    self.census.note_misfit(prefix + name, joined(folder, name))
                else:  # only label maps were named: the rest are images
                    yield _alone(joined(folder, name), prefix + name, self.options)
        # In the order of the patterns: a label map goes with the image that was named first.
        for inputs in by_rule:
            yield from inputs

    def _of_dataset(
        self, folder: str, prefix: str, names: Sequence[str]
    ) -> Iterator[DiscoveredInput]:
        ignored = bids.Ignored.of(folder)
        rows = bids.participants(folder, self.options.keep_metadata, self.census)
        unlisted = set[str]()
        for name in names:
            rule = bids.ruled_out(name, ignored)
            if rule:
                self.census.drop(rule, joined(folder, name))
                continue
            entities = bids.entities(name)
            participant = f"sub-{entities['sub']}"
            if rows is not None and participant not in rows:
                unlisted.add(participant)
            is_label = entities["suffix"] in bids.LABEL_SUFFIXES or self.options.labels_only
            yield DiscoveredInput(
                subject=prefix + bids.subject_of(entities),
                image=bids.image_of(name),
                kind="label" if is_label else "intensity",
                source=prefix + name,
                location=joined(folder, name),
                entities=entities,
                kept=(rows or {}).get(participant, {}),
            )
        if rows is not None and unlisted:
            bids.warn_of_unlisted(unlisted, rows, self.options.keep_metadata)


def _alone(location: str, name: str, options: ArchiveOptions) -> DiscoveredInput:
    """An image that belongs to no other, at an absolute path or URL."""
    return DiscoveredInput(
        subject=_subject(location, name),
        image=IMAGE,
        kind="label" if options.labels_only else "intensity",
        source=name,
        location=location,
    )


def _subject(location: str, name: str) -> str:
    if os.path.isdir(location) and not is_image(location):
        return os.path.basename(location) if name == "." else name
    return stem(name)


def _listed(path: str, options: ArchiveOptions) -> Iterator[DiscoveredInput]:
    folder = os.path.dirname(os.path.abspath(path))
    for line in path_list.entries_of(path):
        location = manifest_table.location_of(line, folder)
        name = manifest_table.name_of(location, folder)
        absolute = location if is_url(location) else os.path.abspath(location)
        item = _alone(absolute, name, options)
        yield replace(item, is_relative=manifest_table.is_relative(line))
