"""How long 100,000 images take on 1 to 512 nodes, from what single images take here.

python benchmarks/simulation.py [--images 100000]

The cost of an image is measured: conversions of scans of four kinds, on all cores at once, so
that they disturb each other as they would on a node. What a cluster adds is assumed, and said in
the result: how fast its file system is, how jobs start, how often a node is lost.
"""

from __future__ import annotations

import argparse
import heapq
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import volumes
from environments import OWN
from harness import fresh_output, save
from metadata import Operations, operations

KINDS = {
    (64, 64, 40): 0.10,
    (160, 192, 160): 0.30,
    (256, 256, 176): 0.45,
    (320, 320, 240): 0.15,
}
"""Shapes of scans, int16, and their share of the cohort."""

RUNS = 12
NODES = tuple(2**n for n in range(10))


@dataclass(frozen=True)
class Cluster:
    """What is assumed of a cluster.

    Attributes:
        gigabytes_per_second: That all nodes together read from and write to the file system.
        operations_per_second: On metadata, that the file system does for all nodes together.
        starts_per_minute: Jobs that the scheduler starts.
        start_seconds: From the start of a job to its first image: Python and imports.
        hours_between_losses: Mean time until one node is lost; what it was at is done again.
        restart_seconds: Until another node has taken its place.
    """

    gigabytes_per_second: float = 5.0
    operations_per_second: float = 10_000.0
    starts_per_minute: float = 60.0
    start_seconds: float = 20.0
    hours_between_losses: float = 500.0
    restart_seconds: float = 300.0


@dataclass(frozen=True)
class Costs:
    """What images cost: an entry for each measured conversion.

    Attributes:
        seconds: Wall time of one image, all cores being busy.
        gigabytes: Bytes that are read and written for it.
        weights: Share of the cohort.
        operations: On metadata, of a task and of an image.
    """

    seconds: NDArray[np.float64]
    gigabytes: NDArray[np.float64]
    weights: NDArray[np.float64]
    operations: Operations


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    images = parser.parse_args(arguments).images
    workers = len(os.sched_getaffinity(0))
    rows = measure(workers)
    costs = Costs(
        np.concatenate([row["seconds"] for row in rows]),
        np.repeat([row["gigabytes"] for row in rows], RUNS),
        np.repeat([row["share"] / RUNS for row in rows], RUNS),
        operations(),
    )
    cluster = Cluster()
    curve = [simulate(costs, images, nodes, workers, cluster) for nodes in NODES]
    for point in curve:
        print(
            f"  {point['nodes']:>4} nodes{point['hours']:12.3f} h, "
            f"{point['efficiency']:.0%} of the ideal speed",
            flush=True,
        )
    content = {
        "images": images,
        "workers_per_node": workers,
        "assumed": asdict(cluster),
        "measured": rows,
        "metadata_operations": asdict(costs.operations),
        "curve": curve,
    }
    save("simulation", content, (OWN,), trial=images != 100_000)


def measure(workers: int) -> list[dict[str, Any]]:
    """Wall times of conversions while all workers convert images of the same kind."""
    rows = []
    context = get_context("spawn")
    for shape, share in KINDS.items():
        source = volumes.scan(volumes.phantom("head", shape))
        print(f"converting {source.name} by {workers} workers", flush=True)
        folder = fresh_output("simulation")
        folder.mkdir(parents=True)
        names = [str(folder / f"{n}.ome.zarr") for n in range(RUNS)]
        with ProcessPoolExecutor(workers, context, _warm, (str(source), str(folder))) as pool:
            durations = list(pool.map(_convert, [str(source)] * RUNS, names))
        written = _bytes_below(Path(names[0]))
        shutil.rmtree(folder)
        rows.append(
            {
                "shape": shape,
                "share": share,
                "seconds": durations,
                "gigabytes": (source.stat().st_size + 2 * written) / 1e9,  # it is read back
            }
        )
    return rows


def _warm(source: str, folder: str) -> None:
    _convert(source, f"{folder}/warm-{os.getpid()}.ome.zarr")


def _convert(source: str, destination: str) -> float:
    import dask.config

    from voxarray.archive.convert import convert
    from voxarray.formats.registry import open_source

    start = time.perf_counter()
    with dask.config.set({"voxarray.threads": 1}):  # a worker has one core
        convert(open_source(source), destination)
    return time.perf_counter() - start


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def simulate(
    costs: Costs, images: int, nodes: int, workers: int, cluster: Cluster, seed: int = 0
) -> dict[str, Any]:
    """Hand images to whoever is free, as the scheduler does, and see when the last one is done.

    Args:
        costs: Of images; those of the cohort are drawn among them.
        images: How many there are.
        nodes: How many machines like the one that was measured.
        workers: Per node.
        cluster: What is assumed besides.
        seed: Of the draws: the same cohort for every number of nodes.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(costs.seconds), images, p=costs.weights / costs.weights.sum())
    seconds = costs.seconds[chosen]
    losses = np.random.default_rng([seed, nodes])
    free = [
        (node * 60 / cluster.starts_per_minute + cluster.start_seconds, node * workers + worker)
        for node in range(nodes)
        for worker in range(workers)
    ]
    heapq.heapify(free)
    hazard = 1 / (cluster.hours_between_losses * 3600)
    end, lost = 0.0, 0
    for cost in seconds:
        free_at, worker = heapq.heappop(free)
        if losses.random() < hazard * cost / workers:
            lost += 1
            free_at += losses.random() * cost + cluster.restart_seconds
        end = max(end, free_at + cost)
        heapq.heappush(free, (free_at + cost, worker))
    # Nobody is done before the file system has read and written all of it, and found its names.
    moving = float(costs.gigabytes[chosen].sum()) / cluster.gigabytes_per_second
    operations = images * costs.operations.converted + nodes * workers * costs.operations.task
    asking = operations / cluster.operations_per_second
    seconds_taken = max(end, moving, asking)
    return {
        "nodes": nodes,
        "hours": seconds_taken / 3600,
        "efficiency": float(seconds.sum() / (seconds_taken * nodes * workers)),
        "metadata_operations": round(operations),
        "bound_by": max((end, "nodes"), (moving, "bytes"), (asking, "metadata"))[1],
        "workers_lost": lost,
    }


if __name__ == "__main__":
    main()
