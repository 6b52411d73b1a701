"""Warnings about patterns that found fewer files than the user probably meant."""

from __future__ import annotations

import os
from collections.abc import Sequence

from voxarray.cohort.discover import path_list
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.dicom_folders import of_dicom_folders
from voxarray.cohort.discover.input import IMAGE, DiscoveredInput, source_told
from voxarray.cohort.discover.label_names import is_like_labels
from voxarray.cohort.discover.patterns import compile_pattern, of_brackets, told
from voxarray.cohort.discover.search import is_image, is_manifest
from voxarray.cohort.options import InputSelection
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.printable import printable
from voxarray.storage.remote.address import as_local, is_url

_TOLD = 3


def warn_of_patterns(
    inputs: Sequence[DiscoveredInput],
    choice: InputSelection,
    census: Census,
    sources: Sequence[str],
) -> None:
    """Warn of patterns that take no file, and of label maps that belong to no image.

    Several patterns of one image are alternatives: it is enough if one of them takes files.

    Args:
        inputs: The inputs.
        choice: The patterns.
        census: Of the search.
        sources: What was searched.
    """
    _warn_of_unused(inputs, choice, census, sources)
    _warn_of_alone(inputs)


def _warn_of_unused(
    inputs: Sequence[DiscoveredInput],
    choice: InputSelection,
    census: Census,
    sources: Sequence[str],
) -> None:
    if not (choice.image_patterns or choice.label_patterns):
        return
    if not census.by_pattern:
        kinds = (f"{printable(source)} is {_kind(source)}" for source in sources[:_TOLD])
        warn_by_code(
            "PATTERN_UNUSED",
            "the patterns have no effect: they apply only to plain folders of files, and "
            f"{', '.join(kinds)}. Give the folder instead, or leave the patterns out",
        )
        return
    for role, patterns in (("image", choice.image_patterns), ("label map", choice.label_patterns)):
        for image in dict.fromkeys(name for name, _ in patterns):
            alternatives = [pattern for pattern in patterns if pattern[0] == image]
            if not any(census.fits[role, *pattern] for pattern in alternatives):
                warn_by_code(
                    "PATTERN_UNUSED", _why_unused(alternatives, role, inputs, census, sources)
                )


def _kind(source: str) -> str:
    """What a source is that patterns do not apply to."""
    source = as_local(source)
    path = os.path.expanduser(source)
    if is_manifest(source):
        return "a table"
    if os.path.isdir(path) and not is_image(path):
        return "a folder that cannot be read"
    if os.path.isfile(path) and path.lower().endswith(path_list.SUFFIX):
        return "a list of images"
    return "a single image" if is_url(source) or os.path.lexists(path) else "a glob pattern"


def _why_unused(
    patterns: Sequence[tuple[str, str]],
    role: str,
    inputs: Sequence[DiscoveredInput],
    census: Census,
    sources: Sequence[str],
) -> str:
    rules = [compile_pattern(text) for _, text in patterns]
    match = next(
        (item for item in inputs if any(rule.fullmatch(item.source) for rule in rules)), None
    )
    if match is not None:
        return (
            f"{told(patterns)} takes no file as {role}: another pattern takes "
            f"{source_told(match.source)}"
            f" as {match.image!r}. If a file fits several patterns, label patterns win over image "
            "patterns; among patterns of one kind, the last one wins. Make this pattern more "
            "specific, or give it last"
        )
    names = census.misfits or [inputs[0].source]
    alike = (name for name in names if is_like_labels(name) == (role == "label map"))
    example = next(alike, names[0])
    # Without image patterns, what no pattern matches is an image.
    names = [*census.misfits, *(item.source for item in inputs if item.image == IMAGE)]
    return (
        f"no file matches {told(patterns)}, so there is no {role} by that pattern; "
        f"{source_told(example)}, for example, does not match{of_brackets(patterns)}"
        f"{of_dicom_folders(patterns, names, sources)}"
    )


def _warn_of_alone(inputs: Sequence[DiscoveredInput]) -> None:
    owners = dict.fromkeys(item.subject for item in inputs if item.kind == "intensity")
    orphans = [item for item in inputs if item.kind == "label" and item.subject not in owners]
    if not owners or not orphans:  # without any image, the user wants label maps only
        return
    example = orphans[0]
    names = ", ".join(repr(printable(name)) for name in list(owners)[:_TOLD])
    count = "1 label map belongs" if len(orphans) == 1 else f"{len(orphans)} label maps belong"
    warn_by_code(
        "LABELS_ALONE",
        f"{count} to no image, such as {source_told(example.source)}: its subject is "
        f"{printable(example.subject)!r}, and subjects with images are {names}"
        f"{', ...' if len(owners) > _TOLD else ''}. If they belong together, change the patterns "
        "(or the column of subjects) so that both give the same name",
    )
