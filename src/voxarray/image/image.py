"""`Image`: a scan that is opened, sliced and described without being read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from voxarray import saving
from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import StateError
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.keys import AFFINE, DATA, INTENSITY, LABEL, PATH, STEM, TYPE, require_free
from voxarray.core.names_elsewhere import listed
from voxarray.core.progress import ProgressOption
from voxarray.geometry.pyramid_levels import Levels
from voxarray.geometry.selection import Selection
from voxarray.image import _equality
from voxarray.image._aliasing import may_alias
from voxarray.image._arguments import affine_argument, voxels_argument
from voxarray.image._conversion import ConversionMixin
from voxarray.image._geometry import GeometryMixin
from voxarray.image._missing_attributes import MissingAttributesMixin
from voxarray.image._origin import Origin, PathLike
from voxarray.image._plotting import PlotMixin
from voxarray.image._preprocessing import PreprocessingMixin
from voxarray.image._refused_operators import RefusedOperatorsMixin
from voxarray.image._repr import describe
from voxarray.image._state import ImageState
from voxarray.image._statistics import StatisticsMixin
from voxarray.source.array import ArraySource, DaskSource
from voxarray.source.custom_reader import Reader
from voxarray.source.materialise import materialise, projected_peak
from voxarray.source.sliced import SlicedSource
from voxarray.tensors.collate_registration import register_collation

if TYPE_CHECKING:
    import dask.array
    import xarray as xr


class Image(
    GeometryMixin,
    PlotMixin,
    StatisticsMixin,
    ConversionMixin,
    PreprocessingMixin,
    RefusedOperatorsMixin,
    MissingAttributesMixin,
    ImageState,
):
    """One medical image: voxels (C, W, H, D) and where they are in the patient.

    Nothing is read before it is needed: constructing checks that the path exists, the properties
    read the header, and slicing only changes the geometry. Voxels are read when their values are
    needed: by `data`, `load`, `numpy`, `to_tensor`, `compute` and `save`; by statistics, plots and
    movies; and by conversions to objects of other packages that hold voxels.

    An image is a dict of its metadata: ``path``, ``stem``, ``type`` and the keywords that were
    given. ``image["data"]`` and ``image["affine"]`` always work. They are among the keys only after
    loading (``"affine"`` also if it was given or set), since listing keys reads nothing.

    Examples:
        >>> scan = vx.testing.sample()
        >>> part = scan[10:20]
        >>> part.shape, part.spacing
        ((1, 10, 56, 48), (2.0, 2.0, 2.0))
        >>> scan.save("scan.nii.gz")
        >>> vx.ScalarImage("scan.nii.gz").shape  # reads the header alone
        (1, 64, 56, 48)

    Args:
        path: File, directory, URL or `zarr.abc.store.Store`, or a sequence of them, which become
            channels.
        type: `INTENSITY`, `LABEL`, `SAMPLING_MAP` or a name of your own; needed for a bare `Image`.
        tensor: Voxels (C, W, H, D) instead of a path: a torch tensor, NumPy array, dask array or
            `xarray.DataArray`. Memory is shared where the type permits.
        affine: (4, 4) matrix from voxel indices to voxel centres in RAS+ mm; by default the file's,
            or the identity.
        check_nans: Warn if NaNs are found when voxels become a tensor.
        reader: Callable that takes a path and returns a pair: voxels (array or tensor), and an
            affine, which may be None; or an object whose ``open(path)`` returns a source to be
            read lazily (`DicomReader`).
        verify_path: Check now that the path exists.
        **kwargs: Metadata, available as ``image[key]``.

    Raises:
        ValueError: Without path and tensor, and for a reserved key or an invalid type, tensor or
            affine.
        TypeError: If path, tensor or affine have an unsupported type.
        FileNotFoundError: If there is no such file.
    """

    fixed_type: ClassVar[str | None] = None
    """Type of all images of a subclass; None where the user says it."""

    def __init__(
        self,
        path: PathLike | list[PathLike] | tuple[PathLike, ...] | None = None,
        type: str | None = None,  # noqa: A002  # TorchIO's name
        tensor: Any = None,
        affine: Any = None,
        check_nans: bool = False,
        reader: Reader | None = None,
        verify_path: bool = True,
        **kwargs: Any,
    ) -> None:
        if path is None and tensor is None:
            raise ValueError("A value for path or tensor must be given")
        register_collation(Image)
        self.check_nans = check_nans
        self._origin = (
            None
            if path is None
            else Origin.of(path, reader, verify=verify_path, owner=self.__class__.__name__)
        )
        self._store(TYPE, self._checked_type(type))
        self._store(PATH, "" if self._origin is None else self._origin.text)
        self._store(STEM, "" if self._origin is None else self._origin.stem)
        for key, value in kwargs.items():
            require_free(key)
            self._store(key, value)
        checked = None if affine is None else affine_argument(affine)
        if tensor is not None:
            self._set_voxels(voxels_argument(tensor, checked))
        elif checked is not None:
            self._store(AFFINE, checked)

    @classmethod
    def from_xarray(cls, array: xr.DataArray, **kwargs: Any) -> Self:
        """Image of a DataArray with dims c, x, y, z and its affine; a lazy array stays lazy.

        Args:
            array: DataArray that the property `array` gave, or the result of operations on one.
            **kwargs: As for the class.
        """
        return cls(tensor=array, **kwargs)

    # --- Slices, levels and blocks: lazy images of the same class -------------------------------

    @names_exhaustion
    def __getitem__(self, key: Any) -> Any:
        """For a text, the field of that name; otherwise a lazy slice, with its exact affine.

        One to three indices address (W, H, D), as in TorchIO; four address (C, W, H, D). Integers
        keep their axis, steps may be negative, and ``...`` expands among the addressed axes. A
        slice of a loaded image is loaded, too. No slice shares memory with the image, as in
        TorchIO: editing one leaves the other as it is.

        Raises:
            KeyError: If there is no such field.
            TypeError: For floats, lists, masks and None.
            IndexError: For an integer beyond the image.
            ValueError: If no voxels are selected.
        """
        if isinstance(key, str):
            try:
                return super().__getitem__(key)
            except KeyError as error:
                if error.args != (key,):
                    raise
                raise KeyError(f"no field {key!r} in the image, which has {listed(self)}") from None
        selection = Selection.whole(self.shape)[key]
        child = self._on(self._backing.take(selection))
        if DATA in self:
            from voxarray.tensors.convert import private_tensor, take

            self._require_memory(math.prod(selection.shape) * self.itemsize, "a slice")
            child._adopt(private_tensor(take(self.data, selection)))
        return child

    def level(self, number: int) -> Self:
        """Image of a level of the pyramid; 0 is the full resolution.

        Raises:
            IndexError: If there is no such level.
            StateError: For a slice, since its voxels may not match voxels of a coarser level.
        """
        sliced = self._backing
        if not sliced.is_whole:
            raise StateError("a slice has no levels: take image.level(n), then slice that")
        return self._on(sliced.level(number))

    def rechunk(self, chunks: Any) -> Self:
        """The same voxels, held as a dask graph with other blocks.

        Args:
            chunks: As `dask.array.Array.rechunk` takes them, for (C, W, H, D).
        """
        return self._with_dask(self.dask.rechunk(chunks))

    @names_exhaustion
    def persist(self) -> Self:
        """Image of the same voxels, computed and kept by dask.

        They are kept in RAM, or on a cluster if there is one.

        Raises:
            MemoryBudgetError: If they need more memory than allowed, and there is no cluster.
        """
        from voxarray.core.dask_cluster import has_cluster

        if not has_cluster():
            source = self.source
            self._require_memory(projected_peak(source, source.dtype), "persist()")
        return self._with_dask(self.dask.persist())

    @names_exhaustion
    def compute(self) -> Self:
        """The image with its voxels read into RAM, in their own type, without torch.

        Raises:
            MemoryBudgetError: If they need more memory than allowed.
        """
        source = self.source
        held_bytes = math.prod(source.shape) * source.dtype.itemsize if source.base.in_memory else 0
        self._require_memory(max(held_bytes, projected_peak(source, source.dtype)), "compute()")
        voxels = materialise(source, source.dtype)
        if may_alias(voxels, source):
            voxels = voxels.copy(order="K")
        held_now = ArraySource(
            voxels,
            source.affine,
            source.channels,
            origin=source.header_of_space,  # an array may be changed by anybody
            label_table=source.label_table,
        )
        sliced = SlicedSource.of(held_now)
        return self._on(sliced.recorded(*source.history), shares=False)

    # --- Voxels ---------------------------------------------------------------------------------

    @names_exhaustion
    def numpy(self) -> NDArray:
        """NumPy array (C, W, H, D) that shares memory with `data`; loads it if necessary."""
        from voxarray.tensors.convert import to_numpy

        return to_numpy(self.data)

    @names_exhaustion
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return np.asarray(self.numpy(), dtype=dtype, copy=copy)

    @property
    def array(self) -> xr.DataArray:
        """Lazy `xarray.DataArray` with dims c, x, y, z; its coordinates hold the affine."""
        from voxarray.xarray_index.lazy import to_dataarray

        return to_dataarray(self.source, private=self._shares)

    @property
    def dask(self) -> dask.array.Array:
        """Lazy dask array (C, W, H, D) whose blocks suit the file."""
        from voxarray.xarray_index.lazy import to_dask

        return to_dask(self.source, private=self._shares)

    @names_exhaustion
    def save(
        self,
        path: PathLike,
        squeeze: bool | None = None,
        *,
        overwrite: bool | None = None,
        codec: str | None = None,
        levels: Levels = None,
        chunks: int | None = None,
        progress: ProgressOption = None,
    ) -> None:
        """Write the image to a file or an archive; the suffix says which.

        Missing folders are created. An existing file or archive is replaced in one step, so it is
        never half written. A symbolic link is followed, and the permissions of the old file are
        kept.

        Args:
            path: Destination.
            squeeze: Write a single slice without its third axis. By default, only pictures (PNG,
                JPEG, BMP, TIFF) do so. NIfTI, MGH, MINC, VTK, GIPL and archives have fixed axes and
                raise an error for True.
            overwrite: Whether to replace an existing file or archive. If not given, a file is
                replaced with a FutureWarning (in the next release this will be an error), and an
                archive raises an error. (TorchIO always replaces files.)
            codec: Profile of an archive's codec: ``"default"``; ``"compact"``, smallest, but slow
                to write; ``"fast"``, quickest to write, but larger; ``"training"``, quickest to
                read in patches, but slow to write; ``"raw"``, not compressed; or ``"labels"``, the
                default for label maps.
            levels: Pyramid levels of an archive. A number is the number of levels, full
                resolution included. A list such as ``[4, 16]`` says how many times coarser than
                full resolution each level is. ``"all"`` stands for 2, 4, 8, ... By default, the
                levels are 4, 8, 16, ... times coarser.
            chunks: Edge of an archive's chunks, in voxels.
            progress: True shows a progress bar, False none, None (the default) only in a terminal
                or notebook; or a function of (bytes done, bytes in all).

        Raises:
            UnsupportedError: For an unknown suffix, for voxels or an affine that the format cannot
                hold, and for a keyword that it cannot use (``UNUSED_KEYWORD``).
            ArchiveExistsError: If the path exists and ``overwrite`` is not set (``EXISTS``); or if
                it is a folder that voxarray did not write, or that holds other files
                (``NOT_AN_ARCHIVE``, ``FOREIGN_FILES``).
        """
        saving.save(
            self.source,
            path,
            label=self.type == LABEL,
            overwrite=overwrite,
            squeeze=squeeze,
            codec=codec,
            levels=levels,
            chunks=chunks,
            progress=progress,
        )

    __hash__ = None  # type: ignore[assignment]  # mutable, as any dict

    @names_exhaustion
    def __eq__(self, other: object) -> bool:
        """Whether class, metadata, grid and voxels are known to be the same without reading.

        Two loaded images are compared voxel by voxel; two that are not loaded must show the same
        part of the same file. One that is loaded and one that is not are different.
        """
        if not isinstance(other, dict):
            return NotImplemented
        return isinstance(other, Image) and _equality.same(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # dict's own would compare the storage

    def __repr__(self) -> str:
        return describe(self)

    def _with_dask(self, array: Any) -> Self:
        source = self.source
        lazy = DaskSource(
            array,
            source.affine,
            source.channels,
            origin=source.original_header,
            label_table=source.label_table,
        )
        sliced = SlicedSource.of(lazy)
        return self._on(sliced.recorded(*source.history))

    def _checked_type(self, kind: str | None) -> str:
        fixed = self.fixed_type
        if fixed is not None and kind not in (None, fixed):
            raise ValueError(
                f"Type of {self.__class__.__name__} is always {fixed!r}, not {kind!r}: use Image"
            )
        if fixed is None and kind is None:
            warn_caller(
                "Not specifying the image type is deprecated; use ScalarImage or LabelMap",
                FutureWarning,
            )
        return kind or fixed or INTENSITY


register_collation(Image)  # where images come to a process by other ways, such as to a worker
