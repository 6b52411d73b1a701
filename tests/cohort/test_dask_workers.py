"""The same cohort, whoever converts: this process, workers, a scheduler; workers may die."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import dask.config
import pandas as pd
import pytest
from cohort_samples import make_cohort, run, save, truth

import voxarray as vx
from voxarray.cohort.catalogue.journal import Journal, records
from voxarray.cohort.run import dask_client
from voxarray.cohort.run.build import ExecutionOptions, build

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def source(tmp_path):
    make_cohort(tmp_path / "in", 8, 3)
    build(tmp_path / "in", tmp_path / "whole")
    return tmp_path / "in"


@pytest.mark.filterwarnings("error:Port .* is already in use")
def test_workers_make_the_same(tmp_path, source, monkeypatch):
    monkeypatch.setattr(Journal, "_create", lambda _: pytest.fail("this process wrote a journal"))
    made = build(source, tmp_path / "out", run=ExecutionOptions(workers=2))
    assert (made.converted, made.failed) == (8, 3)
    assert truth(tmp_path / "out") == truth(tmp_path / "whole")
    assert 1 <= len(list((tmp_path / "out/journal").iterdir())) <= 2
    assert build(source, tmp_path / "out", run=ExecutionOptions(workers=2)).converted == 0


@pytest.fixture
def scheduler(tmp_path):
    """Address of a scheduler with one worker, and their processes."""
    import json

    file = tmp_path / "scheduler.json"
    place = ["--scheduler-file", str(file)]
    base = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    started = [
        subprocess.Popen([*base, *place, *options], **quiet),
        subprocess.Popen([*worker, *place, "--nthreads", "1", "--no-dashboard"], **quiet),
    ]
    try:
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.2)
        yield json.loads(file.read_text())["address"], started[0]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_workers_ask_for_no_port_that_others_may_have(monkeypatch):
    """As dask's 8787, which each of several runs on one machine would ask for."""
    asked, bind = [], socket.socket.bind

    def asking(self, address):
        if self.family != socket.AF_UNIX:
            asked.append(address[1])
        return bind(self, address)

    monkeypatch.setattr(socket.socket, "bind", asking)
    with dask_client.client_of(1, None, overlapping=False, share={}) as client:
        assert client.submit(int, 7).result() == 7
        assert len(asked) > 1
        assert set(asked) == {0}  # whichever is free


def test_a_scheduler_that_runs(tmp_path, source, scheduler):
    address, _ = scheduler
    made = build(source, tmp_path / "out", run=ExecutionOptions(scheduler=address))
    assert (made.converted, made.failed, made.interrupted_by) == (8, 3, "")
    assert truth(tmp_path / "out") == truth(tmp_path / "whole")


@pytest.mark.slow
def test_a_scheduler_that_is_killed(tmp_path, scheduler):
    address, process = scheduler
    for number in range(300):
        save(tmp_path / f"in/{number}.nii.gz", number)
    command = [sys.executable, "-m", "voxarray", "convert", tmp_path / "in", tmp_path / "out"]
    with subprocess.Popen([*command, "--scheduler", address], stderr=subprocess.PIPE) as running:
        while not list((tmp_path / "out").glob("subjects/*.ome.zarr")):
            time.sleep(0.02)
        process.kill()
        _, told = running.communicate(timeout=120)
    # It may not have heard of any before: then, as far as it knows, nothing was done.
    assert running.returncode in (1, 3)
    assert b"SCHEDULER_LOST" in told
    made = build(tmp_path / "in", tmp_path / "out")
    assert made.present + made.converted == 300
    assert made.present > 0


@pytest.mark.parametrize(
    ("name", "error", "options", "code", "advice"),
    [
        (
            *("Client", OSError("Timed out"), ("--scheduler", "tcp://127.0.0.1:1")),
            *("NO_SCHEDULER", "use --workers"),
        ),
        (
            *("LocalCluster", RuntimeError("Nanny failed to start."), ("--workers", "2")),
            *("NO_WORKERS", "fewer --workers"),
        ),
    ],
)
def test_what_does_not_start_is_named(
    tmp_path, source, monkeypatch, name, error, options, code, advice
):
    import distributed

    def failing(*_, **__):
        raise error

    monkeypatch.setattr(distributed, name, failing)
    result = run("convert", source, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert code in result.stderr
    assert advice in result.stderr


def writes_a_journal(process) -> bool:
    return any(file.path.endswith(".jsonl") for file in process.open_files())


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(10))
def test_killed_workers_lose_nothing(tmp_path, moment):
    import psutil

    for number in range(60):
        save(tmp_path / f"in/{number}.nii.gz", number)
    command = [sys.executable, "-m", "voxarray", "convert", tmp_path / "in", tmp_path / "out"]
    with subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.PIPE) as running:
        while not list((tmp_path / "out").glob("subjects/*.ome.zarr")):
            time.sleep(0.02)
        time.sleep(moment * 0.05)
        children = psutil.Process(running.pid).children(recursive=True)
        for pid in [child.pid for child in children if writes_a_journal(child)]:
            os.kill(pid, signal.SIGKILL)
        _, told = running.communicate(timeout=200)
    assert running.returncode == 0, told
    again = build(tmp_path / "in", tmp_path / "out")
    assert (again.present, again.converted) == (60, 0)
    done = list(records(str(tmp_path / "out/journal")))
    assert len(done) <= 60 + 2


def test_shares_of_memory_and_cores(monkeypatch):
    import dask.config

    from voxarray.cohort.run.dask import Distributed

    with dask.config.set({"voxarray.memory-budget": "1 GiB", "voxarray.threads": 8}):
        share = Distributed(4)._share()
    assert share == {"memory-budget": 256 << 20, "threads": 2}


