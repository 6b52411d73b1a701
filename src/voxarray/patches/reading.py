"""The same box of all images of a subject, from their sources into memory that is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.source import ArchiveSource
from voxarray.core.keys import PATH, STEM, TYPE
from voxarray.core.promotion import cast, tensor_dtype
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape3
from voxarray.ops.padding import Border
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.padded import padded
from voxarray.subject import Subject

Layout = tuple[tuple[str, int, str], ...]
"""Name, channels and tensor type of each image: what patches of one batch must agree in."""


@dataclass(frozen=True, eq=False)
class Patched:
    """One image, ready to be read.

    Attributes:
        name: In the subject.
        source: Its voxels.
        dtype: Of the tensor.
        facts: What a patch says of its image besides: path, stem and type.
    """

    name: str
    source: SlicedSource
    dtype: np.dtype
    facts: Mapping[str, str]


class SubjectReader:
    """Reads patches of one subject; opens its images, and reads no voxels yet.

    Attributes:
        grid: Of all images.
        images: In the order of the subject.
        remote: Those that can be fetched ahead: archives behind URLs, with what is taken of them.
        facts: Fields of the subject that a batch can hold: texts, numbers, arrays and tensors.

    Raises:
        StateError: If the images are not on one grid (``GRIDS_DIFFER``); also a RuntimeError.
    """

    def __init__(self, subject: Subject) -> None:
        self.grid: Grid = subject.grid
        images = subject.get_images_dict(intensity_only=False)
        self.images = [_patched(name, image) for name, image in images.items()]
        self.remote = [
            (one.source.base, one.source.selection)
            for one in self.images
            if isinstance(one.source.base, ArchiveSource) and one.source.base.is_remote
        ]
        self._borders: dict[tuple[int, Border], Source] = {}
        self.facts = {k: v for k, v in subject.items() if k not in images and _can_be_batched(v)}

    def layout(self) -> Layout:
        """What must be equal for patches to lie in one batch."""
        return tuple((image.name, image.source.shape[0], image.dtype.name) for image in self.images)

    def read(
        self,
        start: Sequence[int],
        outs: Sequence[NDArray],
        padding: Border | None = None,
    ) -> None:
        """Read the box that begins at ``start`` (W, H, D).

        Args:
            start: First voxel; of the padded volume if there is a padding.
            outs: For each image (C, w, h, d) in its tensor type, best a view of (C, d, h, w).
            padding: What surrounds the volume.
        """
        for number, (image, out) in enumerate(zip(self.images, outs, strict=True)):
            box = [range(s, s + n) for s, n in zip(start, out.shape[1:], strict=True)]
            if padding is None or padding.is_inside(box, self.grid.shape):
                first = padding.before if padding else (0, 0, 0)
                x, y, z = (range(r.start - b, r.stop - b) for r, b in zip(box, first, strict=True))
                channels = range(image.source.shape[0])
                image.source.read_into(Selection((channels, x, y, z)), out)
            else:
                channels = range(image.source.shape[0])
                bordered = self._bordered(number, padding)
                cast(bordered.read(Selection((channels, box[0], box[1], box[2]))), out)

    def fetch(self, start: Shape3, size: Shape3, most: int, skipped: int = 0) -> int:
        """Fetch what `read` needs of remote archives into the cache, in the background.

        Args:
            start: First voxel (W, H, D).
            size: Voxels (W, H, D).
            most: Bytes; images that need more are left out.
            skipped: So many of the first remote images are left out, too.

        Returns:
            Bytes that are fetched now.

        Raises:
            VoxarrayError: If the index of a shard cannot be read.
        """
        x, y, z = (range(s, s + n) for s, n in zip(start, size, strict=True))
        fetched = 0
        for source, taken in self.remote[skipped:]:
            selection = taken.compose(Selection((range(taken.shape[0]), x, y, z)))
            fetched += source.fetch_ahead(selection, most - fetched)
        return fetched

    def _bordered(self, number: int, border: Border) -> Source:
        """An image with its border; of what needs its statistics, that is found once."""
        bordered = self._borders.get((number, border))
        if bordered is None:
            source = self.images[number].source
            bordered = padded(source, border.before, border.before, border.mode)
            self._borders[number, border] = bordered
        return bordered

    def affine(self, start: Sequence[int], padding: Border | None = None) -> NDArray[np.float64]:
        """(4, 4) of the patch that begins at ``start`` (W, H, D)."""
        before: Shape3 = padding.before if padding else (0, 0, 0)
        affine = np.array(self.grid.affine)
        affine[:3, 3] += affine[:3, :3] @ np.subtract(start, before)
        return affine


def _patched(name: str, image: Any) -> Patched:
    source = image.source
    facts = {key: str(image[key]) for key in (PATH, STEM, TYPE)}
    return Patched(name, source, tensor_dtype(source.dtype), facts)


def _can_be_batched(value: Any) -> bool:
    is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biufc"
    is_tensor = hasattr(value, "untyped_storage")
    is_number = isinstance(value, (bool, int, float, np.integer, np.floating, np.bool_))
    return is_array or is_tensor or is_number or isinstance(value, str)
