"""`GridSampler`: patches that cover a whole volume, for inference."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from voxarray.core.errors import OutOfRangeError
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.html_table import html_table
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Shape3
from voxarray.ops.fill_value import require_fill
from voxarray.ops.padding import Border
from voxarray.patches.batches import Patch
from voxarray.patches.patch_sizes import Size, require_fit, three
from voxarray.patches.subject_patches import SubjectPatches
from voxarray.subject import Subject


class GridSampler(SubjectPatches):
    """Patches of one size that cover a subject, by index: a dataset for a `DataLoader`.

    Indices run through the volume in disk order: along W first, then H, then D. Nothing is read
    before a patch is accessed, not even for the padded border. `GridAggregator` combines the
    predictions for the patches.

    Examples:
        >>> scan = vx.testing.sample()
        >>> sampler = vx.GridSampler(vx.Subject(t1=scan), patch_size=32, patch_overlap=4)
        >>> len(sampler)
        12
        >>> sampler[0]["t1"]["data"].shape
        torch.Size([1, 32, 32, 32])

    Args:
        subject: Images on one grid.
        patch_size: Voxels along W, H and D, or one number for all.
        patch_overlap: Voxels that neighbouring patches share; even, and less than the patch size.
            The last patch along an axis may overlap more, so that it ends with the volume.
        padding_mode: Pad the volume with a border that is half the overlap wide; its values are a
            number, or come from a mode of `Pad`. For ``"maximum"``, ``"mean"``, ``"median"`` and
            ``"minimum"``, each image is read once, before its first patch at the border. None does
            not pad.

    Raises:
        StateError: If a patch does not fit (``PATCH_TOO_LARGE``), or images are not on one grid
            (``GRIDS_DIFFER``); also a RuntimeError.
        ValueError: For an overlap that is odd, negative or too large.
        UnsupportedError: For another padding mode (``UNKNOWN_PADDING``), or a number that the type
            of an image cannot hold (``OUT_OF_TYPE``).
    """

    def __init__(
        self,
        subject: Subject | Mapping[str, Any],
        patch_size: Size,
        patch_overlap: Size = 0,
        padding_mode: str | float | None = None,
    ) -> None:
        super().__init__(Subject.of(subject))
        self.patch_size: Shape3 = three(patch_size, "Patch dimensions", 1)
        self.patch_overlap: Shape3 = three(patch_overlap, "Patch overlap", 0)
        _require_overlap(self.patch_overlap, self.patch_size)
        self.padding_mode = padding_mode
        x, y, z = (overlap // 2 for overlap in self.patch_overlap)
        self.padding = None if padding_mode is None else Border((x, y, z), padding_mode)
        if any((x, y, z)) and padding_mode is not None and not isinstance(padding_mode, str):
            for image in self.subject.get_images(intensity_only=False):
                require_fill(padding_mode, image.source.dtype, cut=True)
        self.grid: Grid = self.subject.grid
        require_fit(self.patch_size, self.padded_shape)
        self.starts: tuple[list[int], ...] = tuple(map(_starts, *self._axes()))

    @property
    def padded_shape(self) -> Shape3:
        """Voxels (W, H, D) of the volume with its border."""
        return self.padding.shape(self.grid.shape) if self.padding else self.grid.shape

    @property
    def locations(self) -> Any:
        """First voxel and the one after the last of every patch, an int64 tensor (n, 6)."""
        from voxarray.tensors.convert import integers

        rows = [self.location(index) for index in range(len(self))]
        return integers([number for row in rows for number in row]).reshape(-1, 6)

    def location(self, index: int) -> tuple[int, int, int, int, int, int]:
        """First voxel (W, H, D) of a patch and the one after its last, in the padded volume."""
        x, y, z = self._start(index)
        w, h, d = self.patch_size
        return x, y, z, x + w, y + h, z + d

    def __len__(self) -> int:
        x, y, z = map(len, self.starts)
        return x * y * z

    @names_exhaustion
    def __getitem__(self, index: int) -> Patch:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Patch]:
        """The patches of a batch, which a `DataLoader` asks for at once."""
        return self._read([self._start(index) for index in indices], self.patch_size, self.padding)

    def __iter__(self) -> Iterator[Patch]:
        return (self[index] for index in range(len(self)))

    def __call__(self) -> Iterator[Patch]:
        """All patches, in order."""
        return iter(self)

    def _repr_html_(self) -> str:
        """A table of what was asked for, for notebooks."""
        facts = {
            "patches": str(len(self)),
            "patch_size": self.patch_size,
            "patch_overlap": self.patch_overlap,
            "padding_mode": self.padding_mode,
            "volume": self.padded_shape,
        }
        return html_table(type(self).__name__, facts)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(patches: {len(self)}; patch_size: {self.patch_size}; "
            f"patch_overlap: {self.patch_overlap}; padding_mode: {self.padding_mode!r})"
        )

    def _start(self, index: int) -> Shape3:
        size, number = len(self), operator.index(index)
        if not -size <= number < size:
            raise OutOfRangeError(
                f"index {number} is out of range: the number of patches is {size}"
            )
        xs, ys, zs = self.starts
        rest, x = divmod(number % size, len(xs))
        z, y = divmod(rest, len(ys))
        return xs[x], ys[y], zs[z]

    def _axes(self) -> tuple[Shape3, Shape3, Shape3]:
        return self.padded_shape, self.patch_size, self.patch_overlap


def _starts(size: int, patch: int, overlap: int) -> list[int]:
    """First voxels of patches along an axis, as TorchIO places them."""
    starts = list(range(0, size - patch + 1, patch - overlap))
    if starts[-1] != size - patch:
        starts.append(size - patch)
    return starts


def _require_overlap(overlap: Shape3, patch: Shape3) -> None:
    if any(o >= p for o, p in zip(overlap, patch, strict=True)):
        raise ValueError(f"Patch overlap {overlap} must be smaller than patch size {patch}")
    if any(o % 2 for o in overlap):
        raise ValueError(f"Patch overlap must be made of even integers, not {overlap}")
