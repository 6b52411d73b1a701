"""How lower storeys find the classes of images, which stand above them: the roof registers a way.

An accessor of arrays offers to make an image of its array. It may not import images, which are
made of arrays; whoever has both, the package's root, says where they are when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_find: list[Callable[[str], Any]] = []


def register(find: Callable[[str], Any]) -> None:
    """Remember what gives a public class by its name, imported when it is asked for."""
    _find[:] = [find]


def image_class(name: str) -> Any:
    """The class of that name, such as ``"LabelMap"``."""
    return _find[0](name)
