"""What others run on SLURM: dask's workers by dask-jobqueue, and jobs by submitit."""

from __future__ import annotations

import os

import numpy as np
import pytest
from cohort_samples import save, truth
from isal import igzip

import voxarray as vx
from voxarray.cohort.run.build import build
from voxarray.core import resource_limits

SCANS = 12


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for number in range(SCANS):
        save(folder / f"in/{number:02}.nii.gz", number)
    build(folder / "in", folder / "serial")
    return folder


@pytest.fixture
def environment(slurm, monkeypatch):
    """Of whoever calls sbatch in this process."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm.environment[name])
    return slurm


def test_workers_of_dask_jobqueue(environment, scans, tmp_path):
    jobqueue = pytest.importorskip("dask_jobqueue")
    from distributed import Client

    cluster = jobqueue.SLURMCluster(
        cores=1,
        memory="900MiB",
        interface="lo",
        walltime="00:10:00",
        log_directory=str(tmp_path / "logs"),
        local_directory=str(tmp_path / "spill"),
        scheduler_options={"dashboard_address": ":0"},
        worker_extra_args=["--no-dashboard"],
    )
    with cluster, Client(cluster) as client:
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=120)
        for found in client.run(resource_limits.memory_limits).values():
            assert min(one.value for one in found) <= 900 * 2**20
            origins = {one.origin for one in found}
            assert {"SLURM_MEM_PER_NODE", "memory_limit of the dask worker"} <= origins
        address = cluster.scheduler_address
        made = vx.convert_cohort(scans / "in", tmp_path / "a", scheduler=address, progress=False)
        assert made.converted == SCANS
        executor = client.get_executor()
        made = vx.convert_cohort(scans / "in", tmp_path / "b", executor=executor, progress=False)
        assert made.converted == SCANS
        serial = vx.Cohort(scans / "serial").map(vx.ToCanonical())
        serial.save(tmp_path / "canonical", progress=False)
        serial.save(tmp_path / "on dask", scheduler=address, progress=False)
    for name in ("a", "b"):
        assert truth(tmp_path / name) == truth(scans / "serial")
    assert truth(tmp_path / "on dask") == truth(tmp_path / "canonical")


def test_jobs_of_submitit(environment, scans, tmp_path):
    submitit = pytest.importorskip("submitit")
    executor = submitit.AutoExecutor(folder=tmp_path / "jobs", cluster="slurm")
    executor.update_parameters(timeout_min=5, mem_gb=1, cpus_per_task=1)
    executor.update_parameters(slurm_array_parallelism=4)
    some = sorted((scans / "in").iterdir())[:4]
    made = vx.convert_cohort(some, tmp_path / "out", executor=executor, progress=False)
    assert (made.converted, made.failed) == (4, 0)
    vx.convert_cohort(some, tmp_path / "serial", progress=False)
    assert truth(tmp_path / "out") == truth(tmp_path / "serial")


@pytest.mark.slow
def test_large_streams_on_a_small_worker(environment, tmp_path):
    """Four gzip NRRDs of 500 MiB, on one worker of 700 MiB that its control group limits, too."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    from distributed import Client

    shape = (512, 512, 1000)
    rng = np.random.default_rng(0)
    plane = (rng.integers(0, 500, shape[:2]) + np.arange(512)).astype("<i2")
    header = (
        "NRRD0004\ntype: int16\ndimension: 3\nsizes: 512 512 1000\nendian: little\n"
        "encoding: gzip\nspace: right-anterior-superior\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
    )
    (tmp_path / "in").mkdir()
    with open(tmp_path / "in/0.nrrd", "wb") as file:
        file.write(header.encode())
        with igzip.IGzipFile(fileobj=file, mode="wb", compresslevel=0) as stream:
            for z in range(shape[2]):
                stream.write((plane + z % 7).tobytes("F"))
    for number in (1, 2, 3):
        os.link(tmp_path / "in/0.nrrd", tmp_path / f"in/{number}.nrrd")
    cluster = jobqueue.SLURMCluster(
        cores=1,
        memory="700MiB",
        interface="lo",
        log_directory=str(tmp_path / "logs"),
        local_directory=str(tmp_path / "spill"),
        scheduler_options={"dashboard_address": ":0"},
        worker_extra_args=["--no-dashboard"],
    )
    with cluster, Client(cluster) as client:
        cluster.scale(jobs=1)
        client.wait_for_workers(1, timeout=120)
        made = vx.convert_cohort(
            tmp_path / "in",
            tmp_path / "out",
            scheduler=cluster.scheduler_address,
            codec="fast",
            progress=False,
        )
    assert (made.converted, made.failed) == (4, 0), made.failures
    for number in range(4):
        image = vx.Cohort(tmp_path / "out")[number]["image"]
        for z in (0, 501, 999):
            found = image[..., z : z + 1].numpy()[0, ..., 0]
            assert np.array_equal(found, plane + z % 7)
