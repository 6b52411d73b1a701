"""The state of an image: its fields, the window that it shows, and its tensor once loaded."""

from __future__ import annotations

import copy
import math
import warnings
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxarray.errors import StateError
from voxarray.grid import Grid
from voxarray.image.arguments import affine_argument, is_tensor, voxels_argument
from voxarray.image.geometry import Geometry
from voxarray.image.keys import AFFINE, DATA, RESERVED, TYPE
from voxarray.image.origin import OnePath, Origin
from voxarray.image.record import Record
from voxarray.materialise import projected_peak
from voxarray.memory import MemoryReport, require
from voxarray.promotion import tensor_dtype
from voxarray.selection import Shape4
from voxarray.sources.base import Source
from voxarray.sources.window import Window

if TYPE_CHECKING:
    import torch


Copied = TypeVar("Copied", bound="Holder")


class Holder(Geometry, Record):
    """Fields, and voxels in one place: a window on a source, or the tensor made of it.

    The tensor lies in the dict under ``"data"``, and only there. Subclasses set `_origin` and
    `check_nans` and call `_hold` for voxels that are given.
    """

    check_nans: bool
    _origin: Origin | None
    _window: Window | None = None

    # --- What is known without reading ----------------------------------------------------------

    @property
    def source(self) -> Window:
        """The voxels as they are now: those of the tensor if it is loaded, else of the file."""
        tensor = self.get(DATA)
        if tensor is None:
            return self._backing
        from voxarray.tensors import TensorSource

        return Window.of(TensorSource(tensor, self._backing.affine, self._backing.channels))

    @property
    def shape(self) -> Shape4:
        """Shape (C, W, H, D)."""
        return self._backing.shape

    @property
    def grid(self) -> Grid:
        """Where the voxels are: shape (W, H, D) and affine, as one value."""
        return self._backing.grid

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm of voxel centres; read-only, but another can be set."""
        affine: NDArray[np.float64] | None = self.get(AFFINE)
        return self._backing.affine if affine is None else affine

    @affine.setter
    def affine(self, affine: Any) -> None:
        place = affine_argument(affine)
        if self._window is not None:
            self._window = self._window.with_affine(place)
        self._store(AFFINE, place)

    @property
    def type(self) -> str:
        """`INTENSITY`, `LABEL`, `SAMPLING_MAP` or another name."""
        return str(self[TYPE])

    @property
    def path(self) -> OnePath | list[OnePath] | None:
        """Where the image comes from; None for data in memory."""
        return None if self._origin is None else self._origin.path

    @property
    def dtype(self) -> np.dtype:
        """NumPy type of the voxels: of the tensor if it is loaded, else the file's own."""
        return self.source.dtype

    @property
    def itemsize(self) -> int:
        """Bytes per voxel of the tensor, loaded or not."""
        if DATA in self:
            return int(self.data.element_size())
        return tensor_dtype(self._backing.dtype).itemsize

    @property
    def memory(self) -> int:
        """Bytes that the tensor takes in RAM, loaded or not."""
        return math.prod(self.shape) * self.itemsize

    @property
    def chunks(self) -> Shape4:
        """Preferred block (C, W, H, D): what one access reads and decodes at least."""
        return self.source.chunks

    def memory_report(self) -> MemoryReport:
        """What the image costs on disk, per chunk, now, as a tensor, and while it is loaded."""
        loaded, backing = DATA in self, self._backing
        held = loaded or backing.base.in_memory
        return MemoryReport(
            on_disk=backing.base.bytes_on_disk,
            chunk=math.prod(self.chunks) * self.dtype.itemsize,
            resident=math.prod(self.shape) * self.dtype.itemsize if held else 0,
            tensor=self.memory,
            projected_peak=0 if loaded else projected_peak(backing, tensor_dtype(backing.dtype)),
        )

    # --- Voxels ---------------------------------------------------------------------------------

    @property
    def data(self) -> torch.Tensor:
        """Tensor (C, W, H, D); read at the first access and then kept.

        Raises:
            MemoryBudgetError: If it needs more memory than allowed; nothing was read.
        """
        tensor: torch.Tensor = self[DATA]
        return tensor

    @data.setter
    def data(self, tensor: Any) -> None:
        warnings.warn(
            "Setting image.data is deprecated, use image.set_data(tensor)",
            DeprecationWarning,
            stacklevel=2,
        )
        self.set_data(tensor)

    @property
    def tensor(self) -> torch.Tensor:
        """The same object as `data`."""
        return self.data

    def set_data(self, tensor: Any) -> None:
        """Replace the voxels; the affine stays.

        Args:
            tensor: 4D torch tensor, NumPy array or dask array (C, W, H, D).

        Raises:
            TypeError: For anything else.
            ValueError: If it is not 4D.
        """
        if hasattr(tensor, "dims"):
            raise TypeError("a DataArray brings its own geometry: use from_xarray(array)")
        channels = self._backing.channels
        source = voxels_argument(tensor, self.affine, channels)
        same_length = source.shape[0] == self.shape[0]
        self._hold(source if same_length else voxels_argument(tensor, self.affine))

    def load(self) -> None:
        """Read the voxels into `data`, unless that has happened already."""
        if DATA in self:
            return
        from voxarray.tensors import read_tensor

        self._require_memory(self._backing, tensor_dtype(self._backing.dtype), "load()")
        self._keep(read_tensor(self._backing))

    def unload(self) -> None:
        """Forget `data` and what was changed in it; it can be read again.

        Raises:
            StateError: If it is not loaded, or there is nothing to read it from again.
        """
        if DATA not in self:
            raise StateError(
                "Image cannot be unloaded as it has not been loaded yet", code="NOT_LOADED"
            )
        if self._backing.base.in_memory:
            raise StateError(
                "Cannot unload image as no path is available from where the image could be loaded "
                "again; save it first",
                code="NO_PATH",
            )
        super().__delitem__(DATA)

    def set_check_nans(self, check_nans: bool) -> None:
        """Say whether to warn if NaNs are found when voxels become a tensor."""
        self.check_nans = check_nans

    # --- A dict with a mind of its own ----------------------------------------------------------

    def __missing__(self, key: str) -> Any:
        if key == AFFINE:
            return self.affine
        if key != DATA:
            raise KeyError(key)
        self.load()
        return super().__getitem__(DATA)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == DATA:
            self.set_data(value)
        elif key == AFFINE:
            self.affine = value
        else:
            _require_free(key)
            self._store(key, value)

    def __delitem__(self, key: str) -> None:
        if key in RESERVED:
            raise StateError(
                f'"{key}" cannot be removed from an image; unload() forgets the tensor',
                code="RESERVED_KEY",
            )
        super().__delitem__(key)

    # --- Copies: never load, never look at the path ---------------------------------------------

    def copy(self) -> Self:
        """A new image that shares the tensor; as `copy.copy`."""
        return _restore(self.__class__, dict(self), dict(self.__dict__))

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        state = dict(self.__dict__)
        if self._window is not None and self._window.base.in_memory:
            state["_window"] = copy.deepcopy(self._window, memo)
        # Sources of files are immutable, hence shared.
        return _restore(self.__class__, copy.deepcopy(dict(self), memo), state)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.__class__, dict(self), dict(self.__dict__))

    # --- Inside ---------------------------------------------------------------------------------

    @property
    def _backing(self) -> Window:
        """What the voxels are read from, whatever the tensor; opens the file at first access."""
        window = self._window
        if window is None:
            if self._origin is None:
                raise StateError("the image has neither a path nor voxels", code="EMPTY")
            window = Window.of(self._origin.open())
            affine = self.get(AFFINE)
            # Two threads may both come here; they make equal windows, and either will do.
            self._window = window = window if affine is None else window.with_affine(affine)
        return window

    def _hold(self, source: Source) -> None:
        """Make voxels in memory, or lazy ones, the image's own."""
        self._window = Window.of(source)
        self._store(AFFINE, self._window.affine)
        dict.pop(self, DATA, None)
        tensor = getattr(source, "tensor", None)
        if is_tensor(tensor):
            self._keep(tensor)

    def _keep(self, tensor: Any) -> None:
        self._warn_of_nans(tensor)
        dict.setdefault(self, AFFINE, self._backing.affine)
        dict.setdefault(self, DATA, tensor)  # atomic: all threads get the tensor that came first

    def _store(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)

    def _on(self, window: Window) -> Self:
        """The same image, not loaded, with other voxels."""
        child = self.copy()
        dict.pop(child, DATA, None)
        child._window = window
        if AFFINE in child:
            child._store(AFFINE, window.affine)
        return child

    def _require_memory(self, source: Source, dtype: np.dtype, operation: str) -> None:
        require(
            projected_peak(source, dtype),
            f"{operation} of {self!r}",
            "slice it, take a coarser level(n), work on image.array, save it to an archive "
            "and read patches of that, or raise the budget",
        )

    def _warn_of_nans(self, tensor: Any) -> None:
        if not self.check_nans:
            return
        from voxarray.tensors import has_nans

        if has_nans(tensor):
            place = "tensor" if self.path is None else f'file "{self.path}"'
            warnings.warn(f"NaNs found in {place}", RuntimeWarning, stacklevel=2)


def _require_free(key: str) -> None:
    if not isinstance(key, str):
        raise TypeError(f"fields of an image are named by text, not by {key!r}")
    if key in RESERVED:
        raise ValueError(f'Key "{key}" is reserved. Use a different one')


def _restore(cls: type[Copied], fields: dict[str, Any], attributes: dict[str, Any]) -> Copied:
    """An image from its parts: what copies and pickles are made with."""
    image = cls.__new__(cls)
    dict.update(image, fields)
    image.__dict__.update(attributes)
    return image
