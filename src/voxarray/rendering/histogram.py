"""`Image.hist`: a histogram of all voxels, counted out of core, drawn by matplotlib."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import Any

from voxarray.core.progress import ProgressOption, reporting, title_of
from voxarray.rendering.figure_file import save_figure
from voxarray.rendering.matplotlib_import import pyplot
from voxarray.source.base import Source
from voxarray.statistics.histogram import Bins, histogram
from voxarray.storage.destination import local_destination

_SAVED: weakref.WeakSet[Any] = weakref.WeakSet()
"""Figures that are files by now: another histogram over theirs would not be what was asked for."""


def hist(
    source: Source,
    *,
    bins: Bins | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002  # matplotlib's name
    show: bool = True,
    output_path: str | os.PathLike[str] | None = None,
    savefig_kwargs: Mapping[str, Any] | None = None,
    progress: ProgressOption = None,
    **kwargs: Any,
) -> None:
    """Draw a histogram of all voxels into the current axes.

    A new figure is made if the current axes show an image, as after `plot`, or a histogram that
    ``output_path`` has saved.

    Args:
        source: The voxels.
        bins: Number of bins, their edges, or the name of a rule; by default Freedman's and
            Diaconis's.
        range: Smallest and largest value to count.
        show: Whether to show the figure.
        output_path: Where to save the figure.
        savefig_kwargs: Keywords for ``Figure.savefig``.
        progress: True shows a progress bar, False none, None (the default) only in a terminal or
            notebook; or a function of (bytes done, bytes in all).
        **kwargs: For ``Axes.hist``: ``density``, ``log``, ``color``, ``cumulative``...

    Raises:
        MissingPackageError: If matplotlib is not installed.
    """
    if output_path is not None:
        output_path = local_destination(output_path)
    plt = pyplot()
    with reporting(progress, title_of(source.path, "histogram")) as report:
        result = histogram(source, bins, range, report)
    axes = _axes(plt)
    # One value per bin, as heavy as the voxels in it: matplotlib draws it as it draws voxels.
    axes.hist(result.edges[:-1], result.edges, weights=result.counts, **kwargs)
    axes.set_xlabel("Intensity")
    axes.set_ylabel("Density" if kwargs.get("density") else "Frequency")
    if axes.figure.axes == [axes] and axes.figure.get_layout_engine() is None:
        # Counts of millions are wide, and would push the label of the axis out of the picture.
        axes.figure.tight_layout()
    if output_path is not None:
        save_figure(axes.figure, output_path, savefig_kwargs)
        _SAVED.add(axes.figure)
    if show:
        plt.show()


def _axes(plt: Any) -> Any:
    """Where a histogram is drawn: the current axes, as in TorchIO, unless they show a picture."""
    axes = plt.gca()
    is_taken = axes.images or not axes.get_visible() or axes.figure in _SAVED
    return plt.figure().gca() if is_taken else axes
