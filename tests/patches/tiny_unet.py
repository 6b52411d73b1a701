"""A small 3-D U-Net in plain torch, and a net whose arithmetic is exact."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class UNet(nn.Module):
    """Two levels, a few thousand weights: enough to overfit one scan on a processor in seconds."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = _block(1, width)
        self.bottom = _block(width, 2 * width)
        self.up = _block(3 * width, width)
        self.out = nn.Conv3d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.down(x)
        coarse = self.bottom(functional.max_pool3d(fine, 2))
        coarse = functional.interpolate(coarse, scale_factor=2)
        return self.out(self.up(torch.cat([fine, coarse], 1)))


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1), nn.InstanceNorm3d(outputs), nn.ReLU()
    )


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
