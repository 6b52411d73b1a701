"""From what a user names to the inputs that are meant: folders, globs, BIDS, manifests, lists."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from voxarray.cohort.discover import bids, manifest_table, patterns
from voxarray.cohort.discover.files import images, is_archive
from voxarray.cohort.discover.input import IMAGE, LABEL, Found, stem
from voxarray.cohort.options import Choice, CohortOptions
from voxarray.core.errors import FormatError, MissingFileError, UnsupportedError
from voxarray.storage.remote.address import WEB, Address, as_local, is_url

LIST_SUFFIX = ".txt"

_DIGITS = 8


def search(
    sources: Sequence[str],
    destination: str,
    choice: Choice = Choice(),
    options: CohortOptions = CohortOptions(),
) -> list[Found]:
    """All inputs that some sources mean, in a fixed order; nothing is opened but manifests.

    Args:
        sources: Each a file, a folder, a glob, a BIDS dataset, a manifest (``.csv``, ``.tsv``,
            ``.parquet``), a list of paths or URLs (``.txt``), or a URL.
        destination: Folder of the cohort: what is in it are results.
        choice: Which files or columns belong together.
        options: Of the cohort.

    Raises:
        MissingFileError: If a source is not there.
        FormatError: If two inputs would have one name (``NAME_COLLISION``).
    """
    several = len(sources) > 1
    found: list[Found] = []
    for source in sources:
        # Two folders may both hold a t1.nii.gz: their own names tell them apart.
        prefix = f"{os.path.basename(os.path.normpath(source))}/" if several else ""
        source = as_local(source)
        folder = not is_url(source) and os.path.isdir(source) and not is_archive_path(source)
        found += _one(source, destination, prefix if folder else "", choice, options)
    _refuse_collisions(found)
    return _told_apart(found)


def is_archive_path(path: str) -> bool:
    """Whether a path is that of an archive, which is one image though it is a folder."""
    from pathlib import Path

    return is_archive(Path(path))


def _one(
    source: str, destination: str, prefix: str, choice: Choice, options: CohortOptions
) -> Iterable[Found]:
    source = as_local(source)
    if is_url(source):
        address = Address.parse(source)
        if not address.name and address.scheme not in WEB:
            raise UnsupportedError(
                f"{source} names a whole store, which is not searched: write the URLs of its "
                "images into a list (.txt) or a table (.csv), one a line",
                code="REMOTE_FOLDER",
                path=source,
            )
        return [_alone(source, manifest_table.name_of(source, ""), options)]
    path = os.path.expanduser(source)
    lower = path.lower()
    if os.path.isfile(path) and lower.endswith(manifest_table.SUFFIXES):
        return manifest_table.found_in(path, choice, options)
    if os.path.isfile(path) and lower.endswith(LIST_SUFFIX):
        return _listed(path, options)
    if os.path.isdir(path) and not is_archive_path(path):
        names = _below(path, destination)
        if choice.image_patterns or choice.label_patterns:
            return _by_pattern(path, prefix, names, choice, options)
        if bids.is_dataset(path):
            return _of_dataset(path, prefix, names, options)
        return [_alone(os.path.join(path, name), prefix + name, options) for name in names]
    if not os.path.exists(path) and glob.has_magic(path):
        return _globbed(path, options)
    if not os.path.exists(path):
        raise MissingFileError(f"there is nothing at {path}", path=path)
    absolute = os.path.abspath(path)
    return [_alone(absolute, os.path.basename(absolute), options)]


def _alone(location: str, name: str, options: CohortOptions) -> Found:
    """An image that belongs to no other."""
    if not is_url(location):
        location = os.path.abspath(location)
    return Found(
        subject=_subject(location, name),
        image=IMAGE,
        kind="label" if options.labels_only else "intensity",
        source=name,
        location=location,
    )


def _subject(location: str, name: str) -> str:
    if os.path.isdir(location) and not is_archive_path(location):
        return os.path.basename(location) if name == "." else name
    return stem(name)


def _below(folder: str, destination: str) -> list[str]:
    """Paths of the images below a folder, with ``/``, sorted; ``.`` if it is one itself."""
    results = os.path.abspath(destination)
    names = []
    for path in images(folder):
        if os.path.abspath(path).startswith(os.path.join(results, "subjects") + os.sep):
            continue
        names.append(os.path.relpath(path, folder).replace(os.sep, "/"))
    return names


def _globbed(pattern: str, options: CohortOptions) -> Iterator[Found]:
    # Names begin where the pattern begins to vary.
    fixed = pattern[: min(pattern.index(c) for c in "*?[" if c in pattern)]
    root = os.path.abspath(os.path.dirname(fixed) or ".")
    for path in sorted(glob.glob(pattern, recursive=True)):
        for image in images(path):
            location = os.path.abspath(image)
            yield _alone(location, os.path.relpath(location, root).replace(os.sep, "/"), options)


def _listed(path: str, options: CohortOptions) -> Iterator[Found]:
    folder = os.path.dirname(os.path.abspath(path))
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    for line in lines:
        if line and not line.startswith("#"):
            location = manifest_table.location_of(line, folder)
            yield _alone(location, manifest_table.name_of(location, folder), options)


def _by_pattern(
    folder: str, prefix: str, names: Sequence[str], choice: Choice, options: CohortOptions
) -> Iterator[Found]:
    given = [(name, text, "intensity") for name, text in choice.image_patterns]
    given += [(name, text, "label") for name, text in choice.label_patterns]
    rules = [(name, patterns.compiled(text), kind) for name, text, kind in given]
    for name in names:
        # Labels first: "*_seg.nii.gz" is also a "*.nii.gz".
        for image, pattern, kind in reversed(rules):
            match = pattern.fullmatch(name)
            if match:
                yield Found(
                    subject=prefix + (patterns.subject_of(match) or stem(name)),
                    image=image or (LABEL if kind == "label" else IMAGE),
                    kind="label" if kind == "label" or options.labels_only else "intensity",
                    source=prefix + name,
                    location=os.path.abspath(os.path.join(folder, name)),
                )
                break
        else:
            if not choice.image_patterns:  # only label maps were named: the rest are images
                yield _alone(os.path.join(folder, name), prefix + name, options)


def _of_dataset(
    folder: str, prefix: str, names: Sequence[str], options: CohortOptions
) -> Iterator[Found]:
    ignored = bids.ignored_patterns(folder)
    kept = bids.participants(folder, options.keep_metadata)
    for name in names:
        if not bids.counts(name, ignored):
            continue
        entities = bids.entities(name)
        is_label = entities["suffix"] in bids.LABEL_SUFFIXES or options.labels_only
        yield Found(
            subject=prefix + bids.subject_of(entities),
            image=bids.image_of(name),
            kind="label" if is_label else "intensity",
            source=prefix + name,
            location=os.path.abspath(os.path.join(folder, name)),
            entities=entities,
            kept=kept.get(f"sub-{entities['sub']}", {}),
        )


def _told_apart(found: Sequence[Found]) -> list[Found]:
    """The same inputs, of which no two are called alike unless they are one.

    Of a URL the query is not shown, of a path no more than its end: where names are alike, a
    digest of the whole stands behind each.
    """
    places: dict[str, set[str]] = {}
    for one in found:
        places.setdefault(one.source, set()).add(one.location)
    return [
        replace(one, source=f"{one.source}#{_digest(one.location)}")
        if len(places[one.source]) > 1
        else one
        for one in found
    ]


def _digest(location: str) -> str:
    whole = location.encode("utf-8", "surrogateescape")
    return hashlib.sha256(whole).hexdigest()[:_DIGITS]


def _refuse_collisions(found: Sequence[Found]) -> None:
    owners: dict[tuple[str, str], Found] = {}
    for one in found:
        other = owners.setdefault((one.subject, one.image), one)
        if other is not one:
            raise FormatError(
                f"{other.source} and {one.source} would both be the image {one.image!r} of the "
                f"subject {one.subject!r}: convert them into different folders, or tell them apart "
                "with --image-pattern NAME=PATTERN",
                code="NAME_COLLISION",
            )
