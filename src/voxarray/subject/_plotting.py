"""The members of a subject that draw its images; none of them loads one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxarray.core.exhaustion import names_exhaustion
from voxarray.image import Image


class PlotMixin:
    """Images by name that can be looked at together."""

    if TYPE_CHECKING:

        @property
        def _facts(self) -> dict[str, Any]: ...

        @property
        def _images(self) -> dict[str, Image]: ...

    @names_exhaustion
    def plot(self, return_fig: bool = False, **kwargs: Any) -> Any:
        """Draw three planes of each image.

        Args:
            return_fig: Whether to return the figure.
            **kwargs: ``overlay=True`` draws the label maps over each of the other images, not
                beside them; the same label has a different colour in each map that has no colours
                of its own. ``cmap_dict`` holds colour maps by name of the image. ``figsize``,
                ``output_path``, ``show``, ``savefig_kwargs`` and the rest are those of
                `Image.plot`.

        Raises:
            MissingPackageError: If matplotlib is not installed.
        """
        from voxarray.rendering.subject_plot import plot

        figure = plot(self._images, **kwargs)
        return figure if return_fig else None

    @names_exhaustion
    def view(
        self,
        *,
        limit: int | str = "64 MiB",
        height: int = 400,
        percentiles: tuple[float, float] = (0, 100),
        opacity: float = 0.5,
        **options: Any,
    ) -> Any:
        """Show the images side by side in a notebook, with linked crosshairs and labels over each.

        Args:
            limit: Largest size of each image that is sent, as for `Image.view`.
            height: Height of the viewers, in pixels.
            percentiles: Which intensities become black and white.
            opacity: Opacity of the label maps, 0 to 1.
            **options: For each ``ipyniivue.NiiVue``.

        Returns:
            An ``ipywidgets.HBox`` of viewers; a single viewer if there is only one image besides
            labels.

        Raises:
            MissingPackageError, MemoryBudgetError, GridError, UnsupportedError: As `Image.view`.
        """
        from voxarray.rendering.subject_plot import apart
        from voxarray.rendering.volume import overlaid
        from voxarray.rendering.widget import Look, view_linked

        scans, labels = apart(self._images)
        for scan in scans.values():
            overlaid(scan, labels)
        look = Look(limit, height, percentiles, opacity, options)
        return view_linked(scans, labels, look)

    @names_exhaustion
    def _repr_html_(self) -> str | None:
        """All images as notebooks show them; None, hence text, without matplotlib."""
        from voxarray.rendering.subject_html import to_html

        images = {name: image._repr_html_() for name, image in self._images.items()}
        return to_html(images, self._facts)
