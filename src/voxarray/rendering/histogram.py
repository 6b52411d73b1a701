"""`Image.hist`: a histogram of all voxels, counted out of core, drawn by matplotlib."""

from __future__ import annotations

from typing import Any

from voxarray.rendering.matplotlib_import import pyplot
from voxarray.source.base import Source
from voxarray.statistics.histogram import Bins, histogram


def hist(
    source: Source,
    *,
    bins: Bins | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002  # matplotlib's name
    show: bool = True,
    **kwargs: Any,
) -> None:
    """Draw a histogram of all voxels into the current axes.

    Args:
        source: The voxels.
        bins: Number of bins, their edges, or the name of a rule; by default Freedman's and
            Diaconis's.
        range: Smallest and largest value to count.
        show: Whether to show the figure.
        **kwargs: For ``Axes.hist``: ``density``, ``log``, ``color``, ``cumulative``...

    Raises:
        MissingPackageError: If matplotlib is not installed.
    """
    plt = pyplot()
    found = histogram(source, bins, range)
    axes = plt.gca()
    # One value per bin, as heavy as the voxels in it: matplotlib draws it as it draws voxels.
    axes.hist(found.edges[:-1], found.edges, weights=found.counts, **kwargs)
    axes.set_xlabel("Intensity")
    axes.set_ylabel("Density" if kwargs.get("density") else "Frequency")
    if show:
        plt.show()
