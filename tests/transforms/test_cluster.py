"""Pipelines on a cluster of processes: the same archives, whichever worker is killed when."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import dask
import numpy as np
import pytest
from spatial_samples import oblique

import voxarray as vx

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,  # processes take seconds to start
    pytest.mark.filterwarnings("ignore"),
]

PIPELINE = vx.Compose(
    [
        vx.ToCanonical(),
        vx.Resample(1),
        vx.CropOrPad((256, 256, 256)),
        vx.RescaleIntensity(percentiles=(0.5, 99.5)),
        vx.ZNormalization(),
    ]
)
BLOCKS = (1, 64, 128, 128)
WORKERS = 2


class Watch(distributed.diagnostics.plugin.SchedulerPlugin):
    """Counts tasks that are done, and kills the worker that has done the one of a number."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self.start(0)

    def start(self, kill_after: int) -> None:
        self.done, self.kill_after, self.killed = 0, kill_after, None

    def transition(self, key, start, finish, *args, worker=None, **kwargs):
        if start != "processing" or finish != "memory":
            return
        self.done += 1
        if self.killed is None and self.done == self.kill_after and worker in self.pids:
            self.killed = worker
            os.kill(self.pids[worker], signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster():
    settings = {"distributed.scheduler.allowed-failures": 99}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


@pytest.fixture
def watch(cluster):
    watch = Watch()
    scheduler = cluster.cluster.scheduler
    cluster.sync(_call, scheduler.add_plugin, watch, name="watch")
    yield watch
    cluster.sync(_call, scheduler.remove_plugin, "watch")


async def _call(function, *args, **kwargs):
    function(*args, **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A scan, plain and compressed, and what one process makes of it without a cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    x, y, z = np.ogrid[:110, :100, :90]
    voxels = np.random.default_rng(0).integers(0, 200, (1, 110, 100, 90)) + (x * y + z * 8) // 10
    affine = oblique(2)
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    image = vx.ScalarImage(tensor=voxels.astype("int16"), affine=affine @ np.diag([1, 1.5, 2, 1]))
    for suffix in (".nii", ".nii.gz"):
        image.save(folder / f"scan{suffix}")
        PIPELINE(vx.ScalarImage(folder / f"scan{suffix}")).save(folder / f"serial{suffix}.ome.zarr")
    return folder


def by_blocks(path: Path) -> vx.ScalarImage:
    """The file is read by the workers, each block from what it depends on."""
    return PIPELINE(vx.ScalarImage(path)).rechunk(BLOCKS)


def by_graph(path: Path) -> vx.ScalarImage:
    """A DataArray goes in, and comes out as one graph."""
    array = vx.ScalarImage(path).array.chunk({"x": 50, "y": 50, "z": 45})
    return vx.ScalarImage.from_xarray(PIPELINE(array))


def digests(archive: Path) -> dict[str, tuple[int, int]]:
    """Size and checksum of every file that holds voxels."""
    files = json.loads((archive / "manifest.json").read_text())["files"]
    return {
        name: tuple(facts) for name, facts in files.items() if "/c/" in name and "scale" in name
    }


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("way", [by_blocks, by_graph])
def test_a_worker_that_is_killed_changes_nothing(cluster, watch, folder, tmp_path, way, suffix):
    expected = digests(folder / f"serial{suffix}.ome.zarr")
    voxels = vx.ScalarImage(folder / f"serial{suffix}.ome.zarr").numpy()
    assert len(expected) >= 3

    image = way(folder / f"scan{suffix}")
    watch.start(0)
    image.save(tmp_path / "undisturbed.ome.zarr")
    tasks = watch.done
    assert tasks >= 8
    assert digests(tmp_path / "undisturbed.ome.zarr") == expected

    for number, moment in enumerate((1, tasks // 3, tasks // 2, tasks - 1)):
        watch.pids = cluster.run(os.getpid)
        assert len(watch.pids) == WORKERS
        watch.start(moment)
        image.save(tmp_path / f"{number}.ome.zarr")
        assert watch.killed is not None
        assert watch.done > tasks - 1  # what was lost was done again
        assert digests(tmp_path / f"{number}.ome.zarr") == expected
        found = vx.ScalarImage(tmp_path / f"{number}.ome.zarr")
        assert np.array_equal(found.numpy(), voxels)
        cluster.wait_for_workers(WORKERS)


def test_a_worker_that_is_killed_while_statistics_are_found(cluster, watch, folder):
    path = folder / "scan.nii"
    expected = vx.ScalarImage(path).statistics()
    image = vx.ScalarImage.from_xarray(vx.ScalarImage(path).array.chunk({"z": 20}))
    watch.pids = cluster.run(os.getpid)
    watch.start(2)
    found = image.statistics()
    assert watch.killed is not None
    assert found.as_dict() == expected.as_dict()
    assert (found.mean, found.std) == (expected.mean, expected.std)
    cluster.wait_for_workers(WORKERS)
