"""For tests of voxarray and of what builds on it: a sample scan, strategies, counters, peak memory.

Imports everything and is imported by nothing; `hypothesis` is needed for the strategies only.
"""

from __future__ import annotations

from voxarray.testing.counting import count_reads
from voxarray.testing.peak_memory import peak_above_imports
from voxarray.testing.sample import sample
from voxarray.testing.synthetic import Phantom, write_nifti

__all__ = ["Phantom", "count_reads", "peak_above_imports", "sample", "write_nifti"]