def test_what_no_worker_may_hold_is_done_at_the_end(tmp_path):
    import dask.config

    for number in range(3):
        save(tmp_path / f"in/{number}.nii.gz", number)
    with dask.config.set({"voxarray.memory-budget": "80 MiB"}):
        made = build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(workers=2))
    assert (made.converted, made.failed) == (3, 0)


def test_the_budget_of_a_worker_is_kept(tmp_path):
    # 64 MiB of voxels against a budget of 100 MiB for two.
    from voxarray.testing.synthetic import Phantom, write_nifti

    (tmp_path / "in").mkdir()
    write_nifti(Phantom((256, 256, 512)), tmp_path / "in/0.nii.gz")
    shutil.copy(tmp_path / "in/0.nii.gz", tmp_path / "in/1.nii.gz")
    import dask.config

    with dask.config.set({"voxarray.memory-budget": "260 MiB"}):
        made = build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(workers=2))
    assert made.converted == 2
    peaks = [record["peak"] for record in records(str(tmp_path / "out/journal"))]
    assert max(peaks) < 130 << 20


@pytest.mark.parametrize(
    ("overlapping", "threads"), [(True, 3), pytest.param(False, 1, marks=pytest.mark.slow)]
)
def test_workers_keep_to_their_share(monkeypatch, overlapping, threads):
    import dask.config

    from voxarray.cohort.run.dask_client import client_of
    from voxarray.core import memory, settings
    from voxarray.core.shares import share_of

    monkeypatch.setenv("DASK_VOXARRAY__MEMORY_BUDGET", "3 GiB")  # which each of them inherits
    with (
        dask.config.set(
            {
                "voxarray.memory-budget": "1 GiB",
                "voxarray.threads": 4,
                "voxarray.chunk-limit": "9 MiB",
            }
        ),
        client_of(2, None, overlapping, share_of(2)) as client,
    ):
        found = client.run(
            lambda: (memory.budget(), settings.threads(), settings.get_bytes("chunk-limit"))
        )
        assert list(client.nthreads().values()) == [threads] * 2
        assert memory.budget() == 1 << 30
    assert list(found.values()) == [(512 << 20, 2, 9 << 20)] * 2


def test_an_image_that_kills_its_workers_takes_no_other_with_it(tmp_path, source, monkeypatch):
    """Others die with it, and again where they are tried together; not those that are lost last.

    Each worker that takes its place takes longer to start than dask waits for one by default.
    """
    from voxarray.cohort.run.dask import Distributed

    original = Distributed.run

    def run(engine, job, begin):
        deadly = next(item for item in job.items if item.slug.startswith("site"))

        def opener_of(item):
            if item is not deadly:
                return job.opener_of(item)
            return SimpleNamespace(open=lambda _: os.kill(os.getpid(), signal.SIGKILL), places={})

        return original(engine, replace(job, opener_of=opener_of), begin)

    monkeypatch.setattr(Distributed, "run", run)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "10 ms"}):
        made = build(source, tmp_path / "out", run=ExecutionOptions(workers=1))
    assert (made.converted, made.failed) == (7, 4)
    report = pd.read_parquet(tmp_path / "out/report.parquet")
    assert list(report.code).count("WORKER_LOST") == 1


SCRIPT = """
import voxarray as vx
print("before", flush=True)
{call}
print("after", flush=True)
"""


def run_script(folder, call):
    (folder / "script.py").write_text(SCRIPT.format(call=call))
    return subprocess.run(
        [sys.executable, folder / "script.py"], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "call",
    [
        "vx.convert_cohort({source!r}, 'o', workers=1, progress=False)",
        pytest.param(
            "vx.Cohort({cohort!r}).map(vx.ToCanonical()).save('o', workers=1, progress=False)",
            marks=pytest.mark.slow,
        ),
        "vx.Cohort({cohort!r}).save('o', suffix='.nii', workers=1, progress=False)",
        pytest.param(
            "vx.infer(__file__, vx.Cohort({cohort!r}), layer='p', workers=1, progress=False)",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["convert", "map", "export", "infer"],
)
def test_a_script_without_a_guard_ends_and_says_so(tmp_path, monkeypatch, call):
    """Also where it was run: its workers' own errors are lost among their tracebacks."""
    save(tmp_path / "in/a.nii.gz")
    build(tmp_path / "in", tmp_path / "cohort")
    monkeypatch.chdir(tmp_path)
    names = {"source": str(tmp_path / "in"), "cohort": str(tmp_path / "cohort")}
    ran = run_script(tmp_path, call.format(**names))
    assert ran.returncode == 1
    assert "after" not in ran.stdout
    last = ran.stderr[ran.stderr.rindex("Traceback") :]
    assert "NO_MAIN_GUARD: workers= starts processes; each of them runs " in last
    assert "script.py from its start" in last
    assert "SOME_FAILED" not in last


def test_workers_that_do_not_start_are_an_error_in_python(tmp_path, source, monkeypatch):
    """A result in which nothing failed would look like success."""
    import distributed

    def failing(*_, **__):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", failing)
    with pytest.raises(vx.TransportError) as caught:
        vx.convert_cohort(source, tmp_path / "o", workers=2, progress=False)
    assert caught.value.code == "NO_WORKERS"
    made = vx.convert_cohort(source, tmp_path / "o", progress=False)
    assert made.converted == 8  # what was planned is kept


def test_a_pool_without_a_guard_is_named_as_a_cause(tmp_path):
    save(tmp_path / "in/a.nii.gz")
    call = f"""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
print(vx.convert_cohort(
    {str(tmp_path / "in")!r}, {str(tmp_path / "o")!r}, executor=pool, progress=False
).failures)
"""
    told = run_script(tmp_path, call).stdout
    assert "WORKER_LOST" in told
    assert "script.py lacks if __name__" in told
