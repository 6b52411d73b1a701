"""Workers: never a deadlock after a fork, little memory, no growth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import voxarray as vx
from patches.conftest import archived
from voxarray.testing.peak_memory import can_measure, peak_above_imports

MIB = 1 << 20

FORK = """
import sys, torch
import voxarray as vx
from torch.utils.data import DataLoader

subject = vx.Subject(
    t1=vx.ScalarImage(sys.argv[1] + "/t1.ome.zarr"), seg=vx.LabelMap(sys.argv[1] + "/seg.ome.zarr")
)
whole = subject.t1.to_tensor()  # in several threads, whose pool the fork does not copy
patches = vx.PatchDataset([subject], vx.LabelSampler(8, "seg"), 24)
before = [patches[index]["t1"]["data"] for index in range(24)]
for attempt in range(int(sys.argv[2])):
    loader = DataLoader(
        patches, batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=20
    )
    found = torch.cat([batch["t1"]["data"] for batch in loader])
    assert torch.equal(found, torch.stack(before))
print("done")
"""


@pytest.mark.parametrize("attempts", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_forks_after_the_parent_has_read_never_wait(tmp_path: Path, attempts):
    archived(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path), str(attempts)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.stdout.strip() == "done", result.stderr[-3000:]


SETUP = """
import dask.config, numpy as np, torch, torch.utils.data
import voxarray as vx, voxarray.patches, voxarray.archive.source, voxarray.archive.convert
dask.config.set({"voxarray.threads": 1})

def resident():
    import gc
    gc.collect()
    with open("/proc/self/status") as status:
        rows = dict(line.split(":", 1) for line in status)
    return int(rows["RssAnon"].split()[0]) * 1024
"""


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """The folder of a volume of 64 MiB that no codec squeezes to nothing."""
    values = np.random.default_rng(0).integers(0, 3000, (1, 256, 256, 256), np.int32)
    vx.ScalarImage(tensor=values).save(tmp_path / "t1.ome.zarr")
    return tmp_path


@pytest.fixture
def volume(scan: Path) -> Path:
    """The same, and its labels."""
    values = vx.ScalarImage(scan / "t1.ome.zarr").numpy()
    vx.LabelMap(tensor=(values % 3).astype("u1")).save(scan / "seg.ome.zarr")
    return scan


def reading(volume: Path, count: int, every: int) -> str:
    return f"""
subject = vx.Subject(
    t1=vx.ScalarImage("{volume}/t1.ome.zarr"), seg=vx.LabelMap("{volume}/seg.ome.zarr")
)
patches = vx.PatchDataset([subject], vx.LabelSampler(96, "seg", {{1: 1, 2: 1}}), {count})
result = []
for index in range({count}):
    patches[index]
    if index % {every} == 0:
        result.append(resident())
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
def test_a_worker_needs_little_memory(volume):
    peak = peak_above_imports(SETUP, reading(volume, 40, 40))
    assert peak.bytes < 128 * MIB
    assert peak.bytes < 48 * MIB  # a patch of 3.4 MiB, decoded chunks, one cell of the label map


LOADING = """
import sys, torch
from collections import deque
import voxarray as vx
from torch.utils.data import DataLoader, default_collate

def resident():
    with open("/proc/self/status") as status:
        rows = dict(line.split(":", 1) for line in status)
    return int(rows["VmRSS"].split()[0]) * 1024

def begin(number):
    global before
    before = resident()

def collate(items):
    return default_collate(items), resident() - before

subject = vx.Subject(t1=vx.ScalarImage(sys.argv[1] + "/t1.ome.zarr"))
patches = vx.PatchDataset([subject], vx.UniformSampler(96), 400)
loader = DataLoader(patches, batch_size=4, num_workers=1, worker_init_fn=begin, collate_fn=collate)
# In the first half three batches are held, so that none is missing in the second one, however slow
# this process is to give one back.
held, seen = deque(maxlen=3), []
for batch, needed in loader:
    seen.append(needed)
    held.append(batch) if len(seen) < 45 else held.clear()
print(max(seen), seen[-1] - seen[len(seen) // 2])
"""


@pytest.mark.skipif(not can_measure(), reason="this system does not tell of memory")
def test_a_worker_of_a_loader_keeps_the_memory_of_a_few_batches(scan):
    result = subprocess.run(
        [sys.executable, "-c", LOADING, str(scan)], capture_output=True, text=True, timeout=200
    )
    assert result.stdout, result.stderr[-3000:]
    needed, growth = map(int, result.stdout.split())
    assert needed < 128 * MIB  # of it 13.5 MiB for each batch of 4 that is on its way
    assert growth < 2 * MIB


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
def test_twenty_thousand_patches_leave_nothing_behind(volume):
    seen = peak_above_imports(SETUP, reading(volume, 20_000, 1000)).result
    growth = (seen[-1] - seen[1]) / (len(seen) - 2)
    assert growth < MIB, [round(bytes_ / MIB, 1) for bytes_ in seen]
