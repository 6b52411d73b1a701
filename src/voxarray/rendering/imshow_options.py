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

    parameters = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    inspector = ArtistInspector(AxesImage)
    accepted = {*inspect.signature(Axes.imshow).parameters, *inspector.get_setters()}
    accepted |= {name for names in inspector.aliasd.values() for name in names}
    for name, value in options.items():
        if name in accepted and not (name == "label" and not isinstance(value, str)):
            continue
        suggestions = [_MEANT[name]] if _MEANT.get(name) in parameters else []
        suggestions = suggestions or difflib.get_close_matches(name, parameters, 1)
        raise TypeError(
            f"{function.__name__}() got an unexpected keyword argument {name!r}"
            + (
                f": use {suggestions[0]}="
                if suggestions
                else f"; it takes {', '.join(parameters[1:])}"
            )
        )
