"""From an archive to a trained network, and from its predictions to a volume."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import nn
from torch.utils.data import DataLoader

import voxarray as vx
from patches.conftest import archived
from patches.tiny_unet import UNet, exact_net
from real_files import shared_scan


@pytest.mark.parametrize("padding", [None, "constant"])
@pytest.mark.parametrize("workers", [0, 2])
def test_sliding_windows_are_the_whole_volume_exactly(tmp_path, padding, workers):
    net = exact_net()
    subject = vx.Subject(t1=archived(tmp_path).t1)
    sampler = vx.GridSampler(subject, (14, 13, 16), 4, padding)
    aggregator = vx.GridAggregator(sampler)
    with torch.no_grad():
        for batch in DataLoader(sampler, batch_size=4, num_workers=workers):
            aggregator.add_batch(net(batch["t1"]["data"].double()), batch["location"])
        whole = net(subject.t1.data[None].double())[0]
    found = aggregator.get_output_tensor()
    if padding is None:
        assert torch.equal(found, whole)
    else:
        # With a border of zeros, hidden layers see beyond the volume where the whole net sees zero.
        inner = (slice(None), *(slice(2, -2),) * 3)
        assert torch.equal(found[inner], whole[inner])


def brain_mask(voxels):
    """The largest bright thing that stays in one piece when it is eroded: the brain, roughly."""
    bright = scipy.ndimage.gaussian_filter(voxels.astype("f4"), 1)
    core = scipy.ndimage.binary_erosion(bright > np.percentile(bright, 75), iterations=3)
    pieces, count = scipy.ndimage.label(core)
    sizes = scipy.ndimage.sum(core, pieces, range(1, count + 1))
    return scipy.ndimage.binary_dilation(pieces == 1 + np.argmax(sizes), iterations=3)


@pytest.mark.slow
def test_a_unet_overfits_a_scan_from_its_archive(tmp_path):
    scan = vx.ScalarImage(shared_scan("chris_t1.nii.gz"))
    small = scan[::2, ::2, ::2]
    small.save(tmp_path / "t1.ome.zarr")
    mask = brain_mask(small.numpy()[0]).astype("u1")[None]
    vx.LabelMap(tensor=mask, affine=small.affine).save(tmp_path / "brain.ome.zarr")
    subject = vx.Subject(
        t1=vx.ScalarImage(tmp_path / "t1.ome.zarr"), brain=vx.LabelMap(tmp_path / "brain.ome.zarr")
    )
    sampler = vx.LabelSampler(32, "brain", {0: 1, 1: 1})
    loader = DataLoader(vx.PatchDataset([subject], sampler, 320), batch_size=4, num_workers=1)
    torch.manual_seed(0)
    net, scale = UNet(), 1 / float(small.data.float().std())
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for batch in loader:
        predicted = net(batch["t1"]["data"].float() * scale)
        loss = nn.functional.binary_cross_entropy_with_logits(
            predicted, batch["brain"]["data"].float()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    windows = vx.GridSampler(vx.Subject(t1=subject.t1), 32, 16)
    aggregator = vx.GridAggregator(windows, "hann")
    net.eval()
    with torch.no_grad():
        for batch in DataLoader(windows, batch_size=4):
            predicted = net(batch["t1"]["data"].float() * scale)
            aggregator.add_batch(predicted, batch["location"])
    found = (aggregator.get_output_tensor() > 0).numpy()
    dice = 2 * (found & (mask > 0)).sum() / (found.sum() + mask.sum())
    assert dice > 0.9, dice
    np.testing.assert_array_equal(aggregator.get_output_image().affine, small.affine)
