"""The affine as an xarray index: one object that owns the coordinates x, y and z together.

The only module that touches what xarray asks of an index. Geometry is `Placement`'s; here is
only translated. Rules that xarray imposes, each learnt the hard way:

* `equals` must honour ``exclude``, or `xarray.concat` fails.
* A coordinate that an integer index made scalar stays owned, or planes at different places
  would add without an error; so `equals` decides about it.
* `rename` must refuse: x, y and z *are* the affine.
* Indexes are not serialised; `voxarray.xarray_index.attach.reattach` brings them back.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, NoReturn, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.core.indexing import IndexSelResult

from voxarray.core.errors import GridError, PandasIndexError, SelectionError
from voxarray.geometry.coordinates import AXIS_KEY, WORLD_KEY, plain_axis, world_of
from voxarray.geometry.lattice import DIMS, Axis, Placement
from voxarray.xarray_index.select_mm import between, containing

XarrayObject = TypeVar("XarrayObject", xr.DataArray, xr.Dataset)
"""A DataArray or a Dataset; what goes in comes out."""


class AffineIndex(xr.Index):
    """Coordinates x, y, z along the voxel axes, in mm from the origin of RAS+, and their affine.

    Attributes:
        placement: Which voxels of which lattice.
    """

    placement: Placement

    def __init__(self, placement: Placement) -> None:
        # Whoever holds an index has `.vox` and what comes with it: without that `interp_like`
        # leaves these coordinates out in silence.
        import_module("voxarray.xarray_index.accessor")
        self.placement = placement

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew on a worker, where nobody has asked for the accessor.
        return type(self), (self.placement,)

    @classmethod
    def from_affine(cls, affine: Any, shape: Sequence[int]) -> AffineIndex:
        """The index of an image of ``shape`` (W, H, D); the affine is kept exactly.

        Raises:
            GridError: If the affine is invalid.
        """
        return cls(Placement.of_affine(affine, shape))

    @classmethod
    def from_variables(
        cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]
    ) -> AffineIndex:
        """The index of plain coordinates, for ``set_xindex(..., AffineIndex, world=W)``.

        Raises:
            GridError: If the coordinates are not those of a grid.
        """
        world = world_of({WORLD_KEY: options["world"]})
        return cls(Placement.of_axes(world, [plain_axis(variables, d) for d in DIMS]))

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm; an axis that lost its dimension counts as one voxel."""
        return self.placement.affine

    def create_variables(
        self, variables: Mapping[Any, xr.Variable] | None = None
    ) -> dict[Hashable, xr.Variable]:
        # Given variables name what to make: where another index took over an axis, it is absent.
        dims = DIMS if variables is None else [d for d in DIMS if d in variables]
        return {d: self._variable(d, (variables or {}).get(d)) for d in dims}

    def _variable(self, dim: str, old: xr.Variable | None) -> xr.Variable:
        n = DIMS.index(dim)
        values = self.placement.positions(n)
        # Of one plane the coordinate cannot tell how thick it is, so the attribute does.
        # Without the index, renaming is noticed by the name in the attributes.
        attrs = {**(old.attrs if old is not None else {}), "units": "mm", AXIS_KEY: dim}
        attrs["step"] = self.placement.step(n)
        encoding = old.encoding if old is not None else None
        if self.placement.axes[n].dropped:
            return xr.Variable((), values[0], attrs, encoding)
        return xr.Variable((dim,), values, attrs, encoding)

    # --- Selecting ----------------------------------------------------------------------------

    def isel(self, indexers: Mapping[Any, Any]) -> AffineIndex | None:
        """The index of what remains; None where that is no grid and plain coordinates remain."""
        placement = self.placement
        for dim, key in indexers.items():
            if isinstance(key, xr.Variable):
                if key.ndim and key.dims != (dim,):
                    return None  # pointwise: x no longer runs along x
                key = key.values
            axis = placement.axes[DIMS.index(dim)].take(key)
            if axis is None:
                return None
            placement = placement.with_axis(DIMS.index(dim), axis)
        return AffineIndex(placement)

    def sel(
        self, labels: dict[Any, Any], method: str | None = None, tolerance: float | None = None
    ) -> IndexSelResult:
        """The voxels at positions in mm along their axes.

        A position selects the voxel that contains it; a slice selects the centres between its
        two ends, both included and in either order, by its step in voxels.

        Args:
            labels: Positions by dimension: numbers, lists, arrays or slices.
            method: ``"nearest"`` says what happens anyway.
            tolerance: Largest distance from the voxel's centre, in mm.

        Raises:
            KeyError: If a position lies outside the image.
            SelectionError: ``UNKNOWN_METHOD``.
        """
        if method not in (None, "nearest"):
            raise SelectionError(
                f'only method="nearest" can select voxels by mm, not {method!r}: a position in mm '
                "lies in one voxel, which is selected",
                code="UNKNOWN_METHOD",
            )
        return IndexSelResult({d: self._indexer(d, v, tolerance) for d, v in labels.items()})

    def _indexer(self, dim: str, label: Any, tolerance: float | None) -> Any:
        axis = DIMS.index(dim)
        if isinstance(label, slice):
            return between(self.placement, axis, label)
        millimetres = np.asarray(getattr(label, "values", label), float)
        indices = containing(self.placement, axis, millimetres, tolerance)
        if isinstance(label, xr.DataArray):
            return xr.DataArray(indices, coords=label.coords, dims=label.dims)
        if isinstance(label, xr.Variable):
            return xr.Variable(label.dims, indices)
        return indices if indices.ndim else int(indices)

    # --- Combining ----------------------------------------------------------------------------

    def equals(self, other: xr.Index, *, exclude: frozenset[Hashable] | None = None) -> bool:
        """Whether both name the same voxels, to 1e-3 voxel.

        Args:
            other: Any index.
            exclude: Dimensions along which it does not matter. xarray passes it when it aligns,
                and only then; grids that can never align are refused there and then, for what
                xarray would say about them does not mention geometry.

        Raises:
            GridError: ``GRID_MISMATCH``, when aligning.
        """
        if not isinstance(other, AffineIndex):
            return False
        if exclude is None:
            return self._same_dimensions(other)
        ignore = {n for n, d in enumerate(DIMS) if d in exclude}
        located = self.placement.locate(other.placement, ignore)
        for n in set(range(3)) - ignore:
            own_axis, other_axis = self.placement.axes[n], other.placement.axes[n]
            self._check_dropped(other, n, located[n])
            if not own_axis.dropped and not _same(own_axis, located[n], other_axis):
                self._check_reindexable(other, n, bool(ignore))
                return False
        return True

    def _same_dimensions(self, other: AffineIndex) -> bool:
        # Asked after alignment, and by concat of planes: where a scalar coordinate lies was
        # settled by alignment or is what is being concatenated.
        try:
            located = self.placement.locate(other.placement)
        except GridError:
            return False
        return all(
            own_axis.dropped == other_axis.dropped
            and (own_axis.dropped or _same(own_axis, indices, other_axis))
            for own_axis, indices, other_axis in zip(
                self.placement.axes, located, other.placement.axes, strict=True
            )
        )

    def _check_dropped(self, other: AffineIndex, axis: int, indices: range) -> None:
        own_axis, other_axis = self.placement.axes[axis], other.placement.axes[axis]
        if own_axis.dropped != other_axis.dropped:
            raise self.placement.mismatch(
                other.placement,
                f"an integer index took {DIMS[axis]} from one of them",
                "to broadcast a plane over a volume, drop its coordinates first: "
                'plane.drop_indexes(["x", "y", "z"])',
            )
        if own_axis.dropped and indices.start != 0:
            raise self.placement.mismatch(
                other.placement,
                f"they are planes at different {DIMS[axis]}",
                "to combine them regardless, use .data of one",
            )

    def _check_reindexable(self, other: AffineIndex, axis: int, excludes: bool) -> None:
        # xarray fails obscurely where it would have to reindex an index that has excluded
        # dimensions, and leaves the old index on coordinates without any.
        differ = f"they differ along {DIMS[axis]}"
        if excludes:
            raise self.placement.mismatch(
                other.placement, differ, f"choose the same part of both along {DIMS[axis]}"
            )
        if any(axis.dropped for axis in self.placement.axes):
            raise self.placement.mismatch(
                other.placement,
                f"{differ}, and xarray cannot align arrays that lost an axis by an integer index",
                "write [3:4] instead of [3]",
            )

    def join(self, other: AffineIndex, how: str = "inner") -> AffineIndex:
        """The voxels in both (``inner``) or the box around both (``outer``).

        Raises:
            GridError: ``GRID_MISMATCH`` or ``NO_OVERLAP``.
        """
        side: Literal["inner", "outer"] = "outer" if how == "outer" else "inner"
        return AffineIndex(self.placement.joined(other.placement, side))

    def reindex_like(self, other: AffineIndex) -> dict[Hashable, Any]:
        """Indices among these voxels of the other's, -1 where there is none.

        Raises:
            GridError: ``GRID_MISMATCH``.
        """
        indexers: dict[Hashable, Any] = {}
        for n, positions in enumerate(self.placement.locate(other.placement)):
            axis = self.placement.axes[n]
            if not axis.dropped:
                indices = np.array(positions, dtype=np.int64)
                outside = (indices < 0) | (indices >= axis.size)
                indexers[DIMS[n]] = np.where(outside, -1, indices)
        return indexers

    @classmethod
    def concat(
        cls,
        indexes: Sequence[AffineIndex],
        dim: Hashable,
        positions: Iterable[Iterable[int]] | None = None,
    ) -> AffineIndex:
        """The index of adjoining pieces, in order; along c, of the first.

        Raises:
            GridError: ``GRID_MISMATCH``, or ``NOT_ADJOINING`` if there is a gap or an overlap.
        """
        pieces = list(indexes)
        if dim not in DIMS:
            # Along c xarray concatenates coordinates that differ by rounding; they were aligned.
            return pieces[0]
        if positions is not None:
            # Groups of a groupby: each says where its voxels belong, in order if they adjoin.
            order = np.argsort([next(iter(p)) for p in positions])
            pieces = [pieces[n] for n in order]
        axis = DIMS.index(str(dim))
        placement = pieces[0].placement
        for piece in pieces[1:]:
            placement = _appended(placement, piece.placement, axis)
        return cls(placement)

    # --- The rest of the protocol -------------------------------------------------------------

    def roll(self, shifts: Mapping[Any, int]) -> AffineIndex | None:
        """This index after whole turns, else None: a torn image is no grid."""
        turns = [shift % self.placement.shape[DIMS.index(d)] for d, shift in shifts.items()]
        return None if any(turns) else self

    def rename(
        self, name_dict: Mapping[Any, Hashable], dims_dict: Mapping[Any, Hashable]
    ) -> AffineIndex:
        """Refuse other names for x, y and z.

        Raises:
            GridError: ``FIXED_NAMES``.
        """
        for old, new in [*name_dict.items(), *dims_dict.items()]:
            if old in DIMS and new != old:
                raise GridError(
                    f"{old!r} cannot be renamed to {new!r}: x, y and z carry the affine; "
                    'obj.drop_indexes(["x", "y", "z"]) gives it up',
                    code="FIXED_NAMES",
                )
        return self

    def to_pandas_index(self) -> NoReturn:
        """Refuse: three axes and a direction are no pandas index.

        Raises:
            PandasIndexError: Always; it is a TypeError, as xarray's own would be.
        """
        raise PandasIndexError(
            "this operation of xarray wants a pandas index for each coordinate, and x, y and z "
            "share one that holds the affine: use obj.vox.detach(), which gives each coordinate "
            "its own index, and .vox.reattach() on the result"
        )

    def __repr__(self) -> str:
        steps = ", ".join(f"{self.placement.step(n):g}" for n in range(3))
        return f"AffineIndex(steps=({steps}) mm, shape={self.placement.shape})"

    def _repr_inline_(self, max_width: int) -> str:
        return repr(self)[:max_width]


