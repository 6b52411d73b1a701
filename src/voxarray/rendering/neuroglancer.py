"""`Image.neuroglancer`: all voxels of any volume in a browser, each read when it is looked at.

The kept library of the same name serves the page and what it asks for, from this process: on
localhost, under an address with a random token, and only as long as the process lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.keys import LABEL
from voxarray.core.label_colours import PALETTE_SIZE, paint
from voxarray.core.optional import import_optional
from voxarray.geometry.selection import Selection
from voxarray.rendering.intensity_window import FULL_RANGE, intensity_window
from voxarray.rendering.overview import require_parts
from voxarray.rendering.planes import View, as_channels, orthogonal
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

_INSTALL = "voxarray[neuroglancer]"

AXES = ("L", "P", "I")
"""Where coordinates grow to: in the cross-sections of Neuroglancer the first axis runs to the right
and the second and third downwards, so that right is on the left, the front and the head on top."""

_TO_LPI = np.diag([-1.0, -1.0, -1.0, 1.0])

_CENTRES = np.array([[1, 0, 0, -0.5], [0, 1, 0, -0.5], [0, 0, 1, -0.5], [0, 0, 0, 1.0]])
"""Neuroglancer's voxel 0 reaches from 0 to 1; in ours its centre is at 0."""

_PIXELS = 800  # of a window, in all panels: the volume fits in at first


def open_viewer(
    image: Drawable,
    labels: Mapping[str, Drawable],
    *,
    channel: int | None = None,
    percentiles: tuple[float, float] = FULL_RANGE,
    opacity: float = 0.5,
) -> Any:
    """A viewer of an image and label maps over it.

    Args:
        image: What to show.
        labels: Label maps by name, placed by their own affines.
        channel: Which channel of the image; by default the first, of label maps the last.
        percentiles: Of the middle planes; the intensities there are drawn black and white.
        opacity: Of label maps, 0 to 1.

    Returns:
        The ``neuroglancer.Viewer``; as a text it is the URL.

    Raises:
        MissingPackageError: If neuroglancer is not installed.
        MemoryBudgetError: For a file that is compressed as one piece (``ONE_PIECE``).
        UnsupportedError: For complex voxels.
    """
    neuroglancer = import_optional("neuroglancer", _INSTALL)
    for drawable in (image, *labels.values()):
        require_parts(drawable.source)
    stem = image["stem"] if isinstance(image["stem"], str) and image["stem"] else "image"
    viewer = neuroglancer.Viewer()
    space = neuroglancer.CoordinateSpace(names=AXES, units="mm", scales=[1, 1, 1])
    low, high = image.grid.bounds
    with viewer.txn() as state:
        state.dimensions = space
        state.layers[stem] = _layer(neuroglancer, image, channel, percentiles, opacity)
        for number, (name, drawable) in enumerate(labels.items()):
            layer = _layer(neuroglancer, drawable, None, percentiles, opacity, number)
            state.layers[name] = layer
        state.position = (_TO_LPI[:3, :3] @ ((low + high) / 2)).tolist()
        state.layout = "4panel"
        state.cross_section_scale = float(max(high - low)) / (_PIXELS * 0.42)
        state.projection_scale = float(max(high - low)) * 1.5
        state.cross_section_background_color = "#000000"
    return viewer


def _layer(
    neuroglancer: Any,
    image: Drawable,
    channel: int | None,
    percentiles: tuple[float, float],
    opacity: float,
    number: int = 0,
) -> Any:
    is_labels = image.type == LABEL
    default = -1 if is_labels else 0
    channels = as_channels(default if channel is None else channel, image.num_channels)
    volume = LazyVolume(image.source, channels, is_labels=is_labels)
    served = _served()(neuroglancer, volume)
    source = neuroglancer.LayerDataSource(
        url=served,
        transform=neuroglancer.CoordinateSpaceTransform(
            output_dimensions=neuroglancer.CoordinateSpace(
                names=AXES, units="mm", scales=[1, 1, 1]
            ),
            matrix=placement(image.source).tolist(),
        ),
    )
    if is_labels:
        layer = neuroglancer.SegmentationLayer(source=source, selected_alpha=opacity)
        layer.segment_colors = _colours(image, number)
        return layer
    view = View(channels=channels, pixels=256)
    pixels = [plane.pixels for plane in orthogonal(image.source, view)]
    low, high = intensity_window(pixels, percentiles)
    return neuroglancer.ImageLayer(
        source=source,
        opacity=1.0,
        shader=f"#uicontrol invlerp normalized(range=[{low!r}, {max(high, low + 1e-6)!r}])\n"
        "void main() { emitGrayscale(normalized()); }\n",
    )


def placement(source: Source) -> NDArray[np.float64]:
    """(3, 4) from a position in the volume, in millimetres along W, H and D, to mm along `AXES`.

    Neuroglancer counts voxels, and knows their size, before it applies this.
    """
    matrix: NDArray[np.float64] = (_TO_LPI @ source.affine @ _CENTRES)[:3]
    matrix[:, :3] /= source.grid.spacing
    return matrix


