"""The voxels of an image: a window on a source, and a tensor once it is loaded."""

from __future__ import annotations

import copy
import math
import warnings
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from voxarray.core.errors import StateError
from voxarray.core.history import History, entry
from voxarray.core.keys import AFFINE, DATA
from voxarray.core.memory import MemoryReport, require
from voxarray.core.promotion import tensor_dtype
from voxarray.geometry.selection import Shape4
from voxarray.image._arguments import is_dataarray, is_tensor, voxels_argument
from voxarray.image._opened import Opened
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels, Source
from voxarray.source.materialise import materialise, projected_peak
from voxarray.source.window import Window

if TYPE_CHECKING:
    import torch

Copied = TypeVar("Copied", bound="Holder")


class Holder(Opened):
    """An opened image that may hold its voxels, in one place: the dict, under ``"data"``."""

    check_nans: bool = False

    @property
    def source(self) -> Window:
        """The voxels as they are now: those of the tensor if it is loaded, else of the file."""
        tensor = self.get(DATA)
        if tensor is None:
            return self._backing
        from voxarray.tensors.convert import TensorSource

        backing = self._backing
        source = TensorSource(tensor, backing.affine, backing.channels)
        return Window.of(source).recorded(*backing.history)

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
        held = math.prod(self.shape) * backing.dtype.itemsize if backing.base.in_memory else 0
        return MemoryReport(
            on_disk=backing.base.bytes_on_disk,
            chunk=math.prod(self.chunks) * self.dtype.itemsize,
            resident=self.memory if loaded else held,
            tensor=self.memory,
            projected_peak=0 if loaded else projected_peak(backing, tensor_dtype(backing.dtype)),
        )

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
        if is_dataarray(tensor):
            raise TypeError("a DataArray brings its own geometry: use from_xarray(array)")
        # Another number of channels counts something else than the old ones did.
        same = np.shape(tensor)[:1] == (self.num_channels,)
        channels = self._backing.channels if same else Channels()
        history = (*self._backing.history, entry("set_data", {}))
        self._hold(voxels_argument(tensor, self.affine, channels), history)

    def load(self) -> None:
        """Read the voxels into `data`, unless that has happened already."""
        if DATA in self:
            return
        from voxarray.tensors.convert import read_tensor

        backing = self._backing
        self._require_memory(projected_peak(backing, tensor_dtype(backing.dtype)), "load()")
        tensor = read_tensor(self._backing)
        self._warn_of_nans(tensor)
        # Atomic: where threads come here together, all get the tensor that was there first.
        self._adopt(dict.setdefault(self, DATA, tensor))

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
        dict.pop(self, DATA, None)

    def set_check_nans(self, check_nans: bool) -> None:
        """Say whether to warn if NaNs are found when voxels become a tensor."""
        self.check_nans = check_nans

    # --- Fields that are voxels -----------------------------------------------------------------

    def __missing__(self, key: str) -> Any:
        if key != DATA:
            return super().__missing__(key)
        self.load()
        return super().__getitem__(DATA)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == DATA:
            self.set_data(value)
        else:
            super().__setitem__(key, value)

    # --- Copies: never load, never look at the path ---------------------------------------------

    def copy(self) -> Self:
        """A new image that shares the tensor; as `copy.copy`."""
        return _restore(self.__class__, dict(self), dict(self.__dict__))

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        alone = self._alone()
        state = dict(alone.__dict__)
        if alone._window is not None and alone._window.base.in_memory:
            state["_window"] = copy.deepcopy(alone._window, memo)
        # Sources of files are immutable, hence shared.
        return _restore(self.__class__, copy.deepcopy(dict(alone), memo), state)

    def __reduce__(self) -> tuple[Any, ...]:
        alone = self._alone()
        return _restore, (self.__class__, dict(alone), dict(alone.__dict__))

    def _alone(self) -> Self:
        """A copy that holds no more memory than it shows: a slice may refer to the whole."""
        alone, window = self.copy(), self._window
        if DATA in self:
            from voxarray.tensors.convert import compact

            alone._adopt(compact(self.data))
        elif window is not None and window.base.in_memory and not window.is_whole:
            part = materialise(window, window.dtype).copy(order="K")
            source = ArraySource(part, window.affine, window.channels)
            alone._window = Window.of(source).recorded(*window.history)
        return alone

    # --- Inside ---------------------------------------------------------------------------------

    def _hold(self, source: Source, history: History = ()) -> None:
        """Make voxels in memory, or lazy ones, the image's own."""
        dict.pop(self, DATA, None)
        window = Window.of(source).recorded(*history)
        self._keep_facts(window)
        self._window = window
        self._store(AFFINE, window.affine)
        tensor = getattr(source, "tensor", None)
        if is_tensor(tensor):
            self._warn_of_nans(tensor)
            self._adopt(tensor)

    def _adopt(self, tensor: Any) -> None:
        """Take a tensor of what the window shows as the image's voxels."""
        self._store(DATA, tensor)
        self._store(AFFINE, self._backing.affine)
        if self._backing.base.in_memory:
            # From now on the tensor is the only truth: what it was made of may be freed.
            self._window = self.source

    def _on(self, window: Window) -> Self:
        """The same image, not loaded, with other voxels."""
        child = self.copy()
        dict.pop(child, DATA, None)
        child._keep_facts(window)
        child._window = window
        if AFFINE in child:
            child._store(AFFINE, window.affine)
        return child

    def _require_memory(self, needed: int, operation: str) -> None:
        require(
            needed,
            f"{operation} of {self!r}",
            "slice it, take a coarser level(n), work on image.array, save it to an archive "
            "and read patches of that, or raise the budget",
        )

    def _warn_of_nans(self, tensor: Any) -> None:
        if not self.check_nans:
            return
        from voxarray.tensors.convert import has_nans

        if has_nans(tensor):
            place = "tensor" if self.path is None else f'file "{self.path}"'
            warnings.warn(f"NaNs found in {place}", RuntimeWarning, stacklevel=2)


def _restore(cls: type[Copied], fields: dict[str, Any], attributes: dict[str, Any]) -> Copied:
    """An image from its parts: what copies and pickles are made with."""
    image = cls.__new__(cls)
    dict.update(image, fields)
    image.__dict__.update(attributes)
    return image
