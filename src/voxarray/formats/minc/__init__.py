"""MINC: version 1 in netCDF-3, version 2 in HDF5.

::

    netcdf3   the container of version 1                 facts: what both versions say of an image
    minc1     voxels by offset                           minc2: through h5py
    reader    opening either
"""
