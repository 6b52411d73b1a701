"""Patterns of paths that select images and label maps, and find the names of subjects."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from voxarray.cohort.discover.input import source_told

Patterns = Sequence[str] | Mapping[str, str | Sequence[str]]
"""Patterns of paths; in a mapping, the keys are the names of the images."""

SUBJECT = "{subject}"
"""Placeholder for the subject's name in a pattern."""

_WILD = re.compile(r"(\*\*/|\*|\?|\{subject\})")
_BRACKETS = re.compile(r"\[[^/]+\]")


def pattern_pairs(patterns: Patterns) -> tuple[tuple[str, str], ...]:
    """Pairs of the name of an image, or an empty one, and a pattern.

    Raises:
        TypeError: If something else than text is among them.
    """
    return tuple(_pairs(patterns))


def _pairs(patterns: Patterns) -> Iterator[tuple[str, str]]:
    by_name = patterns.items() if isinstance(patterns, Mapping) else [("", patterns)]
    for name, texts in by_name:
        for text in [texts] if isinstance(texts, str) else texts:
            if not isinstance(text, str):
                raise TypeError(
                    f"{text!r} is not a pattern: give text such as '**/*_t1.nii.gz', or, to name "
                    "the images, a mapping such as {'t1': ['*_t1.nii.gz', '*_t1.nrrd']}"
                )
            yield name, text


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression for whole paths with ``/``; its groups form the name of the subject.

    The groups are all stars, or only ``{subject}``, if the pattern has it. If it is there twice,
    both must match the same text.
    """
    has_subject = SUBJECT in pattern
    translations = {"**/": "(?:.*/)?", "*": "[^/]*"}
    if not has_subject:
        translations = {wild: f"({text})" for wild, text in translations.items()}
    translations |= {"?": "[^/]", SUBJECT: "([^/]+)"}
    parts = _WILD.split(pattern)
    text = ""
    for part in parts:
        is_repeated = part == SUBJECT and "([^/]+)" in text
        text += r"(?:\1)" if is_repeated else translations.get(part, re.escape(part))
    return re.compile(text, re.DOTALL)


def progress_in(patterns: Sequence[str]) -> Callable[[str], Hashable]:
    """A function that says of a folder's name how far it takes some patterns.

    Behind two names for which it says the same, patterns choose the same.
    """
    beginnings = [_beginnings(pattern) for pattern in patterns]

    def progress(name: str) -> Hashable:
        """How far the patterns fit a name that ends with ``/``, or is empty."""
        fits = []
        for number, rules in enumerate(beginnings):
            repeated = patterns[number].count(SUBJECT) > 1  # then its text matters later on
            for position, rule in enumerate(rules):
                match = rule.fullmatch(name)
                if match:
                    fits.append((number, position, match.groups() if repeated else ()))
        return tuple(fits)

    return progress


def _beginnings(pattern: str) -> list[re.Pattern[str]]:
    """What fits the first parts of a pattern: none of them, one, two, ... all but the last."""
    parts: list[str] = []
    for part in _WILD.split(pattern):
        parts += [part] if _WILD.fullmatch(part) else part
    return [compile_pattern("".join(parts[:count])) for count in range(len(parts))]


def subject_of(match: re.Match[str]) -> str:
    """Name of the subject in a match: ``sub-1/a`` for ``**/*_t1.nii`` and sub-1/a_t1.nii."""
    return "/".join(text.strip("/") for text in match.groups() if text)


def told(patterns: Sequence[tuple[str, str]]) -> str:
    """Patterns as a message names them."""
    return ", ".join(f"{image}={text}" if image else text for image, text in patterns)


def of_brackets(patterns: Sequence[tuple[str, str]]) -> str:
    """What a message adds if a pattern has brackets, which in other globs list characters."""
    if not any(_BRACKETS.search(text) for _, text in patterns):
        return ""
    return (
        ". Brackets match only themselves here, and case matters: for several spellings, give "
        "several patterns"
    )


def misfit(patterns: Sequence[tuple[str, str]], name: str) -> str:
    """The message if no file matches any pattern; ``name`` is an example of a file."""
    message = f"no file matches {told(patterns)}. A file that does not match: {source_told(name)}"
    message += of_brackets(patterns)
    if any(not image and "=" in text for image, text in patterns):
        message += ". In Python, write NAME=PATTERN as image_patterns={'t1': '**/*_t1.nii.gz'}"
    return message
