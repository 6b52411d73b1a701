"""Predictions for the windows of an archive are those for the whole volume."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx
from patches.conftest import archived
from patches.exact_net import exact_net


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
