"""Patterns of paths that say which files are images, which label maps, and of which subject."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

Patterns = Sequence[str] | Mapping[str, str | Sequence[str]]
"""Patterns of paths; with names, those of the images that they find."""

SUBJECT = "{subject}"
"""What stands for the subject's name, and for that alone, in a pattern."""

_WILD = re.compile(r"(\*\*/|\*|\?|\{subject\})")


def pattern_pairs(patterns: Patterns) -> tuple[tuple[str, str], ...]:
    """Pairs of the name of an image, or an empty one, and a pattern.

    Raises:
        TypeError: If something else than text is among them.
    """
    return tuple(_pairs(patterns))


def _pairs(patterns: Patterns) -> Iterator[tuple[str, str]]:
    named = patterns.items() if isinstance(patterns, Mapping) else [("", patterns)]
    for name, texts in named:
        for text in [texts] if isinstance(texts, str) else texts:
            if not isinstance(text, str):
                raise TypeError(
                    "a pattern is text such as '**/*_t1.nii.gz', patterns of named images are a "
                    f"mapping such as {{'t1': ['*_t1.nii.gz', '*_t1.nrrd']}}, and not {text!r}"
                )
            yield name, text


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of whole paths with ``/``, whose groups are what stands for the subject.

    These are all its stars, unless ``{subject}`` is there. If that is there twice, it is the same
    text twice.
    """
    named = SUBJECT in pattern
    known = {"**/": "(?:.*/)?", "*": "[^/]*"}
    if not named:
        known = {wild: f"({text})" for wild, text in known.items()}
    known |= {"?": "[^/]", SUBJECT: "([^/]+)"}
    parts = _WILD.split(pattern)
    text = ""
    for part in parts:
        again = part == SUBJECT and "([^/]+)" in text
        text += r"(?:\1)" if again else known.get(part, re.escape(part))
    return re.compile(text, re.DOTALL)


def progress_in(patterns: Sequence[str]) -> Callable[[str], Hashable]:
    """A function that says of a folder's name how far it takes some patterns.

    Behind two names for which it says the same, patterns choose the same.
    """
    beginnings = [_beginnings(pattern) for pattern in patterns]

    def progress(name: str) -> Hashable:
        """How far the patterns fit a name that ends with ``/``, or is empty."""
        found = []
        for number, rules in enumerate(beginnings):
            repeated = patterns[number].count(SUBJECT) > 1  # then its text matters later on
            for place, rule in enumerate(rules):
                match = rule.fullmatch(name)
                if match:
                    found.append((number, place, match.groups() if repeated else ()))
        return tuple(found)

    return progress


def _beginnings(pattern: str) -> list[re.Pattern[str]]:
    """What fits the first parts of a pattern: none of them, one, two, ... all but the last."""
    parts: list[str] = []
    for part in _WILD.split(pattern):
        parts += [part] if _WILD.fullmatch(part) else part
    return [compile_pattern("".join(parts[:count])) for count in range(len(parts))]


def subject_of(match: re.Match[str]) -> str:
    """What stood for the subject: ``sub-1/a`` for ``**/*_t1.nii`` of sub-1/a_t1.nii."""
    return "/".join(text.strip("/") for text in match.groups() if text)


def told(patterns: Sequence[tuple[str, str]]) -> str:
    """Patterns as a message names them."""
    return ", ".join(f"{image}={text}" if image else text for image, text in patterns)


def misfit(patterns: Sequence[tuple[str, str]], name: str) -> str:
    """What is said if no file fits any pattern, of which one is called ``name``."""
    said = f"no file matches {told(patterns)}; {name}, for example, does not"
    if any(not image and "=" in text for image, text in patterns):
        said += ". In Python, names are keys: image_patterns={'t1': '**/*_t1.nii.gz'}"
    return said
