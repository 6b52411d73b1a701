"""``.vox``: geometry of any DataArray or Dataset that has the coordinates of voxarray.

Importing this module registers the accessor, and makes `interp_like` compare geometry and
`coarsen` and `interp` keep it. `import voxarray` imports it as soon as xarray is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.image_classes import image_class
from voxarray.geometry.grid import Grid
from voxarray.xarray_index import interp_like, new_positions
from voxarray.xarray_index.affine_index import without_index
from voxarray.xarray_index.attach import affine_of, grid_of, reattach

interp_like.install()
new_positions.install()


@xr.register_dataset_accessor("vox")  # type: ignore[no-untyped-call]  # xarray has no types for it
@xr.register_dataarray_accessor("vox")  # type: ignore[no-untyped-call]
class VoxAccessor:
    """Geometry of the voxels, always in the order x, y, z, however the array is transposed.

    Axes that were removed by an integer index count as one voxel.
    """

    def __init__(self, obj: xr.DataArray | xr.Dataset) -> None:
        self._obj: Any = obj

    @property
    def grid(self) -> Grid:
        """Shape (W, H, D) and affine.

        Raises:
            GridError: If the coordinates are not those of a grid, for example after padding.
        """
        return grid_of(self._obj)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) matrix from voxel indices to voxel centres in RAS+ mm."""
        return affine_of(self._obj)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring centres along x, y and z, in mm."""
        return self.grid.spacing

    @property
    def orientation(self) -> tuple[str, str, str]:
        """World direction that each voxel axis is nearest to, such as ('R', 'A', 'S')."""
        return self.grid.orientation

    def detach(self) -> Any:
        """The same DataArray or Dataset with a plain pandas index on each of x, y and z.

        Otherwise x, y and z share one index, which holds the affine. Use `detach` before
        operations that need a separate index for each coordinate: `xr.map_blocks`,
        `to_dataframe`, `drop_isel`, `reindex`, `groupby`, `combine_by_coords`, ... `reattach`
        restores the shared index:

            doubled = xr.map_blocks(function, array.vox.detach()).vox.reattach()

        Take every n-th plane before: of a detached array, a single plane counts as thick as those
        of the array that was detached, also if it is one of every second plane. Leave x, y and z
        their names: `reattach` refuses others, for the affine belongs to the names.
        """
        return without_index(self._obj)

    def reattach(self) -> Any:
        """The same DataArray or Dataset with its shared index, for instance after `detach`.

        Raises:
            GridError: If the coordinates are not those of a grid; ``FIXED_NAMES`` if x, y or z
                had another name.
        """
        return reattach(self._obj)

    # --- Shortcuts, as methods of an image --------------------------------------------------------

    def to_image(self, *, label: bool = False) -> Any:
        """The array as a `ScalarImage`, or a `LabelMap`; nothing is read.

        Raises:
            UnsupportedError: For a Dataset of several variables (``SEVERAL_VARIABLES``): take one.
            GridError: If the coordinates are not those of a grid.
        """
        kind = image_class("LabelMap" if label else "ScalarImage")
        return kind.from_xarray(_one_array(self._obj))

    def resample(self, target: Any = 1, *, label: bool = False, **kwargs: Any) -> xr.DataArray:
        """The array on another grid, lazily; as `Image.resample`."""
        resampled: xr.DataArray = self.to_image(label=label).resample(target, **kwargs).array
        return resampled

    def save(self, path: Any, *, label: bool = False, **kwargs: Any) -> None:
        """Write a file or an archive, chosen by the suffix; as `Image.save`."""
        self.to_image(label=label).save(path, **kwargs)

    def plot(self, *, label: bool = False, **kwargs: Any) -> Any:
        """Draw three planes, radiologically; as `Image.plot`."""
        return self.to_image(label=label).plot(**kwargs)

    def view(self, *, label: bool = False, **kwargs: Any) -> Any:
        """Show an interactive viewer in a notebook; as `Image.view`."""
        return self.to_image(label=label).view(**kwargs)


def _one_array(obj: xr.DataArray | xr.Dataset) -> xr.DataArray:
    if isinstance(obj, xr.DataArray):
        return obj
    names = list(obj.data_vars)
    if len(names) != 1:
        raise UnsupportedError(
            f"a Dataset of the variables {names} is not an image: take one of them, such as "
            f"dataset[{str(names[0]) if names else 'image'!r}].vox",
            code="SEVERAL_VARIABLES",
        )
    array: xr.DataArray = obj[names[0]]
    return array
