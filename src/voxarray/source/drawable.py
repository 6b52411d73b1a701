"""What rendering and bridges ask of an image, so that they need not know the class."""

from __future__ import annotations

from collections.abc import ItemsView
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxarray.core.memory import MemoryReport
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Shape3, Shape4
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    import torch


class Fields(Protocol):
    """The metadata of an image, which is a dict of them."""

    def __contains__(self, key: object, /) -> bool:
        """Whether there is such a field."""

    def __getitem__(self, key: str, /) -> Any:
        """The field of a name."""

    def items(self) -> ItemsView[str, Any]:
        """Names and fields."""


class Drawable(Fields, Protocol):
    """Voxels with a kind, a place and colours: an `Image`, seen from below."""

    @property
    def source(self) -> SlicedSource:
        """The voxels as they are now."""

    @property
    def type(self) -> str:
        """`INTENSITY`, `LABEL`, `SAMPLING_MAP` or another name."""

    @property
    def label_colours(self) -> dict[float, tuple[int, int, int]] | None:
        """RGB of the values of a label map; None where there are none."""

    @property
    def shape(self) -> Shape4:
        """Shape (C, W, H, D)."""

    @property
    def num_channels(self) -> int:
        """C."""

    @property
    def chunks(self) -> Shape4:
        """Preferred block (C, W, H, D)."""

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres along each voxel axis."""

    @property
    def orientation_str(self) -> str:
        """Codes of the voxel axes, such as ``RAS``."""

    @property
    def path(self) -> Any:
        """Where the image comes from; None for data in memory."""

    def memory_report(self) -> MemoryReport:
        """What the image costs."""


class TensorLike(Fields, Protocol):
    """An image that other libraries can be handed as a tensor with its place."""

    check_nans: bool

    @property
    def type(self) -> str:
        """`INTENSITY`, `LABEL`, `SAMPLING_MAP` or another name."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm of voxel centres."""

    @property
    def spatial_shape(self) -> Shape3:
        """(W, H, D)."""

    @property
    def path(self) -> Any:
        """Where the image comes from; None for data in memory."""

    def to_tensor(self) -> torch.Tensor:
        """Tensor (C, W, H, D)."""