def index_of(obj: xr.DataArray | xr.Dataset) -> AffineIndex | None:
    """The index, if it owns x, y and z; None where others have taken some of them over.

    After an operation of xarray it may still sit on y and z and not know what became of x.
    """
    owners = [obj.xindexes.get(d) for d in DIMS]
    first = owners[0]
    owns_all = isinstance(first, AffineIndex) and all(owner is first for owner in owners)
    return first if owns_all else None


def coordinates_of(index: AffineIndex) -> xr.Coordinates:
    """x, y and z, owned by the index."""
    return xr.Coordinates.from_xindex(index)


def with_index(obj: XarrayObject, world: NDArray[np.float64]) -> XarrayObject:
    """The same object with a new index on its plain coordinates.

    Raises:
        GridError: If they are not those of a grid.
    """
    bare = obj.drop_indexes(DIMS, errors="ignore")
    return bare.set_xindex(DIMS, AffineIndex, world=world)


def without_index(obj: XarrayObject) -> XarrayObject:
    """The same object with a pandas index on each of x, y and z that is a dimension."""
    bare = obj.drop_indexes(DIMS, errors="ignore")
    for dim in DIMS:
        if dim in bare.coords and bare.coords[dim].dims == (dim,):
            bare = bare.set_xindex(dim)
    return bare


