"""DICOM folders of several series, whose images cannot all have the name that the user chose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from voxarray.cohort.discover.input import IMAGE, LABEL, DiscoveredInput, source_told
from voxarray.cohort.plan.item import Item
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.names_elsewhere import listed


def warn_of_renamed(inputs: Sequence[DiscoveredInput], items: Iterable[Item]) -> None:
    """Warn of images that are called by the number of their series, and not as the user named them.

    Args:
        inputs: The inputs, with the names that patterns and columns give.
        items: Of the plan that was made of them.
    """
    chosen = {one.source: one.image for one in inputs if one.image not in (IMAGE, LABEL)}
    names: dict[str, dict[str, None]] = {}
    for item in items:
        images = ((item.image, item.origin), *((one.name, one.origin) for one in item.layers))
        for name, origin in images:
            if origin.series is not None and origin.source in chosen:
                names.setdefault(origin.source, {})[name] = None
    if not names:
        return
    folder, series = next(iter(names.items()))
    hold = "1 DICOM folder holds" if len(names) == 1 else f"{len(names)} DICOM folders hold"
    warn_by_code(
        "SERIES_RENAMED",
        f"{hold} several series. Each series becomes an image of its own, named by its number: "
        f"{source_told(folder)} gives {listed(series)}, and no {chosen[folder]!r}. Use these names "
        "in queries; or put each series into a folder of its own, and let the pattern (or the "
        "table) name that folder",
    )
