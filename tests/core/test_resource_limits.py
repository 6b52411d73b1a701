"""What a job, a container or a worker may use, and who says so."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import dask.config
import pytest

from voxarray.core import memory, resource_limits, settings
from voxarray.core.cgroups import groups

MIB = 1 << 20

VERSION_2 = "30 23 0:26 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate"
VERSION_1 = "35 31 0:32 {root} /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory"
CPU_1 = "36 31 0:33 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"


def tree(folder, cgroup, mounts, files):
    """A system's files as this process would see them below a folder."""
    texts = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": "\n".join(mounts), **files}
    for name, text in texts.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return folder


def memory_of(root, **environment):
    """The least limit of memory that is found, without what this machine says of itself."""
    found = [*resource_limits.find_memory(environment, root)]
    real = {limit.origin for limit in resource_limits.find_memory({}, Path("/nowhere"))}
    return min((one for one in found if one.origin not in real), key=lambda one: one.value)


def cores_of(root, **environment):
    found = [*resource_limits.find_cores(environment, root)]
    real = {limit.origin for limit in resource_limits.find_cores({}, Path("/nowhere"))}
    return next(one.value for one in reversed(found) if one.origin not in real)


class TestGroups:
    @pytest.mark.parametrize("limited", ["", "/slurm", "/slurm/job_7", "/slurm/job_7/step_0"])
    def test_limit_of_any_ancestor_binds_in_version_2(self, tmp_path, limited):
        files = {
            f"sys/fs/cgroup{one}/memory.max": "max"
            for one in ("/slurm", "/slurm/job_7", "/slurm/job_7/step_0")
        }
        files[f"sys/fs/cgroup{limited}/memory.max"] = str(700 * MIB)
        mounts = [VERSION_2.format(root="/")]
        found = memory_of(tree(tmp_path, "0::/slurm/job_7/step_0", mounts, files))
        assert found.value == 700 * MIB
        assert found.origin.endswith(f"cgroup{limited}/memory.max")

    @pytest.mark.parametrize("limited", ["", "/slurm", "/slurm/uid_1/job_7"])
    def test_limit_of_any_ancestor_binds_in_version_1(self, tmp_path, limited):
        endless = str((1 << 63) - 4096)
        files = {
            f"sys/fs/cgroup/memory{one}/memory.limit_in_bytes": endless
            for one in ("", "/slurm", "/slurm/uid_1", "/slurm/uid_1/job_7")
        }
        files[f"sys/fs/cgroup/memory{limited}/memory.limit_in_bytes"] = str(700 * MIB)
        own = "9:cpuset:/other\n4:memory:/slurm/uid_1/job_7\n0::/"
        found = memory_of(tree(tmp_path, own, [VERSION_1.format(root="/")], files))
        assert found.value == 700 * MIB

    def test_no_limit_is_none(self, tmp_path):
        files = {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory.max": "max",
        }
        mounts = [VERSION_1.format(root="/"), VERSION_2.format(root="/")]
        root = tree(tmp_path, "4:memory:/\n0::/", mounts, files)
        assert not [text for one in groups("memory", root) for text in one.memory()]

    def test_container_sees_its_own_group_as_the_root_of_the_mount(self, tmp_path):
        files = {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(64 * MIB)}
        mounts = [VERSION_1.format(root="/docker/abc")]
        assert memory_of(tree(tmp_path, "4:memory:/docker/abc", mounts, files)).value == 64 * MIB

    def test_group_outside_of_the_namespace_is_what_is_mounted(self, tmp_path):
        files = {"sys/fs/cgroup/memory.max": str(64 * MIB)}
        root = tree(tmp_path, "0::/../../other", [VERSION_2.format(root="/")], files)
        assert memory_of(root).value == 64 * MIB

    def test_throttling_limit_counts(self, tmp_path):
        files = {
            "sys/fs/cgroup/user.slice/memory.max": "max",
            "sys/fs/cgroup/user.slice/memory.high": str(80 * MIB),
        }
        root = tree(tmp_path, "0::/user.slice", [VERSION_2.format(root="/")], files)
        assert memory_of(root).value == 80 * MIB

    @pytest.mark.parametrize("text", ["", "nonsense", "0::", ":::\x00", "4:memory"])
    def test_files_of_another_form_are_no_limit(self, tmp_path, text):
        root = tree(tmp_path, text, ["nonsense", "a b c - cgroup2", text], {})
        assert not list(groups("memory", root))

    @pytest.mark.parametrize(
        ("quota", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1)]
    )
    def test_quota_of_processors(self, tmp_path, quota, cores):
        files = {"sys/fs/cgroup/a/cpu.max": quota, "sys/fs/cgroup/a/b/cpu.max": "max 100000"}
        root = tree(tmp_path, "0::/a/b", [VERSION_2.format(root="/")], files)
        assert cores_of(root) == cores

    def test_quota_of_processors_in_version_1(self, tmp_path):
        place = "sys/fs/cgroup/cpu,cpuacct/job"
        files = {f"{place}/cpu.cfs_quota_us": "300000", f"{place}/cpu.cfs_period_us": "100000"}
        root = tree(tmp_path, "3:cpu,cpuacct:/job", [CPU_1.format(root="/")], files)
        assert cores_of(root) == 3

    def test_real_group_of_this_system(self):
        own = next((one for one in groups("memory") if one.version == 1), None)
        folder = None if own is None else own.folder / f"voxarray-test-{uuid.uuid4().hex}"
        try:
            if folder is None:
                raise OSError
            folder.mkdir()
            (folder / "memory.limit_in_bytes").write_text(str(700 * MIB))
        except OSError:
            pytest.skip("no control group of version 1 that this user may divide")
        try:
            code = (
                f"import os; open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()));"
                "from voxarray.core import memory; print(memory.limit())"
            )
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert int(done.stdout) == 700 * MIB
        finally:
            folder.rmdir()


