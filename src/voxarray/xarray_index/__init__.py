"""The affine as xarray coordinates: arrays that know where their voxels are.

* `attach` gives a DataArray its affine, `affine_of` and `grid_of` read it after any operation, and
  `reattach` restores the index that files do not hold (module `attach`).
* ``array.vox`` has them as an accessor (`accessor`).
* `to_dask`, `to_dataarray` and `from_dataarray` convert between sources and arrays (`lazy`).
* ``xr.open_dataset(path, engine="voxarray")`` opens files (`backend`).
* The index itself is `affine_index`, over the integer arithmetic of `voxarray.geometry.lattice`.

Import from the modules: what needs only `voxarray.geometry` needs no xarray, whose import takes
0.6 s.
"""