def _colours(image: Drawable, number: int) -> dict[int, str]:
    """The colours that `plot` gives labels over scans."""
    by_label = image.label_colours or {}
    values = sorted({*range(1, PALETTE_SIZE + 1), *(int(value) for value in by_label if value > 0)})
    painted = paint(np.array(values), by_label, over_scan=True, number=number)
    return {
        value: "#{:02x}{:02x}{:02x}".format(*colour)
        for value, colour in zip(values, painted.tolist(), strict=True)
    }


@dataclass(frozen=True)
class LazyVolume:
    """One channel of a source at any whole factor, read in parts.

    Attributes:
        source: What is read.
        channels: The one channel.
        is_labels: Whether voxels are labels, which Neuroglancer has as unsigned numbers.
    """

    source: Source
    channels: range
    is_labels: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(W, H, D)."""
        return self.source.grid.shape

    @property
    def dtype(self) -> np.dtype:
        """Type that voxels are shown in.

        Raises:
            UnsupportedError: For complex voxels (``COMPLEX``).
        """
        dtype = self.source.dtype
        if dtype.kind == "c":
            raise UnsupportedError(
                "Neuroglancer shows real numbers, and these are complex: take the magnitude first, "
                "abs(image.array)",
                code="COMPLEX",
                path=self.source.path,
            )
        if self.is_labels:
            small = dtype.kind == "u" and dtype.itemsize <= 4
            return dtype.newbyteorder("=") if small else np.dtype(np.uint64)
        if dtype.kind == "b":
            return np.dtype(np.uint8)
        is_small_integer = dtype.kind in "iu" and dtype.itemsize <= 4
        return dtype.newbyteorder("=") if is_small_integer else np.dtype(np.float32)

    def read(self, start: Sequence[int], end: Sequence[int], factors: Sequence[int]) -> NDArray:
        """Voxels (w, h, d) of the volume at a fraction of its resolution.

        Args:
            start: First voxel there.
            end: Behind the last one.
            factors: How many voxels of the volume become one, along W, H and D: from the coarsest
                level of the pyramid that has as many or more, and of that those in the middle.
        """
        level, steps = self._level(factors)
        ranges, short = [], []
        for first, last, step, n in zip(start, end, steps, level.shape[1:], strict=True):
            positions = range(int(first) * step + step // 2, int(last) * step, step)
            existing = positions[
                : max(1, len(range(positions.start, min(positions.stop, n), step)))
            ]
            # The last of them may lie outside by less than a step.
            ranges.append(existing if existing[-1] < n else range(n - 1, n))
            short.append((0, int(last) - int(first) - len(ranges[-1])))
        box = Selection((self.channels, ranges[0], ranges[1], ranges[2]))
        voxels = SlicedSource.of(level).read(box)[0]
        voxels = voxels.astype(np.int64) if self.is_labels and voxels.dtype.kind in "fi" else voxels
        return np.pad(voxels, short, "edge").astype(self.dtype)

    def _level(self, factors: Sequence[int]) -> tuple[Source, tuple[int, ...]]:
        for number in reversed(range(self.source.levels)):
            level = self.source.level(number) if number else self.source
            ratios = [
                round(coarse / fine)
                for coarse, fine in zip(level.grid.spacing, self.source.grid.spacing, strict=True)
            ]
            if all(factor % ratio == 0 for factor, ratio in zip(factors, ratios, strict=True)):
                return level, tuple(f // r for f, r in zip(factors, ratios, strict=True))
        return self.source, tuple(factors)


@cache
def _served() -> Any:
    """The class of volumes that its server hands out, made when there is such a library."""
    local = import_optional("neuroglancer.local_volume", _INSTALL)
    encode = import_optional("neuroglancer.chunks", _INSTALL).encode_npz

    class ServedVolume(local.LocalVolume):  # type: ignore[name-defined,misc]  # made late
        """Any factor of a `LazyVolume`, at the cost of what is shown."""

        def __init__(self, neuroglancer: Any, volume: LazyVolume) -> None:
            super().__init__(
                volume,
                dimensions=neuroglancer.CoordinateSpace(
                    names=["x", "y", "z"], units="mm", scales=volume.source.grid.spacing
                ),
                volume_type="segmentation" if volume.is_labels else "image",
                max_downsampling=float("inf"),
            )
            self._volume = volume

        def get_encoded_subvolume(
            self, data_format: str, start: Any, end: Any, scale_key: str
        ) -> tuple[bytes, str]:
            factors = [int(factor) for factor in scale_key.split(",")]
            if data_format != "npz" or len(factors) != 3 or min(factors) < 1:
                raise ValueError("Invalid request")
            shape = [-(-n // f) for n, f in zip(self._volume.shape, factors, strict=True)]
            if np.any(end <= start) or np.any(start < 0) or np.any(end > shape):
                raise ValueError("Out of bounds data request.")
            voxels = self._volume.read(start.tolist(), end.tolist(), factors)
            return encode(voxels), "application/octet-stream"

    return ServedVolume
