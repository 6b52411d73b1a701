"""One large volume among two workers: divided, and as the task of one of them.

python benchmarks/divided.py [--gib 4] [--rounds 2] [--prepare]

Wall time of ``voxarray convert FOLDER COHORT --workers 2``, processes and imports included; and of
``--scheduler``, with two workers that wait for it and have one core each, as jobs of a cluster do.
Memory is that of the process that needed most, sampled from outside. The cohorts are compared file
by file.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

import volumes
from environments import BENCH, OWN
from harness import fresh_output, save
from scaling import SHAPES

NEVER, ALWAYS = "1 PiB", "1 MiB"
"""Values of the setting ``split-from``."""

CONTENDERS = {
    "one process": (["--workers", "0"], NEVER),
    "two workers, undivided": (["--workers", "2"], NEVER),
    "two workers, divided": (["--workers", "2"], ALWAYS),
    "two workers of one core each, undivided": ([], NEVER),
    "two workers of one core each, divided": ([], ALWAYS),
}
"""How it is done: who works, by default workers that wait; and from which size it is divided."""

SAMPLING_SECONDS = 0.02


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=4, choices=SHAPES, help="of voxels")
    parser.add_argument("--kind", default="head", choices=("head", "noisy"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prepare", action="store_true", help="write the scan only")
    options = parser.parse_args(arguments)
    scan = volumes.scan(volumes.phantom(options.kind, SHAPES[options.gib]), ".nii")
    folder = BENCH / "data" / f"alone-{scan.stem}"
    folder.mkdir(exist_ok=True)
    if not (folder / scan.name).exists():
        os.link(scan, folder / scan.name)
    if options.prepare:
        return
    _read(scan)
    output = fresh_output("divided")
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for number, (name, (flags, split_from)) in enumerate(CONTENDERS.items()):
            cohort = output / str(number)
            shutil.rmtree(cohort, ignore_errors=True)
            os.sync()
            with nullcontext(("", ())) if flags else _waiting(output) as (address, pids):
                how = flags or ["--scheduler", address]
                run = _converted(folder, cohort, how, split_from, pids)
            runs.setdefault(name, []).append(run)
            print(f"  {name:<44}{run['seconds']:9.3f} s", flush=True)
    for number in range(1, len(CONTENDERS)):
        _same(output / "0" / "subjects", output / str(number) / "subjects")
    shutil.rmtree(output)
    rows = [_row(name, measured) for name, measured in runs.items()]
    content = {"gib": options.gib, "kind": options.kind, "ways": rows}
    save("divided", content, (OWN,), trial=options.gib != 4 or options.kind != "head")


@contextmanager
def _waiting(folder: Path) -> Iterator[tuple[str, Sequence[int]]]:
    """Address of a scheduler with two workers, each of which may use one core; their processes."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    address_file = ["--scheduler-file", file, "--no-dashboard"]
    scheduler = ["-m", "distributed.cli.dask_scheduler", *address_file, "--host", "127.0.0.1"]
    worker = ["-m", "distributed.cli.dask_worker", *address_file, "--nthreads", "1", "--no-nanny"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    cores = sorted(os.sched_getaffinity(0))[:2]
    commands = [
        [sys.executable, *scheduler, "--port", "0"],
        *(["taskset", "-c", str(core), sys.executable, *worker] for core in cores),
    ]
    started = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        with Client(address, timeout="60 s") as client:
            client.wait_for_workers(len(cores), timeout=60)
        yield address, [process.pid for process in started[1:]]
    finally:
        for process in started:
            process.kill()
            process.wait()


def _converted(
    folder: Path, cohort: Path, how: Sequence[str], split_from: str, workers: Sequence[int]
) -> dict[str, float]:
    program = Path(sys.executable).with_name("voxarray")
    environment = {**os.environ, "DASK_VOXARRAY__SPLIT_FROM": split_from}
    peaks: dict[int, list[int]] = {}
    start = time.perf_counter()
    with subprocess.Popen(
        [program, "convert", folder, cohort, *how],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            for pid in (process.pid, *workers):
                _sample(pid, peaks)
            time.sleep(SAMPLING_SECONDS)
    seconds = time.perf_counter() - start
    assert process.returncode == 0, f"convert ended with {process.returncode}"
    resident, anonymous = (max(peak[n] for peak in peaks.values()) for n in (0, 1))
    return {
        "seconds": seconds,
        "resident_mib": resident / 2**20,
        "anonymous_mib": anonymous / 2**20,
    }


def _sample(pid: int, peaks: dict[int, list[int]]) -> None:
    """Resident and anonymous memory, in bytes, of a process and its children."""
    try:
        running = psutil.Process(pid)
        for process in (running, *running.children(recursive=True)):
            memory = process.memory_info()
            peak = peaks.setdefault(process.pid, [0, 0])
            peak[0] = max(peak[0], memory.rss)
            peak[1] = max(peak[1], memory.rss - memory.shared)
    except psutil.NoSuchProcess:
        return


def _read(path: Path) -> None:
    """So that all find it in the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(16 << 20):
            pass


def _same(first: Path, second: Path) -> None:
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    _, wrong, failed = filecmp.cmpfiles(first, second, map(str, files), shallow=False)
    assert not [*wrong, *failed], f"differ: {wrong + failed}"


def _row(name: str, runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {
        "name": name,
        "seconds": statistics.median(run["seconds"] for run in runs),
        "runs": [round(run["seconds"], 3) for run in runs],
        "resident_mib": max(run["resident_mib"] for run in runs),
        "anonymous_mib": max(run["anonymous_mib"] for run in runs),
    }


if __name__ == "__main__":
    main()
