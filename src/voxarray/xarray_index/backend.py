"""``xr.open_dataset(path, engine="voxarray")`` for everything that voxarray can open."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from voxarray.core.errors import OutOfRangeError, UnsupportedError
from voxarray.source.base import Source
from voxarray.source.indexing import SourceArray
from voxarray.xarray_index import accessor  # noqa: F401  # opened datasets have .vox
from voxarray.xarray_index.attach import ARRAY_DIMS, coordinates
from voxarray.xarray_index.lazy import blocks_of, channel_attrs

VARIABLE = "image"

_DECODERS = frozenset(
    {"decode_times", "decode_timedelta", "concat_characters", "use_cftime", "decode_coords"}
)

# No other backend opens these, or as images: xarray's own takes the root of an OME-Zarr store for a
# data set of the few arrays that lie there. A plain .zarr is xarray's to guess.
_GUESSED = (
    *(".nii", ".nii.gz", ".ome.zarr", ".ozx", ".nii.zarr", ".nrrd", ".nhdr", ".mha", ".mhd"),
    *(".mgh", ".mgz"),
)


class VoxarrayBackend(BackendEntrypoint):
    """Medical images as a Dataset with one variable, ``image`` (c, x, y, z), in mm RAS+.

    Nothing is read before it is needed. With ``chunks={}`` it is a dask array with chunks that suit
    the file; ``level=n`` opens a level of a pyramid.
    """

    description = "Medical images with their affine as coordinates (NIfTI, voxarray archives)"
    open_dataset_parameters = (
        "filename_or_obj",
        "drop_variables",
        "group",
        "level",
        "mask_and_scale",
    )
    supports_groups = True

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        level: int = 0,
        group: str | None = None,
        mask_and_scale: bool = True,
        **decoders: Any,
    ) -> xr.Dataset:
        """Open a file or an archive.

        Args:
            filename_or_obj: Path or URL.
            drop_variables: Names to leave out.
            level: Level of an archive's pyramid, 0 the finest.
            group: The level by its name in `open_datatree`: ``"scale1"``.
            mask_and_scale: Whether slope and intercept are applied. If not, numbers are as stored,
                and the attributes ``scale_factor`` and ``add_offset`` hold the scaling.
            **decoders: Other options of xarray (``decode_times``, ...); they have no effect.

        Raises:
            OutOfRangeError: If there is no such level or group (``NO_LEVEL``).
            UnsupportedError: If it is not a path (``NOT_A_PATH``), and if ``mask_and_scale`` is
                false and planes have different scalings (``MIXED_SCALING``).
        """
        _require_known(decoders)
        source = _opened(filename_or_obj)
        source = source.level(level if group is None else _level_of(group, level, source))
        return _without(_dataset(source, mask_and_scale), drop_variables)

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        **decoders: Any,
    ) -> xr.DataTree:
        """Open all levels of a pyramid: groups ``scale0``, the finest, ``scale1``, ...

        Args:
            filename_or_obj: Path or URL.
            drop_variables: As `open_dataset`.
            mask_and_scale: As `open_dataset`.
            **decoders: As `open_dataset`.

        Raises:
            UnsupportedError: As `open_dataset`.
        """
        groups = self.open_groups_as_dict(
            filename_or_obj,
            drop_variables=drop_variables,
            mask_and_scale=mask_and_scale,
            **decoders,
        )
        return xr.DataTree.from_dict(groups)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        **decoders: Any,
    ) -> dict[str, xr.Dataset]:
        """The levels of a pyramid by the name of their group.

        Args:
            filename_or_obj: Path or URL.
            drop_variables: As `open_dataset`.
            mask_and_scale: As `open_dataset`.
            **decoders: As `open_dataset`.

        Raises:
            UnsupportedError: As `open_dataset`.
        """
        _require_known(decoders)
        source = _opened(filename_or_obj)
        groups = {"/": xr.Dataset()}
        for number in range(source.levels):
            level = _dataset(source.level(number), mask_and_scale)
            groups[f"/scale{number}"] = _without(level, drop_variables)
        return groups

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether the name is that of an image that no other backend opens as an image."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        return str(os.fspath(filename_or_obj)).lower().rstrip("/").endswith(_GUESSED)


def _opened(path: Any) -> Source:
    from voxarray.formats.registry import open_source  # knows every format: only to open

    if not isinstance(path, (str, os.PathLike)):
        raise UnsupportedError(
            f"the engine voxarray opens paths and URLs, but got {type(path).__name__}: write the "
            "data to a file first. The suffix of its path tells the format, and parts of a file "
            "can be read",
            code="NOT_A_PATH",
        )
    return open_source(path)


def _level_of(group: str, level: int, source: Source) -> int:
    """The level that a group names."""
    name = group.strip("/")
    number = int(name[5:]) if name[:5] == "scale" and name[5:].isdecimal() else None
    if name == "" and level in range(source.levels):
        return level
    if number is None or number >= source.levels or level not in (0, number):
        last = source.levels - 1
        groups = ", ".join(f"scale{n}" for n in range(source.levels))
        advice = f"group='scale{last}' means level={last}: give one of the two, or matching ones"
        if name.startswith("labels/"):
            advice = f"A label map is opened by its path, {source.path}/{name}, without group="
        raise OutOfRangeError(
            f"there is no group {group!r} at level {level}. Groups are {groups}. {advice}",
            code="NO_LEVEL",
            path=source.path,
        )
    return number


def _require_known(decoders: dict[str, Any]) -> None:
    unknown = sorted(set(decoders) - _DECODERS)
    if unknown:
        raise TypeError(f"the engine voxarray knows no option {unknown}; it has level= and group=")


def _dataset(source: Source, is_scaled: bool) -> xr.Dataset:
    """The source as a Dataset, of intensities or of the numbers that are stored."""
    if is_scaled:
        return dataset_of(source)
    if source.scaling is None and getattr(source, "scalings", None) is not None:
        raise UnsupportedError(
            "planes have different slopes and intercepts, so stored numbers cannot be "
            "compared: leave out mask_and_scale=False",
            code="MIXED_SCALING",
            path=source.path,
        )
    dataset = dataset_of(source.unscaled())
    if source.scaling is not None:
        factors = {"scale_factor": source.scaling.slope, "add_offset": source.scaling.intercept}
        dataset[VARIABLE].attrs.update(factors)
    return dataset


def _without(dataset: xr.Dataset, names: str | Iterable[str] | None) -> xr.Dataset:
    listed = [names] if isinstance(names, str) else list(names or ())
    return dataset.drop_vars(listed, errors="ignore") if listed else dataset


def dataset_of(source: Source) -> xr.Dataset:
    """A Dataset that reads the source when its variable is indexed; without dask."""
    preferred = dict(zip(ARRAY_DIMS, blocks_of(source), strict=True))
    variable = xr.Variable(
        ARRAY_DIMS,
        indexing.LazilyIndexedArray(SourceBackendArray(source)),
        channel_attrs(source.channels, source.shape[0]),
        {"preferred_chunks": preferred},
    )
    return xr.Dataset({VARIABLE: variable}, coords=coordinates(source.affine, source.shape[1:]))


class SourceBackendArray(BackendArray):
    """The source in xarray's lazy indexing: each key is one `Source.read`.

    Attributes:
        source: What is read.
        shape: (C, W, H, D).
        dtype: Type of the voxels.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = source.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray:
        array = SourceArray(self.source)
        support = indexing.IndexingSupport.OUTER
        read: NDArray = indexing.explicit_indexing_adapter(
            key, self.shape, support, array.__getitem__
        )
        return read
