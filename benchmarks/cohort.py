"""How fast a folder of scans becomes a cohort, and how fast a large catalogue opens.

Throughput is held against the processor time of the same conversions one by one, each alone,
divided by the cores: for the folder itself, which shows what starting costs, and for a long cohort
of the same scans under ten names each.

python benchmarks/cohort.py [--size 256] [--scans 30] [--rounds 1]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import volumes
from environments import BENCH, OWN
from harness import Contender, fresh_output, left_out, save
from voxarray.testing.peak_memory import Peak, peak_above_imports
from voxarray.testing.synthetic import Phantom, write_nifti

SIZE, SCANS = 256, 30
NAMES = 10
"""How often each scan stands in the long cohort, under other names."""

TINY = 32
ROWS = 100_000

COHORT = Contender("voxarray convert", "voxarray_cohort", suffix="")
CONTENDERS = (
    COHORT,
    Contender("voxarray convert --workers 2", "voxarray_cohort_workers", suffix=""),
    Contender(
        "looping ngff-zarr's Python API",
        "ngff_zarr_loop",
        "ngff",
        "shards, checksums, verification, oblique affines, catalogue, resuming, fsync",
        suffix="",
    ),
    Contender(
        "looping TorchIO 2's save to .nii.zarr",
        "torchio2_loop",
        "tio2",
        "shards, checksums, verification, catalogue, resuming, fsync",
        suffix="",
    ),
)

_SINGLE = """
import glob, os, time
from voxarray.archive.convert import convert
from voxarray.formats.registry import open_source

def convert_all(source, folder):
    for number, scan in enumerate(sorted(glob.glob(source + "/*.nii.gz"))):
        convert(open_source(scan), f"{folder}/{number}.ome.zarr", extremes=True)
"""

_CATALOGUE = """
import time
began = time.perf_counter()
thin = voxarray.Cohort(FOLDER).query("modality == 'MR' and spacing_max < 2")
count = len(thin)
result = time.perf_counter() - began
assert count == 33_334
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of a scan")
    parser.add_argument("--scans", type=int, default=SCANS, help="how many there are")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each contender")
    options = parser.parse_args(arguments)
    source = scans(options.size, options.scans)
    tiny = scans(TINY, 1)
    cores = len(os.sched_getaffinity(0))
    rows, long = {}, {}
    for contender in CONTENDERS:
        measured = _measured(contender, source, tiny, options.rounds)
        if measured:
            rows[contender.name] = measured
        if contender is CONTENDERS[1]:  # beside ours, so that the machine is in the same mood
            single = _single(source, tiny)
            names = renamed(source, NAMES)
            for peer in CONTENDERS[:2]:
                long[peer.name] = _measured(peer, names, tiny, 1)
    ideal = single / cores
    fastest = min(rows[c.name]["seconds"] for c in CONTENDERS[:2])
    ours_long = min(row["seconds"] for row in long.values() if row)
    content: dict[str, Any] = {
        "size": options.size,
        "scans": options.scans,
        "rows": list(rows.values()),
        "single_image_cpu_seconds": single,
        "cores": cores,
        "throughput_of_ideal": ideal / fastest,
        "long": {
            "scans": options.scans * NAMES,
            "rows": list(long.values()),
            "throughput_of_ideal": ideal * NAMES / ours_long,
        },
        "catalogue_seconds": _catalogue(),
    }
    print(
        f"  of the ideal throughput, {options.scans * NAMES:>4} scans         "
        f"{ideal * NAMES / ours_long:9.2f}"
    )
    print(f"  of the ideal throughput                     {ideal / fastest:9.2f}")
    for contender in CONTENDERS[2:]:
        if contender.name in rows:
            ratio = rows[contender.name]["seconds"] / rows[COHORT.name]["seconds"]
            print(f"  {contender.name:<44}{ratio:9.1f} times as long")
    print(f"  {ROWS:,} rows open and filter in           {content['catalogue_seconds']:9.3f} s")
    used = (OWN, *(c.environment for c in CONTENDERS))
    trial = (options.size, options.scans) != (SIZE, SCANS)
    save("cohort", content, used, trial=trial)


def scans(size: int, count: int) -> Path:
    """A folder of phantoms of different seeds, written once."""
    folder = BENCH / "data" / f"cohort-{size}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"scan-{number:02}.nii.gz"
        if not path.exists():
            partial = path.with_name(f"partial-{path.name}")
            write_nifti(Phantom((size,) * 3, "head", volumes.SEED + number), partial)
            partial.rename(path)
    return folder


def renamed(source: Path, names: int) -> Path:
    """A folder in which each scan of another stands under several names, as a hard link."""
    folder = source.with_name(f"{source.name}-x{names}")
    folder.mkdir(exist_ok=True)
    for scan in source.glob("scan-*.nii.gz"):
        for number in range(names):
            link = folder / f"copy-{number}-{scan.name}"
            if not link.exists():
                link.hardlink_to(scan)
    return folder


def _measured(contender: Contender, source: Path, tiny: Path, rounds: int) -> dict[str, Any] | None:
    runs: list[Peak] = []
    for _ in range(rounds):
        for scan in source.iterdir():
            scan.read_bytes()
        os.sync()
        with left_out(contender.name) as without:
            runs.append(contender.measure(source, fresh_output("cohort"), tiny))
        if without:
            return None
    best = min(runs, key=lambda run: run.seconds)
    print(f"  {contender.name:<44}{best.seconds:9.3f} s", flush=True)
    return {
        "name": contender.name,
        "leaves_out": contender.leaves_out,
        "seconds": best.seconds,
        "cpu_seconds": best.cpu_seconds,
        "peak_mib": best.bytes / 2**20,
        "runs": [round(run.seconds, 3) for run in runs],
    }


def _single(source: Path, tiny: Path) -> float:
    """Processor time of converting the scans one by one, each alone."""
    folder = fresh_output("single")
    folder.mkdir()
    setup = f"{_SINGLE}\nconvert_all({str(tiny)!r}, {str(folder / 'tiny')!r})"
    call = f"convert_all({str(source)!r}, {str(folder)!r})"
    seconds = peak_above_imports(setup, call).cpu_seconds
    print(f"  processor time of single conversions        {seconds:9.3f} s", flush=True)
    return seconds


def _catalogue() -> float:
    """Seconds to open and filter a catalogue of `ROWS` rows, pandas and pyarrow imported."""
    from voxarray.cohort.catalogue import rows as catalogue
    from voxarray.cohort.folder import CohortLayout

    folder = CohortLayout.of(BENCH / "data" / "catalogue")
    Path(folder.archive("0", False)).mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "status": "done",
            "subject": f"sub-{n:06}",
            "image": "T1w",
            "kind": "intensity",
            "labels": ["dseg"],
            "archive": f"subjects/sub-{n:06}.ome.zarr",
            "modality": "MR",
            "spacing_max": 1.0 + n % 3,
            "bytes": n,
            "width": 256,
            "dtype": "int16",
            "sub": f"{n:06}",
            "suffix": "T1w",
            "minimum": 0.0,
            "maximum": float(n),
        }
        for n in range(ROWS)
    ]
    catalogue.write(folder, rows)
    small = CohortLayout.of(BENCH / "data" / "catalogue-of-one")
    Path(small.archive("0", False)).mkdir(parents=True, exist_ok=True)
    catalogue.write(small, rows[:1])
    setup = f"import voxarray\nvoxarray.Cohort({small.root!r}).query('spacing_max < 2')"
    return float(peak_above_imports(setup, _CATALOGUE.replace("FOLDER", repr(folder.root))).result)


if __name__ == "__main__":
    main()
