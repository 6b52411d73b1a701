"""Where voxels are: grids, selections, lattices and the shapes of chunks; numpy only."""
