"""A scheduler and workers of `dask`, as their command lines start them, that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def workers_of(pid: int) -> list[int]:
    """Processes of workers that the nannies in a process have started, oldest first."""
    try:
        children = psutil.Process(pid).children(recursive=True)
        alive = [one for one in children if one.status() != psutil.STATUS_ZOMBIE]
        spawned = [one for one in alive if "spawn_main" in " ".join(one.cmdline())]
        return [one.pid for one in sorted(spawned, key=lambda one: one.create_time())]
    except psutil.NoSuchProcess:
        return []


def kill(pid: int) -> bool:
    """Whether there was something to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class Cluster:
    """``dask scheduler`` and ``dask worker`` with nannies, on ports of their choice."""

    def __init__(self, file: Path, workers: int = 1) -> None:
        place = ["--scheduler-file", str(file), "--no-dashboard"]
        many = ["--nworkers", str(workers), "--nthreads", "1", "--memory-limit", "0"]
        base = [sys.executable, "-m"]
        self.scheduler = subprocess.Popen(
            [*base, "distributed.cli.dask_scheduler", *place, "--host", "127.0.0.1", "--port", "0"],
            **_QUIET,
        )
        self.workers = subprocess.Popen(
            [*base, "distributed.cli.dask_worker", *place, *many], **_QUIET
        )
        self._file = file

    @property
    def address(self) -> str:
        """Of the scheduler, once it runs."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                return str(json.loads(self._file.read_text())["address"])
            except (FileNotFoundError, ValueError):  # not yet, or half of it
                time.sleep(0.05)
        raise TimeoutError("the scheduler does not start")

    def wait(self, workers: int) -> list[int]:
        """Processes of the workers once so many have joined, who is there longest first."""
        from distributed import Client

        with Client(self.address, timeout="60 s") as client:
            client.wait_for_workers(workers, timeout=60)
        return workers_of(self.workers.pid)

    def stop(self) -> None:
        """Kill what still runs."""
        started = [self.workers, self.scheduler]
        pids = workers_of(self.workers.pid)
        for process in started:
            process.kill()
            process.wait()
        for pid in pids:
            kill(pid)
