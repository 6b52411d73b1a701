"""A small net learns a real scan by heart, from patches of archives, and is put together again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.utils.data import DataLoader

import voxarray as vx
from patches.exact_net import exact_net

T1 = Path(__file__).parents[2] / "../shared/data/nifti/chris_t1.nii.gz"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not T1.exists(), reason=f"there is no scan {T1}"),
]


class UNet(nn.Module):
    """Three levels; sizes are multiples of four."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fine, self.middle = block(1, width), block(width, 2 * width)
        self.coarse = block(2 * width, 4 * width)
        self.middle_up, self.fine_up = block(6 * width, 2 * width), block(3 * width, width)
        self.out = nn.Conv3d(width, 1, 1)

    def forward(self, x):
        fine = self.fine(x)
        middle = self.middle(nn.functional.max_pool3d(fine, 2))
        coarse = self.coarse(nn.functional.max_pool3d(middle, 2))
        middle = self.middle_up(torch.cat([middle, doubled(coarse)], 1))
        return self.out(self.fine_up(torch.cat([fine, doubled(middle)], 1)))


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


def doubled(x):
    return nn.functional.interpolate(x, scale_factor=2)


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> vx.Subject:
    """The scan at half its resolution, normalised, and a mask of its brain, both archived."""
    folder = tmp_path_factory.mktemp("training")
    vx.ScalarImage(T1).save(folder / "full.ome.zarr")
    half = vx.ScalarImage(folder / "full.ome.zarr").level(1)
    vx.ZNormalization()(half).save(folder / "t1.ome.zarr")
    mask = vx.LabelMap(tensor=brain(half.numpy()[0])[None], affine=half.affine)
    mask.save(folder / "brain.ome.zarr")
    return vx.Subject(
        t1=vx.ScalarImage(folder / "t1.ome.zarr"), brain=vx.LabelMap(folder / "brain.ome.zarr")
    )


def brain(voxels):
    """The largest bright part that holds together when it is eroded."""
    bright = voxels > 0.4 * np.percentile(voxels, 99)
    parts, count = ndimage.label(ndimage.binary_erosion(bright, iterations=2))
    sizes = ndimage.sum_labels(np.ones_like(parts), parts, range(1, count + 1))
    largest = parts == 1 + int(np.argmax(sizes))
    grown = ndimage.binary_dilation(largest, iterations=2)
    return ndimage.binary_fill_holes(grown).astype(np.uint8)


def test_a_net_learns_the_brain_of_a_real_scan(subject):
    torch.manual_seed(0)
    net = UNet()
    sampler = vx.LabelSampler(32, "brain", {0: 1, 1: 1})
    patches = vx.PatchDataset([subject], sampler, patches_per_image=4 * 250, seed=1)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 250)
    for batch in DataLoader(patches, batch_size=4, num_workers=1):
        loss = nn.functional.binary_cross_entropy_with_logits(
            net(batch["t1"]["data"].float()), batch["brain"]["data"].float()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    windows = vx.GridSampler(vx.Subject(t1=subject.t1), 32, 16)
    aggregator = vx.GridAggregator(windows, overlap_mode="hann")
    with torch.no_grad():
        for batch in DataLoader(windows, batch_size=8):
            aggregator.add_batch(net(batch["t1"]["data"].float()), batch["location"])
    found, truth = aggregator.get_output_tensor()[0] > 0, subject.brain.data[0] > 0
    share = float(truth.float().mean())
    assert 0.02 < share < 0.4  # neither nothing nor everything
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.9, float(dice)


def test_windows_of_a_real_scan_are_the_whole_exactly(tmp_path):
    vx.ScalarImage(T1).save(tmp_path / "t1.ome.zarr")
    subject = vx.Subject(t1=vx.ScalarImage(tmp_path / "t1.ome.zarr"))
    net, windows = exact_net(), vx.GridSampler(subject, (64, 96, 48), 4)
    aggregator = vx.GridAggregator(windows)
    with torch.no_grad():
        for batch in DataLoader(windows, batch_size=2, num_workers=1):
            aggregator.add_batch(net(batch["t1"]["data"].double()), batch["location"])
        assert torch.equal(aggregator.get_output_tensor(), net(subject.t1.data[None].double())[0])
