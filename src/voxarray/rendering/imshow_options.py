"""Keywords for matplotlib that are none, most of them misspelt ones of our own."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

_MEANT = {"label": "labels", "index": "indices", "segmentation": "labels", "overlay": "labels"}


def require_known(options: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Refuse what neither a function nor ``Axes.imshow`` takes.

    Matplotlib takes a ``label`` of anything, as the text of a legend: a label map would be lost.

    Args:
        options: What the function does not name itself.
        function: Whose other keywords may be meant.

    Raises:
        TypeError: For the first such keyword.
    """
    if not options:
        return
    from matplotlib.artist import ArtistInspector
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    own = [
        name
        for name, one in inspect.signature(function).parameters.items()
        if one.kind is not one.VAR_KEYWORD
    ]
    inspector = ArtistInspector(AxesImage)
    known = {*inspect.signature(Axes.imshow).parameters, *inspector.get_setters()}
    known |= {name for names in inspector.aliasd.values() for name in names}
    for name, value in options.items():
        if name in known and not (name == "label" and not isinstance(value, str)):
            continue
        meant = [_MEANT[name]] if _MEANT.get(name) in own else []
        meant = meant or difflib.get_close_matches(name, own, 1)
        raise TypeError(
            f"{function.__name__}() got an unexpected keyword argument {name!r}"
            + (f": use {meant[0]}=" if meant else f"; it takes {', '.join(own[1:])}")
        )
