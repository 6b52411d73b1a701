"""MINC: version 1 in netCDF-3, version 2 in HDF5.

::

    netcdf3   the container of version 1
    minc1     its voxels, by offset
    minc2     version 2, through h5py
    metadata  what both versions say of an image
    read      opening either
    write     saving as version 2
"""