class TestSchedulers:
    @pytest.mark.parametrize(
        ("environment", "mib"),
        [
            ({"SLURM_MEM_PER_NODE": "700"}, 700),
            ({"SLURM_MEM_PER_NODE": "2G"}, 2048),
            ({"SLURM_MEM_PER_CPU": "300", "SLURM_CPUS_ON_NODE": "4"}, 1200),
            (
                {
                    "SLURM_MEM_PER_CPU": "300",
                    "SLURM_CPUS_PER_TASK": "2",
                    "SLURM_CPUS_ON_NODE": "8",
                },
                600,
            ),
            ({"SLURM_MEM_PER_CPU": "300"}, 300),
            ({"SLURM_MEM_PER_GPU": "300", "SLURM_GPUS_ON_NODE": "2"}, 600),
        ],
    )
    def test_memory_of_a_slurm_job(self, tmp_path, environment, mib):
        assert memory_of(tmp_path, SLURM_JOB_ID="7", **environment).value == mib * MIB

    def test_zero_is_all_that_the_node_has(self, tmp_path):
        found = resource_limits.find_memory(
            {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "0"}, tmp_path
        )
        assert "SLURM_MEM_PER_NODE" not in [one.origin for one in found]

    def test_variables_for_jobs_to_come_are_no_limits(self, tmp_path):
        found = resource_limits.find_memory({"SLURM_MEM_PER_NODE": "700"}, tmp_path)
        assert "SLURM_MEM_PER_NODE" not in [one.origin for one in found]

    def test_memory_of_a_pbs_job(self, tmp_path):
        found = memory_of(tmp_path, PBS_JOBID="1.server", PBS_RESC_MEM=str(700 * MIB))
        assert found.value == 700 * MIB

    @pytest.mark.parametrize(
        "environment",
        [
            {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "8"},
            {"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "3"},
            {"PBS_JOBID": "1", "NCPUS": "3"},
            {"PBS_JOBID": "1", "PBS_NUM_PPN": "3"},
            {"LSB_JOBID": "1", "LSB_DJOB_NUMPROC": "3"},
            {"LSB_JOBID": "1", "LSB_MCPU_HOSTS": f"other 8 {os.uname().nodename} 3"},
            {"JOB_ID": "1", "NSLOTS": "3"},
        ],
    )
    def test_processors_of_a_job(self, tmp_path, environment):
        assert cores_of(tmp_path, **environment) == 3

    def test_job_limits_budget_cache_and_threads(self):
        code = (
            "from voxarray.core import memory, resource_limits, settings;"
            "print(memory.limit(), memory.budget(), memory.cache_limit(), "
            "resource_limits.cores().value)"
        )
        job = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "700", "SLURM_CPUS_PER_TASK": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **job},
        )
        assert done.stdout.split() == [
            str(700 * MIB),
            str(350 * MIB),
            str(350 * MIB // 4),
            "1",
        ]


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_RSS"])
def test_limit_of_the_process_binds(kind):
    code = (
        f"import resource; resource.setrlimit(resource.{kind}, (3 << 30, 3 << 30));"
        "from voxarray.core import memory; print(memory.limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 3 << 30


def test_limits_are_looked_for_once_a_second(monkeypatch):
    looks = []
    now = [100.0]
    monkeypatch.setattr(resource_limits.time, "monotonic", lambda: now[0])
    fresh = resource_limits._Fresh(
        lambda: iter([looks.append(1) or resource_limits.Limit(5, "test")])
    )
    for _ in range(1000):
        assert fresh.get()[0].value == 5
    assert len(looks) == 1
    now[0] += 1.1
    fresh.get()
    assert len(looks) == 2


def test_dask_worker_tells_its_limit_and_takes_settings_of_the_client():
    distributed = pytest.importorskip("distributed")
    from voxarray.cohort.run.dask import with_settings

    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit="700MiB", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.submit(memory.limit, pure=False).result() == 700 * MIB
        assert next(iter(client.run(settings.threads).values())) == 1
        with dask.config.set({"voxarray.memory-budget": "100 MiB"}):
            values = settings.configured()
        submit = client.submit(with_settings, values, memory.budget, pure=False)
        assert submit.result() == 100 * MIB
        # The next task, of somebody who has set nothing, has what the worker itself has.
        assert client.submit(memory.budget, pure=False).result() == 350 * MIB
        with dask.config.set({"voxarray.memory-budget": "100 GiB"}):
            values = settings.configured()
        greedy = client.submit(with_settings, values, memory.budget, pure=False)
        assert greedy.result() == 700 * MIB


@pytest.mark.parametrize(("status", "cores"), [("running", [3]), ("closed", [])])
def test_a_dask_worker_that_was_closed_limits_nothing(monkeypatch, status, cores):
    from distributed.core import Status
    from distributed.worker import Worker

    # It stays in memory until the garbage collector comes by.
    worker = SimpleNamespace(status=Status[status], state=SimpleNamespace(nthreads=3))
    monkeypatch.setattr(Worker, "_instances", [worker])
    found = resource_limits.find_cores({}, Path("/nowhere"))
    assert [one.value for one in found if "dask" in one.origin] == cores


def test_dask_workers_read_blocks_with_the_settings_of_the_client():
    import pickle

    import numpy as np

    from voxarray.source.array import ArraySource
    from voxarray.source.indexing import SourceArray

    seen = []

    class Looking(ArraySource):
        def read(self, selection):
            seen.append(settings.get("memory-budget"))
            return super().read(selection)

    source = Looking(np.zeros((1, 2, 2, 2)), np.eye(4))
    with dask.config.set({"voxarray.memory-budget": "77 MiB"}):
        state = SourceArray(source).__reduce__()
    with dask.config.set({"voxarray.memory-budget": "9 MiB"}):
        made, arguments = state
        made(*arguments)[0, 0, 0, 0]
        SourceArray(source)[0, 0, 0, 0]
        kept = pickle.loads(
            pickle.dumps(made(ArraySource(np.zeros((1, 2, 2, 2)), np.eye(4)), arguments[1]))
        )
    assert seen == ["77 MiB", "9 MiB"]
    assert kept.settings["memory-budget"] == "77 MiB"


def test_reading_voxels_formats_no_text(tmp_path, monkeypatch):
    import numpy as np

    import voxarray as vx

    vx.ScalarImage(tensor=np.zeros((1, 9, 9, 9), "i2")).save(tmp_path / "a.nii")
    image = vx.ScalarImage(tmp_path / "a.nii")
    monkeypatch.setattr(type(image), "__repr__", None)  # calling it is a TypeError
    assert image[:4, :4, :4].data.shape == (1, 4, 4, 4)
    assert image.to_tensor().shape == (1, 9, 9, 9)
