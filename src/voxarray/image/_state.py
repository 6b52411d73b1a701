"""The voxels of an image: a sliced source, and a tensor once it is loaded."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import StateError
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.history import History, entry
from voxarray.core.keys import AFFINE, DATA, RESERVED, TYPE, require_free
from voxarray.core.memory import MemoryReport, require
from voxarray.core.promotion import tensor_dtype
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Shape4
from voxarray.image._aliasing import private_copy, unaliased
from voxarray.image._arguments import (
    affine_argument,
    is_tensor,
    require_no_other_place,
    voxels_argument,
)
from voxarray.image._guarded_dict import GuardedDict
from voxarray.image._origin import OnePath, Origin
from voxarray.image._subject_member import SubjectMember
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels, Source
from voxarray.source.materialise import materialise, projected_peak
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    import torch

Copied = TypeVar("Copied", bound="ImageState")


class ImageState(SubjectMember, GuardedDict):
    """Fields in a dict, one sliced source, and a tensor once it is loaded, under ``"data"``.

    Whoever makes one sets `_origin`, or `_sliced`, and stores the fields ``path``, ``stem`` and
    ``type``. The field ``affine`` is there once it is known without opening a file.

    Facts of the acquisition that the file's header states are found by ``image["modality"]``, which
    opens the file if need be, like ``image["affine"]``. They are the header's, not fields: what
    ``dict(image)``, ``in``, ``get`` and iteration show depends on nobody having looked. They become
    fields where the file no longer backs the image, as after `set_data`.
    """

    check_nans: bool = False
    _origin: Origin | None = None
    _sliced: SlicedSource | None = None

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
        """(4, 4) matrix from voxel indices to voxel centres in RAS+ mm.

        The array is read-only, but another one can be set.
        """
        affine: NDArray[np.float64] | None = self.get(AFFINE)
        return self._backing.affine if affine is None else affine

    @affine.setter
    def affine(self, affine: Any) -> None:
        checked = affine_argument(affine)
        if self._sliced is not None:
            self._sliced = self._sliced.with_affine(checked)
        self._store(AFFINE, checked)

    @property
    def history(self) -> History:
        """What was done to the voxels, oldest first: the archive's history, transforms, slices.

        Each entry has the keys ``operation``, ``arguments`` and ``version``; `voxarray.replay`
        makes the same voxels again from the original image.
        """
        return self._backing.history

    @property
    def type(self) -> str:
        """`INTENSITY`, `LABEL`, `SAMPLING_MAP` or another name."""
        return str(self[TYPE])

    @property
    def path(self) -> OnePath | list[OnePath] | None:
        """Where the image comes from; None for data in memory."""
        return None if self._origin is None else self._origin.path

    def __missing__(self, key: str) -> Any:
        if key == DATA:
            self.load()
            return super().__getitem__(DATA)
        if key == AFFINE:
            return self.affine
        if key not in RESERVED and (self._sliced is not None or self._origin is not None):
            return self._backing.metadata[key]
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == DATA:
            self.set_data(value)
            return
        if key == AFFINE:
            self.affine = value
            return
        require_free(key)
        self._store(key, value)

    def __delitem__(self, key: str) -> None:
        if key in RESERVED:
            raise StateError(
                f'"{key}" cannot be removed from an image; unload() forgets the tensor',
                code="RESERVED_KEY",
            )
        super().__delitem__(key)

    @property
    def _backing(self) -> SlicedSource:
        """What the voxels are read from, whatever the tensor; opens the file at first access."""
        sliced = self._sliced
        if sliced is None:
            if self._origin is None:
                raise StateError(
                    "the image has neither a path nor voxels: give path or tensor=", code="EMPTY"
                )
            sliced = self._of_one_call(SlicedSource.of(self._origin.open()))
            affine = self.get(AFFINE)
            # Two threads may both come here; they make equal sliced sources, and either will do.
            self._sliced = sliced = sliced if affine is None else sliced.with_affine(affine)
        return sliced

    def _keep_facts(self, sliced: SlicedSource) -> None:
        """Make fields of the facts that the header states and a new sliced source does not."""
        if self._sliced is not None and self._sliced.base is not sliced.base:
            for key, value in self._sliced.metadata.items():
                if key not in sliced.metadata and key not in self:
                    self._store(key, value)

    def _store(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)

    _shares: bool = False
    """Whether its unloaded voxels may lie in memory of the image that it was made from."""

    @property
    def source(self) -> SlicedSource:
        """The voxels as they are now: those of the tensor if it is loaded, else of the file."""
        tensor = self.get(DATA)
        if tensor is None:
            return self._backing
        from voxarray.tensors.convert import TensorSource

        backing = self._backing
        origin, table = backing.header_of_space, backing.label_table  # anybody may edit a tensor
        tensor_source = TensorSource(tensor, backing.affine, backing.channels, origin=origin)
        return SlicedSource.of(replace(tensor_source, label_table=table)).recorded(*backing.history)

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
        """Preferred block (C, W, H, D) to read: a slab of a file, a chunk or a shard."""
        return self.source.chunks

    def memory_report(self) -> MemoryReport:
        """Bytes on disk, per chunk, in memory now, as a tensor, and at the peak of loading."""
        loaded, backing = DATA in self, self._backing
        held_bytes = math.prod(self.shape) * backing.dtype.itemsize if backing.base.in_memory else 0
        return MemoryReport(
            on_disk=backing.base.bytes_on_disk,
            chunk=math.prod(self.chunks) * self.dtype.itemsize,
            resident=self.memory if loaded else held_bytes,
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
        warn_caller(
            "Setting image.data is deprecated, use image.set_data(tensor)", DeprecationWarning
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
            GridError: For a tensor of MONAI that has another affine (``GRID_MISMATCH``).
        """
        require_no_other_place(tensor, self.affine)
        # Another number of channels counts something else than the old ones did.
        same = np.shape(tensor)[:1] == self.shape[:1]
        channels = self._backing.channels if same else Channels()
        history = (*self._backing.history, entry("set_data", {}))
        self._set_voxels(voxels_argument(tensor, self.affine, channels), history)

    @names_exhaustion
    def load(self) -> None:
        """Read the voxels into `data`, unless they are loaded already."""
        if DATA in self:
            return
        from voxarray.tensors.convert import private_tensor, read_tensor

        backing = self._backing
        needed = projected_peak(backing, tensor_dtype(backing.dtype))
        self._require_memory(max(needed, self.memory) if self._shares else needed, "load()")
        existing = getattr(backing.base, "tensor", None)
        if self._shares and is_tensor(existing) and backing.is_whole:
            tensor = private_tensor(existing)  # on its device, also in a type that NumPy lacks
        else:
            tensor = self._own_tensor(read_tensor(backing))
        self._warn_of_nans(tensor)
        # Atomic: where threads come here together, all get the tensor that was there first.
        self._adopt(dict.setdefault(self, DATA, tensor))

    def unload(self) -> None:
        """Drop `data` and any changes in it; it is read again when needed.

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

    # --- Copies: never load, never look at the path ---------------------------------------------

    def copy(self) -> Self:
        """A new image that shares the tensor, like `copy.copy`."""
        return _restore(self.__class__, dict(self), dict(self.__dict__))

    def __copy__(self) -> Self:
        return self.copy()

    def _detached(self) -> Self:
        """A new image with the same voxels that can be edited without a change to this one.

        Nothing is copied now, and nothing opened: voxels in memory are copied when they are first
        asked for, and those of files are read for each image anyway.
        """
        apart = self.copy()
        if DATA in self:
            apart._sliced = self.source
            dict.pop(apart, DATA)
        apart._shares = True
        for key, value in self.items():
            if key not in RESERVED:
                apart._store(key, private_copy(value))
        return apart

    @names_exhaustion
    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        alone = self._alone()
        state = dict(alone.__dict__)
        if alone._sliced is not None and alone._sliced.base.in_memory:
            state["_sliced"] = copy.deepcopy(alone._sliced, memo)
        # Sources of files are immutable, hence shared.
        return _restore(self.__class__, copy.deepcopy(dict(alone), memo), state)

    def __reduce__(self) -> tuple[Any, ...]:
        alone = self._alone(sent=True)
        return _restore, (self.__class__, dict(alone), dict(alone.__dict__))

    def _alone(self, *, sent: bool = False) -> Self:
        """A copy that holds no more memory than it shows: a slice may refer to the whole."""
        alone, sliced = self.copy(), self._sliced
        if DATA in self:
            from voxarray.tensors.convert import compact

            alone._adopt(compact(self.data, sent=sent))
        elif sliced is not None and sliced.base.in_memory and not sliced.is_whole:
            part = materialise(sliced, sliced.dtype).copy(order="K")
            copy = ArraySource(part, sliced.affine, sliced.channels, origin=sliced.original_header)
            copy = replace(copy, label_table=sliced.label_table)
            alone._sliced = SlicedSource.of(copy).recorded(*sliced.history)
            alone._shares = False
        return alone

    # --- Inside ---------------------------------------------------------------------------------

    def _set_voxels(self, source: Source, history: History = ()) -> None:
        """Make voxels in memory, or lazy ones, the image's own."""
        dict.pop(self, DATA, None)
        sliced = SlicedSource.of(source).recorded(*history)
        self._keep_facts(sliced)
        self._sliced, self._shares = sliced, False
        self._store(AFFINE, sliced.affine)
        tensor = getattr(source, "tensor", None)
        if is_tensor(tensor):
            self._warn_of_nans(tensor)
            self._adopt(tensor)

    def _adopt(self, tensor: Any) -> None:
        """Take a tensor of the sliced source's voxels as the image's."""
        self._store(DATA, tensor)
        self._store(AFFINE, self._backing.affine)
        if self._backing.base.in_memory:
            # From now on the tensor is the only truth: what it was made of may be freed.
            self._sliced = self.source

    def _own_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the sliced source's voxels, copied if others can edit its memory."""
        return unaliased(tensor, self._backing) if self._shares else tensor

    def _on(self, sliced: SlicedSource, *, shares: bool = True) -> Self:
        """The same image, not loaded, with other voxels, which may lie in memory of this one."""
        child = self.copy()
        dict.pop(child, DATA, None)
        child._keep_facts(sliced)
        child._sliced, child._shares = sliced, shares
        if AFFINE in child:
            child._store(AFFINE, sliced.affine)
        return child

    def _require_memory(self, needed: int, operation: str) -> None:
        require(
            needed,
            lambda: f"{operation} of {self!r}",  # a repr looks at all of the header
            "slice it, take a coarser level(n), work on image.array, save it to an archive "
            "and read patches of that, or raise the budget",
        )

    def _warn_of_nans(self, tensor: Any) -> None:
        if not self.check_nans:
            return
        from voxarray.tensors.convert import has_nans

        if has_nans(tensor):
            at = "tensor" if self.path is None else f'file "{self.path}"'
            warn_caller(f"NaNs found in {at}: fill them, or set check_nans=False", RuntimeWarning)


def _restore(cls: type[Copied], fields: dict[str, Any], attributes: dict[str, Any]) -> Copied:
    """An image from its parts: what copies and pickles are made with."""
    image = cls.__new__(cls)
    dict.update(image, fields)
    image.__dict__.update(attributes)
    return image
