"""Counters that merge: what passes over voxels add up, block by block."""
