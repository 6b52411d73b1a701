"""How things are measured: fresh processes in turns, medians, and a record of the machine."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
from voxarray.core.errors import StateError
from voxarray.testing.peak_memory import Peak, peak_above_imports

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TRIALS = environments.BENCH / "trials"
OUTPUT = environments.BENCH / "output"

FAILURES = (StateError, AssertionError, subprocess.CalledProcessError)
"""What a contender raises whose environment cannot be made, which fails, or writes other voxels."""


@dataclass(frozen=True)
class Contender:
    """One way to do a job: a module of ``contenders/`` with a function ``run``.

    Attributes:
        name: What the table calls it.
        module: Its module.
        environment: The environment it runs in.
        leaves_out: What it does not do that voxarray's full conversion does.
        suffix: Ending of what it writes.
        command: Whether it is a command line, whose imports are part of what it costs.
        reads_back: Whether its module has a function ``read_back`` that makes a ``.npy`` of what
            it wrote, which nobody else can read.
    """

    name: str
    module: str
    environment: str = environments.OWN
    leaves_out: str = ""
    suffix: str = ".ome.zarr"
    command: bool = False
    reads_back: bool = False

    def measure(self, source: Path, destination: Path, tiny: Path) -> Peak:
        """Cost of one run in a fresh process.

        Before it is measured, a library converts the scan ``tiny``, so that everything is
        imported that it imports on first use.
        """
        setup = self._importing()
        warmed = destination.with_name("tiny" + self.suffix)
        if not self.command:
            setup += f"contender.run({str(tiny)!r}, {str(warmed)!r})\n"
        return peak_above_imports(
            setup,
            f"result = contender.run({str(source)!r}, {str(destination)!r})",
            python=environments.python_of(self.environment),
        )

    def readable(self, destination: Path) -> Path:
        """What it wrote, in a form that the process of the benchmark can read."""
        if not self.reads_back:
            return destination
        path = destination.with_suffix(".npy")
        call = f"{self._importing()}contender.read_back({str(destination)!r}, {str(path)!r})"
        subprocess.run([environments.python_of(self.environment), "-c", call], check=True)
        return path

    def _importing(self) -> str:
        return (
            f"import sys; sys.path.insert(0, {str(HERE / 'contenders')!r})\n"
            f"import {self.module} as contender\n"
        )


def in_turns(
    contenders: Sequence[Contender],
    source: Path,
    tiny: Path,
    rounds: int,
    check: Callable[[Path], None] | None = None,
) -> list[dict[str, Any]]:
    """Run every contender on a file, one after another, as often as there are rounds.

    In turns, so that what disturbs the machine for a while disturbs them all.

    Args:
        contenders: Those to compare; a peer that fails is reported and left out.
        source: The file to convert; read once before, so that all find it in the page cache.
        tiny: A small file for each to warm up with.
        rounds: Runs of each.
        check: Raises unless what a contender wrote holds the right voxels; called once for each.

    Returns:
        One row per contender: its runs, the median of their times and the highest peak.
    """
    source.read_bytes()
    runs: dict[str, list[Peak]] = {}
    failed: set[str] = set()
    for _ in range(rounds):
        for contender in contenders:
            if contender.name in failed:
                continue
            destination = fresh_output(contender.module + contender.suffix)
            os.sync()  # no contender pays for what the one before left to be written
            with left_out(contender.name) as without:
                peak = contender.measure(source, destination, tiny)
                if check and contender.name not in runs and destination.exists():
                    check(contender.readable(destination))
                runs.setdefault(contender.name, []).append(peak)
                print(f"  {contender.name:<44}{peak.seconds:9.3f} s", flush=True)
            failed.update(without)
    return [_row(c, runs[c.name]) for c in contenders if c.name in runs and c.name not in failed]


@contextmanager
def left_out(name: str) -> Iterator[list[str]]:
    """Go on without a peer that fails here: its name is printed, and put into the list given.

    voxarray itself is never left out: where it fails, there is nothing to compare.
    """
    without: list[str] = []
    try:
        yield without
    except FAILURES as error:
        if name.startswith("voxarray"):
            raise
        output = f"\n{error.stderr[-300:]}" if getattr(error, "stderr", None) else ""
        print(f"  {name}: left out, {error}{output}", file=sys.stderr, flush=True)
        without.append(name)


def fresh_output(name: str) -> Path:
    """A path for results in which nothing stands, beside no results of others."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    return OUTPUT / name


def _row(contender: Contender, runs: Sequence[Peak]) -> dict[str, Any]:
    return {
        "name": contender.name,
        "leaves_out": contender.leaves_out,
        "seconds": statistics.median(run.seconds for run in runs),
        "fastest": min(run.seconds for run in runs),
        "cpu_seconds": statistics.median(run.cpu_seconds for run in runs),
        "peak_mib": max(run.bytes for run in runs) / 2**20,
        "anonymous_mib": max(run.anonymous for run in runs) / 2**20,
        "runs": [round(run.seconds, 4) for run in runs],
    }


def save(suite: str, content: dict[str, Any], used: Iterable[str], *, trial: bool = False) -> Path:
    """Write a suite's result with its date, its machine and the versions of what it used.

    A trial, on scans of another size than the table shows, is kept out of ``results/``.
    """
    folder = TRIALS if trial else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{suite}.json"
    document = {
        "suite": suite,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": _versions(used),
        **content,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path.relative_to(HERE.parent)}", flush=True)
    return path


def results(*, trial: bool = False) -> dict[str, Any]:
    """Results of all suites that were run, by suite."""
    files = sorted((TRIALS if trial else RESULTS).glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in files}


def _versions(used: Iterable[str]) -> dict[str, dict[str, str]]:
    """What was installed in each environment that there is."""
    result = {}
    for name in sorted(set(used)):
        with left_out(f"versions of {name}"):
            result[name] = environments.versions(name)
    return result


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, memory, load."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "malloc_arena_max": os.environ.get("MALLOC_ARENA_MAX"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
