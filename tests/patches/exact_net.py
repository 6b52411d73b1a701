"""A net whose arithmetic is exact."""

from __future__ import annotations

import torch
from torch import nn


def exact_net(seed: int = 0) -> nn.Module:
    """Convolutions with small whole weights: of whole voxels, float64 sums are exact in any order.

    Shifting the input shifts the output; each voxel of it sees 2 voxels to each side.
    """
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv3d(1, 3, 3, padding=1, bias=False), nn.ReLU(), nn.Conv3d(3, 2, 3, padding=1)
    ).double()
    for weights in net.parameters():
        weights.data = torch.randint(-3, 4, weights.shape).double()
    return net
