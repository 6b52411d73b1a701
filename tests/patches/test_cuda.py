"""Batches on their way to a graphics card; skipped where there is none."""

from __future__ import annotations

import multiprocessing

import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx
from patches.conftest import archived
from patches.exact_net import exact_net

COUNT = 64

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device on this machine"
)


@pytest.fixture
def patches(tmp_path):
    torch.ones(1, device="cuda")  # before any worker is forked
    return vx.PatchDataset([vx.Subject(t1=archived(tmp_path).t1)], vx.UniformSampler(16), COUNT)


def expected(patches, batch):
    return torch.stack([patches[index]["t1"]["data"] for index in range(4 * batch, 4 * batch + 4)])


def test_a_process_that_uses_a_card_reads_into_pinned_memory(patches):
    for number, batch in enumerate(DataLoader(patches, batch_size=4)):
        data = batch["t1"]["data"]
        assert data.is_pinned()
        assert torch.equal(data.to("cuda", non_blocking=True).cpu(), expected(patches, number))


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_and_a_loader_that_pins(patches, context, workers):
    loader = DataLoader(
        patches,
        batch_size=4,
        num_workers=workers,
        pin_memory=True,
        multiprocessing_context=multiprocessing.get_context(context),
    )
    for number, batch in enumerate(loader):
        data = batch["t1"]["data"]
        assert data.is_pinned()
        assert torch.equal(data.to("cuda", non_blocking=True).cpu(), expected(patches, number))


@pytest.mark.parametrize("pins", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_comes_back_only_after_the_copy(patches, pins, workers):
    """The card is behind, on a stream of its own, when the batches are let go."""
    stream, sent = torch.cuda.Stream(), []
    with torch.cuda.stream(stream):
        for batch in DataLoader(patches, batch_size=4, num_workers=workers, pin_memory=pins):
            torch.cuda._sleep(20_000_000)
            sent.append(batch["t1"]["data"].to("cuda", non_blocking=True))
            del batch
    stream.synchronize()
    for number, data in enumerate(sent):
        assert torch.equal(data.cpu(), expected(patches, number))


def test_sliding_windows_on_the_card(tmp_path):
    subject = vx.Subject(t1=archived(tmp_path).t1)
    sampler = vx.GridSampler(subject, (14, 13, 16), 4)
    aggregator = vx.GridAggregator(sampler)
    net = exact_net().cuda()
    with torch.no_grad():
        for batch in DataLoader(sampler, batch_size=4, num_workers=2, pin_memory=True):
            data = batch["t1"]["data"].to("cuda", non_blocking=True)
            aggregator.add_batch(net(data.double()), batch["location"])
        whole = net(subject.t1.to_tensor(torch.float64, "cuda")[None])[0]
    assert torch.equal(aggregator.get_output_tensor(), whole.cpu())