def released(obj: XarrayObject) -> XarrayObject:
    """The same object where no affine index owns any of x, y and z, so that they can change."""
    return obj.drop_indexes([d for d in DIMS if isinstance(obj.xindexes.get(d), AffineIndex)])


def has_index(obj: xr.DataArray | xr.Dataset) -> bool:
    """Whether an affine index owns any coordinate."""
    return any(isinstance(obj.xindexes.get(dim), AffineIndex) for dim in DIMS)


def _same(own_axis: Axis, indices: range, other_axis: Axis) -> bool:
    forwards = other_axis.size <= 1 or indices.step == 1
    return own_axis.size == other_axis.size and (
        not own_axis.size or (indices.start == 0 and forwards)
    )


def _appended(placement: Placement, piece: Placement, axis: int) -> Placement:
    located = placement.locate(piece)
    size = placement.shape[axis]
    expected = range(size, size + piece.shape[axis])
    if located[axis] != expected:
        raise GridError(
            f"the pieces do not adjoin along {DIMS[axis]}: those before have {size} voxels, so the "
            f"next piece should start at voxel {size}, but it lies at voxels "
            f"{located[axis].start} to {located[axis].start + len(located[axis]) - 1}; "
            "give the pieces in order, without gaps or overlaps",
            code="NOT_ADJOINING",
        )
    return placement.joined(piece, "outer")
