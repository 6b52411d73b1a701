"""Patches for training and inference, under TorchIO's names, straight from archives and files.

A sampler says where patches are, as a function of seed, epoch and index; a dataset reads them,
without a task graph, straight into the memory of a batch; a `GridAggregator` combines predictions.
"""

from __future__ import annotations

from voxarray.patches.adapters import MonaiTransform, TorchIOTransform
from voxarray.patches.aggregator import GridAggregator
from voxarray.patches.datasets import PatchDataset
from voxarray.patches.grid_sampler import GridSampler
from voxarray.patches.iterable import IterablePatchDataset
from voxarray.patches.samplers import LabelSampler, UniformSampler, WeightedSampler

__all__ = [
    "GridAggregator",
    "GridSampler",
    "IterablePatchDataset",
    "LabelSampler",
    "MonaiTransform",
    "PatchDataset",
    "TorchIOTransform",
    "UniformSampler",
    "WeightedSampler",
]
