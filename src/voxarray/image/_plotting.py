"""The members of an image that draw, film or count its voxels; none of them loads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.keys import LABEL
from voxarray.image._origin import PathLike
from voxarray.source.drawable import Drawable
from voxarray.source.sliced import SlicedSource
from voxarray.storage.destination import local_destination


class PlotMixin:
    """An image that can be looked at."""

    if TYPE_CHECKING:

        @property
        def source(self) -> SlicedSource: ...

        @property
        def type(self) -> str: ...

        @property
        def _backing(self) -> SlicedSource: ...

    @property
    def label_colours(self) -> dict[float, tuple[int, int, int]] | None:
        """RGB colours of a label map by value, if its file has them; None for intensities."""
        from voxarray.core.label_colours import own_colours

        return own_colours(self._backing) if self.type == LABEL else None

    @names_exhaustion
    def plot(self: Drawable, return_fig: bool = False, **kwargs: Any) -> Any:
        """Draw the sagittal, coronal and axial plane, or a single slice.

        Only these planes are read; from an archive, those of the coarsest level that fills the
        figure.

        Args:
            return_fig: Whether to return the figure.
            **kwargs: Any of these, and what ``Axes.imshow`` takes:

                * ``channel``: which channel or volume; by default the first one, for label maps
                  the last one. ``rgb``: whether to draw three channels as colours.
                * ``indices``: index of the voxel, in the image as drawn, through which the planes
                  run; by default the middle. ``reorient``: whether the image is drawn in RAS+ (the
                  default), or along W, H and D as stored.
                * ``labels``: a label map, or several by name, to draw over the planes, each placed
                  by its own affine. ``opacity``: of these, 0 to 1.
                * ``percentiles``: black and white are the intensities at these percentiles of what
                  is drawn. ``cmap``: a colour map; for labels also a dict of colours, by name or
                  RGB from 0 to 255.
                * ``radiological``: whether the patient's right is on the left (the default).
                  ``xlabels``: whether to label the left and right sides.
                * ``figsize`` (inches), ``title``, ``axes`` (of matplotlib, to draw into), ``show``,
                  ``output_path``, and ``savefig_kwargs`` for ``Figure.savefig``.

        Raises:
            MissingPackageError: If matplotlib is not installed.
            GridError: If a label map does not overlap the image (``NO_OVERLAP``).
        """
        from voxarray.rendering.volume import plot

        figure = plot(self, **kwargs)
        return figure if return_fig else None

    @names_exhaustion
    def hist(self, **kwargs: Any) -> None:
        """Draw a histogram of all voxels, which are counted piece by piece.

        Args:
            **kwargs: ``bins`` (a number, edges, or one of NumPy's rules ``"auto"``, ``"fd"``, the
                default, ``"rice"``, ``"sqrt"`` and ``"sturges"``), ``range``, ``show``,
                ``output_path`` and ``savefig_kwargs`` (as for `plot`), ``progress`` (as for
                `statistics`), and what ``Axes.hist`` takes: ``density``, ``log``, ``color``...

        Raises:
            MissingPackageError: If matplotlib is not installed.
        """
        from voxarray.rendering.histogram import hist

        hist(self.source, **kwargs)

    @names_exhaustion
    def show(self: Drawable, viewer_path: PathLike | None = None) -> None:
        """Open the image in an external program, and return immediately.

        Args:
            viewer_path: The program; by default that of the environment variable
                ``SITK_SHOW_COMMAND``, else ITK-SNAP or 3D Slicer if one is found.

        Raises:
            StateError: If there is no such program; also a RuntimeError.
        """
        from voxarray.image._external_viewer import show

        show(self, viewer_path)

    @names_exhaustion
    def view(
        self: Drawable,
        labels: Drawable | Mapping[str, Drawable] | None = None,
        *,
        limit: int | str = "64 MiB",
        height: int = 400,
        percentiles: tuple[float, float] = (0, 100),
        opacity: float = 0.5,
        **options: Any,
    ) -> Any:
        """Show the image in a notebook, in an interactive viewer (NiiVue).

        The patient's right is on the left, as in pictures. From an archive, the finest level of the
        pyramid within the limit is read and sent to the browser. If no level is within the limit,
        or if a file of another format is larger, every n-th voxel is sent, so that volumes of any
        size open immediately. Only a large file whose voxels are one compressed stream, such as a
        ``.nii.gz``, is refused. `neuroglancer` shows all voxels.

        Args:
            labels: A label map, or several by name, to draw over the image, each placed by its own
                affine.
            limit: Largest size of each image that is sent, in bytes or as a text such as ``"256
                MiB"``.
            height: Height of the viewer, in pixels.
            percentiles: Black and white are the intensities at these percentiles of the middle
                planes, as in `plot`.
            opacity: Opacity of the labels, 0 to 1.
            **options: For ``ipyniivue.NiiVue``.

        Returns:
            An ``ipyniivue.NiiVue``, which notebooks show. The name of its first volume says which
            level is shown, such as ``"t1, level 1.nii"``.

        Raises:
            MissingPackageError: If ipyniivue is not installed (extra ``notebook``).
            MemoryBudgetError: For a large file whose voxels are one compressed stream, such as a
                ``.nii.gz`` (``ONE_PIECE``); nothing was read.
            GridError: If a label map does not overlap the image (``NO_OVERLAP``); nothing was read.
            UnsupportedError: For voxels that NIfTI has no type for.
        """
        from voxarray.rendering.volume import overlaid
        from voxarray.rendering.widget import Look, view

        look = Look(limit, height, percentiles, opacity, options)
        return view(self, overlaid(self, labels), look)

    @names_exhaustion
    def neuroglancer(
        self: Drawable,
        labels: Drawable | Mapping[str, Drawable] | None = None,
        *,
        channel: int | None = None,
        percentiles: tuple[float, float] = (0, 100),
        opacity: float = 0.5,
    ) -> Any:
        """Show a volume of any size in a browser at full resolution; only voxels in view are read.

        The page and the voxels come from a server in this process: it listens on localhost only,
        under a random address, and stops with the process. Coordinates are mm towards left,
        posterior and inferior, so that the patient's right is on the left.

        Args:
            labels: A label map, or several by name, to draw over the image, each placed by its own
                affine.
            channel: Which channel; by default the first one, for label maps the last one.
            percentiles: Black and white are the intensities at these percentiles of the middle
                planes, as in `plot`.
            opacity: Opacity of the labels, 0 to 1.

        Returns:
            A ``neuroglancer.Viewer``: print it to get the URL; a notebook shows a link.

        Raises:
            MissingPackageError: If neuroglancer is not installed (extra ``neuroglancer``).
            MemoryBudgetError: For a large file whose voxels are one compressed stream, such as a
                ``.nii.gz`` (``ONE_PIECE``); nothing was read.
            GridError: If a label map does not overlap the image (``NO_OVERLAP``); nothing was read.
            UnsupportedError: For complex voxels (``COMPLEX``).
        """
        from voxarray.rendering.neuroglancer import open_viewer
        from voxarray.rendering.volume import overlaid

        return open_viewer(
            self,
            overlaid(self, labels),
            channel=channel,
            percentiles=percentiles,
            opacity=opacity,
        )

    @names_exhaustion
    def lightbox(self: Drawable, return_fig: bool = False, **kwargs: Any) -> Any:
        """Draw many parallel slices beside each other.

        Args:
            return_fig: Whether to return the figure.
            **kwargs: ``plane`` (``"axial"``, ``"coronal"`` or ``"sagittal"``), ``slices`` and
                ``columns`` (how many of each), and, as for `plot`: ``channel``, ``labels``,
                ``opacity``, ``percentiles``, ``radiological``, ``figsize``, ``title``, ``show``,
                ``output_path``, ``savefig_kwargs``, and what ``Axes.imshow`` takes.

        Raises:
            MissingPackageError: If matplotlib is not installed.
        """
        from voxarray.rendering.lightbox import lightbox

        figure = lightbox(self, **kwargs)
        return figure if return_fig else None

    @names_exhaustion
    def to_gif(
        self,
        axis: int,
        duration: float,
        output_path: PathLike,
        loop: int = 0,
        rescale: bool = True,
        optimize: bool = True,
        reverse: bool = False,
    ) -> None:
        """Save an animated GIF of all slices along a voxel axis, drawn as `plot` draws them.

        Args:
            axis: 0, 1 or 2: W, H or D.
            duration: Seconds that the whole animation takes.
            output_path: Replaced if it exists.
            loop: How often it is played; 0 is for ever.
            rescale: Scale the intensities to the range from black to white. Otherwise intensities
                are used as grey levels, and clipped to 0 to 255. Labels are drawn in their
                colours.
            optimize: Leave unused colours out of the GIF's colour tables.
            reverse: Play the slices in reverse order.

        Raises:
            MissingPackageError: If Pillow is not installed.
            ValueError: For another axis, or a duration that is not positive.
        """
        from voxarray.rendering.gif import write_gif

        write_gif(
            self.source,
            local_destination(output_path),
            axis=axis,
            duration=duration,
            loop=loop,
            rescale=rescale,
            optimize=optimize,
            reverse=reverse,
            colours=self.label_colours,
        )

    @names_exhaustion
    def to_video(
        self,
        output_path: PathLike,
        frame_rate: float | None = 15,
        seconds: float | None = None,
        direction: str = "I",
        verbosity: str = "error",
    ) -> None:
        """Save a video of all slices along a direction in the patient, drawn as `plot` draws them.

        Args:
            output_path: ``.mp4`` (H.264) or ``.webm`` (VP9), replaced if it exists.
            frame_rate: Slices per second.
            seconds: Duration of the whole video, instead of a frame rate.
            direction: Direction in which the slices advance: ``"I"``, ``"S"``, ``"A"``, ``"P"``,
                ``"R"`` or ``"L"``.
            verbosity: Level of the codec's messages: ``"quiet"``, ``"error"``, ``"warning"``,
                ``"info"`` or ``"debug"``.

        Raises:
            MissingPackageError: If PyAV is not installed.
            ValueError: For an unknown suffix, direction or verbosity; if ``seconds`` is given
                together with a frame rate other than the default, or neither is given.
        """
        from voxarray.rendering.video import write_video

        write_video(
            self.source,
            local_destination(output_path),
            frame_rate=frame_rate,
            seconds=seconds,
            direction=direction,
            verbosity=verbosity,
            colours=self.label_colours,
        )

    @names_exhaustion
    def _repr_html_(self: Drawable) -> str | None:
        """Header facts and three planes for notebooks; None, hence text, without matplotlib."""
        from voxarray.rendering.image_html import to_html

        return to_html(self)
