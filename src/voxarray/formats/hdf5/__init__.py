"""ITK's images in HDF5 (.h5, .hdf5)."""
