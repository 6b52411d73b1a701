"""Memory that comes back: batches are right whatever is kept, and what was let go is used again."""

from __future__ import annotations

import gc

import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import voxarray as vx
from patches.conftest import archived
from voxarray.patches import shared_batches

COUNT = 48


@pytest.fixture
def patches(tmp_path):
    return vx.PatchDataset([vx.Subject(t1=archived(tmp_path).t1)], vx.UniformSampler(16), COUNT)


def expected(patches, batch):
    rows = range(4 * batch, 4 * batch + 4)
    return torch.stack([patches[index]["t1"]["data"] for index in rows])


def address(tensor):
    return tensor.untyped_storage().data_ptr()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_memory_of_batches_that_were_let_go_is_filled_again(patches, context):
    loader = DataLoader(patches, batch_size=4, num_workers=1, multiprocessing_context=context)
    places = set()
    for number, batch in enumerate(loader):
        data = batch["t1"]["data"]
        assert type(data) is torch.Tensor
        assert torch.equal(data, expected(patches, number))
        places.add(address(data))
    assert len(places) < COUNT // 4 // 2  # of twelve batches


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_that_are_kept_stay_what_they_are(patches, workers):
    kept = list(DataLoader(patches, batch_size=4, num_workers=workers))
    for number, batch in enumerate(kept):
        assert torch.equal(batch["t1"]["data"], expected(patches, number))
    assert len({address(batch["t1"]["data"]) for batch in kept}) == len(kept)


def test_a_view_keeps_the_memory_of_its_batch(patches):
    views = [
        batch["t1"]["data"][2, :, ::2] for batch in DataLoader(patches, batch_size=4, num_workers=1)
    ]
    for number, view in enumerate(views):
        assert torch.equal(view, expected(patches, number)[2, :, ::2])


def doubled(items):
    return default_collate(items)["t1"]["data"] * 2


def sliced(items):
    return default_collate(items)["t1"]["data"][:, :, 1:]


def twice(items):
    data = default_collate(items)["t1"]["data"]
    return data, data


def stacked(items):
    return torch.stack([item["t1"]["data"] for item in items])


@pytest.mark.parametrize(
    ("collate_fn", "change"),
    [
        pytest.param(doubled, lambda data: data * 2, marks=pytest.mark.slow),  # new, as stacked
        (sliced, lambda data: data[:, :, 1:]),
        (twice, lambda data: data),
        (stacked, lambda data: data),
        (list, lambda data: data),
    ],
)
def test_functions_of_users_that_make_batches(patches, collate_fn, change):
    kept = []
    loader = DataLoader(patches, batch_size=4, num_workers=2, collate_fn=collate_fn)
    for batch in loader:
        if collate_fn is list:
            batch = stacked(batch)
        kept.append(batch[1] if isinstance(batch, tuple) else batch)
    for number, data in enumerate(kept):
        assert torch.equal(data, change(expected(patches, number)))


def test_a_fork_that_drops_its_copy_lets_nothing_go(patches):
    loader = DataLoader(
        patches,
        batch_size=4,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    kept = {}
    for number, batch in enumerate(loader):
        kept[number] = batch["t1"]["data"]
        if number == 2:
            process = torch.multiprocessing.get_context("fork").Process(target=_drop, args=(kept,))
            process.start()
            process.join()
            assert process.exitcode == 0
    for number, data in kept.items():
        assert torch.equal(data, expected(patches, number))


def _drop(kept):
    kept.clear()
    gc.collect()


def test_memory_of_workers_is_released_after_they_end(patches):
    for _ in range(2):
        for batch in DataLoader(patches, batch_size=4, num_workers=2):
            assert len(batch["location"]) == 4
    gc.collect()
    assert not shared_batches._blocks


def test_batches_beyond_the_limit_are_not_shared(patches, monkeypatch):
    monkeypatch.setattr(shared_batches.memory, "cache_limit", lambda: 1000)
    loader = DataLoader(patches, batch_size=4, num_workers=1, multiprocessing_context="fork")
    for number, batch in enumerate(loader):
        assert torch.equal(batch["t1"]["data"], expected(patches, number))
        assert not shared_batches._blocks


def test_memory_that_is_forgotten_by_a_worker_is_so_by_its_parent(patches, monkeypatch):
    size = 4 * 16**3 * 4
    monkeypatch.setattr(shared_batches.memory, "cache_limit", lambda: 3 * size)
    loader = DataLoader(patches, batch_size=4, num_workers=1, multiprocessing_context="fork")
    kept = []
    for batch in loader:
        kept.append(batch)
        assert sum(map(len, shared_batches._blocks.values())) <= 4
    for number, batch in enumerate(kept):
        assert torch.equal(batch["t1"]["data"], expected(patches, number))
