"""What a user should know of a search by patterns that found less than was meant."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.input import DiscoveredInput
from voxarray.cohort.discover.patterns import compile_pattern, told
from voxarray.cohort.options import InputSelection
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.printable import printable

_TOLD = 3


def warn_of_patterns(
    found: Sequence[DiscoveredInput], choice: InputSelection, census: Census, sources: Sequence[str]
) -> None:
    """Warn of patterns that take no file, and of label maps that belong to no image.

    Several patterns of one image stand for each other: it is enough if one of them takes files.

    Args:
        found: The inputs.
        choice: The patterns.
        census: Of the search.
        sources: What was searched.
    """
    _warn_of_unused(found, choice, census, sources)
    _warn_of_alone(found)


def _warn_of_unused(
    found: Sequence[DiscoveredInput], choice: InputSelection, census: Census, sources: Sequence[str]
) -> None:
    if not (choice.image_patterns or choice.label_patterns):
        return
    if not census.by_pattern:
        warn_by_code(
            "PATTERN_UNUSED",
            "patterns choose among the files of a folder, and "
            f"{', '.join(map(printable, sources[:_TOLD]))} is no folder that is searched by them, "
            "so they have no effect: give the folder, or leave them out",
        )
        return
    for what, patterns in (("image", choice.image_patterns), ("label map", choice.label_patterns)):
        for image in dict.fromkeys(name for name, _ in patterns):
            same = [pattern for pattern in patterns if pattern[0] == image]
            if not any(census.fits[what, *pattern] for pattern in same):
                warn_by_code("PATTERN_UNUSED", _why_unused(same, what, found, census))


def _why_unused(
    same: Sequence[tuple[str, str]], what: str, found: Sequence[DiscoveredInput], census: Census
) -> str:
    rules = [compile_pattern(text) for _, text in same]
    taken = next((one for one in found if any(rule.fullmatch(one.source) for rule in rules)), None)
    if taken is not None:
        return (
            f"{told(same)} takes no file as {what}: another pattern takes {printable(taken.source)}"
            f" as {taken.image!r}. If a file fits several patterns, label patterns win over image "
            "patterns; among patterns of one kind, the last one wins. Make this pattern more "
            "specific, or give it last"
        )
    other = census.misfit or found[0].source
    return (
        f"no file matches {told(same)}, so there is no {what} by that pattern; "
        f"{printable(other)}, for example, does not match"
    )


def _warn_of_alone(found: Sequence[DiscoveredInput]) -> None:
    owners = dict.fromkeys(one.subject for one in found if one.kind == "intensity")
    alone = [one for one in found if one.kind == "label" and one.subject not in owners]
    if not owners or not alone:  # without any image, label maps are what is wanted
        return
    first = alone[0]
    names = ", ".join(repr(printable(name)) for name in list(owners)[:_TOLD])
    count = "1 label map belongs" if len(alone) == 1 else f"{len(alone)} label maps belong"
    warn_by_code(
        "LABELS_ALONE",
        f"{count} to no image, such as {printable(first.source)}: its subject is "
        f"{printable(first.subject)!r}, and subjects with images are {names}"
        f"{', ...' if len(owners) > _TOLD else ''}. If they belong together, change the patterns "
        "(or the column of subjects) so that both give the same name",
    )
