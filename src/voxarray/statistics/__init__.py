"""What all voxels of a source say, in passes over it whose memory does not depend on its size."""
