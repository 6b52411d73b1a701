"""What a run costs beside its images: processor time of single conversions against all processes.

python benchmarks/efficiency.py [--size 64] [--scans 1000] [--engines workers array]

The same scans (ten, each under many names) are converted one by one in one process, and as a
cohort by each engine: in one process, by two workers (``--workers 2``), by two jobs of
dask-jobqueue of one core each, which are processes of this machine here, and by two parts of one
thread each, as an array has them. Planning, journals, the leading process and the catalogue are
part of a run. Imports and the start of workers are not: they are the time of a run of four scans,
told apart. A single conversion is what each engine does with a scan, and leaves nothing out that
users pay for: in turns, each scan is also converted by `voxarray.convert`. Both are measured before
and after each engine: by one process, and by as many at once as the engine has, for two that share
caches and memory take longer than one alone, whatever gives them their work. Nothing is deleted
before the end: on ext4, files that are made within seconds after many were deleted take 3 to 8 ms
an image more.
``dask-jobqueue-unsampled`` is dask-jobqueue without the stacks that dask samples in each worker, a
hundred a second. All cohorts must have the same digests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import volumes
from environments import BENCH, OWN
from harness import save
from voxarray.testing.synthetic import Phantom, write_nifti

SIZE, SCANS = 64, 1_000
DIFFERENT = 10
FEW = 4
UNSAMPLED = "dask-jobqueue-unsampled"
ENGINES = ("here", "workers", "dask-jobqueue", UNSAMPLED, "array")

_SINGLE = """
import glob, os, sys, time, dask.config
import voxarray as vx
from voxarray.archive.convert import convert
from voxarray.formats.registry import open_source
scans, folder, count = sorted(glob.glob(sys.argv[1] + "/*.nii.gz")), sys.argv[2], int(sys.argv[3])
os.makedirs(folder)
with dask.config.set({"voxarray.threads": 1}):
    for turn, some in (("warm", scans[:5]), ("scan", scans[:count])):
        began, by_users = time.process_time(), 0.0
        for number, scan in enumerate(some):
            convert(open_source(scan), f"{folder}/{turn}-{number}.ome.zarr", extremes=True)
            inside = time.process_time()
            vx.convert(scan, f"{folder}/{turn}-{number}-too.ome.zarr", progress=False)
            by_users += time.process_time() - inside
print((time.process_time() - began - by_users) / len(some), by_users / len(some))
"""

_COHORT = """
import json, resource, sys, time

