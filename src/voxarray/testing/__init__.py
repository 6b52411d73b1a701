"""Tools for tests, of voxarray or of your own package: a sample scan, strategies, counters, memory.

No other package of voxarray imports this one. Only the strategies need ``hypothesis``.
"""

from __future__ import annotations

from voxarray.testing.counting import count_reads
from voxarray.testing.peak_memory import peak_above_imports
from voxarray.testing.sample import sample
from voxarray.testing.synthetic import Phantom, write_nifti

__all__ = ["Phantom", "count_reads", "peak_above_imports", "sample", "write_nifti"]