def used():
    both = [resource.getrusage(one) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return [one.ru_utime + one.ru_stime for one in both]

if __name__ == "__main__":
    import voxarray as vx
    engine, scans, cohort = sys.argv[1:4]
    began, workers = time.perf_counter(), 0.0
    if engine == "dask-jobqueue":
        from dask_jobqueue.local import LocalCluster
        import distributed, tempfile
        with LocalCluster(
            cores=1, processes=1, memory="2 GiB", log_directory=tempfile.mkdtemp(),
            scheduler_options={"host": "127.0.0.1", "dashboard_address": None},
            worker_extra_args=["--no-dashboard"],
        ) as cluster:
            cluster.scale(2)
            with distributed.Client(cluster) as client:
                client.wait_for_workers(2)  # or the start of one may be in one run and not in both
                vx.convert_cohort(scans, cohort, scheduler=cluster.scheduler_address)
                # They are no children of this process.
                workers = sum(client.run(time.process_time).values())
    else:
        vx.convert_cohort(scans, cohort, workers=2 if engine == "workers" else 0)
    leader, others = used()
    print(json.dumps([leader, others + workers, time.perf_counter() - began]))
"""

_ARRAY = """
import os, resource, subprocess, sys, time
os.environ["DASK_VOXARRAY__THREADS"] = "1"
words = [sys.executable, "-m", "voxarray"]
scans, cohort = sys.argv[1:3]
began = time.perf_counter()
subprocess.run([*words, "plan", scans, cohort, "--quiet"], check=True)
parts = [[*words, "convert", scans, cohort, "--quiet", "--partition", f"{n}/2"] for n in (1, 2)]
for process in [subprocess.Popen(part) for part in parts]:
    assert process.wait() == 0
subprocess.run([*words, "finalise", cohort], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print([0.0, used.ru_utime + used.ru_stime, time.perf_counter() - began])
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of a scan")
    parser.add_argument("--scans", type=int, default=SCANS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    options = parser.parse_args(arguments)
    few, scans = scans_of(options.size, FEW), scans_of(options.size, options.scans)
    with tempfile.TemporaryDirectory(prefix="efficiency-", dir=BENCH) as folder:
        rows = _rows(options, few, scans, Path(folder))
    same = len({row["digest"] for row in rows}) == 1
    assert same, "the engines made different archives"
    content = {"size": options.size, "scans": options.scans, "rows": rows, "equal_digests": same}
    save("efficiency", content, (OWN,), trial=(options.size, options.scans) != (SIZE, SCANS))


def _rows(
    options: argparse.Namespace, few: Path, scans: Path, folder: Path
) -> list[dict[str, Any]]:
    rows = []
    single = _singles(scans, options.scans, folder)
    for engine in options.engines:
        if engine.startswith("dask-jobqueue") and find_spec("dask_jobqueue") is None:
            print(f"  {engine}: left out, dask-jobqueue is not installed", flush=True)
            continue
        before, start = single, _run(engine, few, folder / f"{engine}-few")
        full = _run(engine, scans, folder / engine)
        single = _singles(scans, options.scans, folder)
        means = [
            [(one + other) / 2 for one, other in zip(*pair, strict=True)]
            for pair in zip(before, single, strict=True)
        ]
        busy = means[engine != "here"]
        rows.append(_row(engine, means[0][0], busy, start, full, options.scans))
    return rows


def scans_of(size: int, count: int) -> Path:
    """A folder of phantoms of ten seeds, under as many names as asked for, as hard links."""
    folder = BENCH / "data" / f"efficiency-{size}-{count}"
    if not folder.exists():
        partial = folder.with_name("partial-" + folder.name)
        partial.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = partial / f"scan-{number:05}.nii.gz"
            if path.exists():
                continue
            if number < DIFFERENT:
                write_nifti(Phantom((size,) * 3, "head", volumes.SEED + number), path)
            else:
                path.hardlink_to(partial / f"scan-{number % DIFFERENT:05}.nii.gz")
        partial.rename(folder)
    return folder


def _singles(scans: Path, count: int, folder: Path) -> list[list[float]]:
    """Processor seconds of one conversion, by a process alone and by two at once, imports apart.

    Of what an engine does, and of `voxarray.convert`: the means of at most 200.
    """
    script = _written(_SINGLE)
    means = []
    for processes in (1, 2):
        running = [
            subprocess.Popen(
                [
                    sys.executable,
                    script,
                    scans,
                    Path(tempfile.mkdtemp(dir=folder), "made"),
                    str(min(200, count)),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        means_told = [[float(mean) for mean in one.communicate()[0].split()] for one in running]
        means.append([sum(pair) / processes for pair in zip(*means_told, strict=True)])
    alone, together = (" and ".join(f"{1000 * mean:.2f}" for mean in one) for one in means)
    print(f"  single conversions{alone:>30} ms each, {together} where two run", flush=True)
    return means


def _run(engine: str, scans: Path, cohort: Path) -> dict[str, Any]:
    script = _written(_ARRAY if engine == "array" else _COHORT)
    engine_arguments = [] if engine == "array" else [engine.removesuffix("-unsampled")]
    quiet = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"} if engine == UNSAMPLED else {}
    done = subprocess.run(
        [sys.executable, script, *engine_arguments, scans, cohort],
        env={**os.environ, **quiet},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    leader, workers, seconds = json.loads(done.stdout.splitlines()[-1])
    return {
        "cpu": leader + workers,
        "leader": leader,
        "seconds": seconds,
        "digest": _digest(cohort),
    }


def _written(script: str) -> Path:
    """A file with a script, for workers are started by importing it again."""
    path = BENCH / "efficiency_script.py"
    path.write_text(script)
    return path


def _digest(cohort: Path) -> str:
    """Of all files of all archives, and of the catalogue."""
    digest = hashlib.sha256((cohort / "catalogue.parquet").read_bytes())
    for file in sorted(path for path in (cohort / "subjects").rglob("*") if path.is_file()):
        digest.update(file.relative_to(cohort).as_posix().encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _row(
    engine: str,
    single: float,
    as_busy: Sequence[float],
    start: dict[str, Any],
    full: dict[str, Any],
    scans: int,
) -> dict[str, Any]:
    """Efficiency of a run, without and with what its start costs.

    Args:
        engine: Its name.
        single: Processor seconds of an image that a process converts alone.
        as_busy: The same, where as many processes convert as the engine has; and of
            `voxarray.convert`.
        start: Of a run of few scans.
        full: Of the run.
        scans: How many it had.
    """
    running = full["cpu"] - start["cpu"]
    images = scans - FEW
    row = {
        "engine": engine,
        "single_image_cpu_seconds": single,
        "cpu_seconds_per_image": running / images,
        "efficiency": single * images / running,
        "single_image_cpu_seconds_as_busy": as_busy[0],
        "efficiency_as_busy": as_busy[0] * images / running,
        "voxarray_convert_cpu_seconds_as_busy": as_busy[1],
        "efficiency_against_voxarray_convert": as_busy[1] * images / running,
        "efficiency_with_start": single * scans / full["cpu"],
        "start_cpu_seconds": start["cpu"] - FEW * single,
        "leader_cpu_seconds": full["leader"],
        "seconds": full["seconds"],
        "digest": full["digest"],
    }
    print(
        f"  {engine:<16}{1000 * row['cpu_seconds_per_image']:8.2f} ms an image, efficiency "
        f"{row['efficiency']:.2f} ({row['efficiency_as_busy']:.2f} of as busy, "
        f"{row['efficiency_against_voxarray_convert']:.2f} of voxarray.convert, "
        f"{row['efficiency_with_start']:.2f} with its start, {row['start_cpu_seconds']:.1f} s), "
        f"{full['seconds']:.1f} s",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
