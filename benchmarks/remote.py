"""How fast patches come out of an archive in an object store that takes its time to answer.

python benchmarks/remote.py [--size 256] [--patch 96] [--rounds 5] [--delays 10 20 100]

Each reader opens the same archive in fresh processes, in turns: what the first patch takes with
opening, and what the next ones take, of other places, on average. tensorstore reads the array of
the finest level by its own path, as its users do, without a manifest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.config
import numpy as np
from numpy.typing import NDArray

import volumes
import voxarray as vx
from environments import BENCH, OWN
from harness import HERE, save

READERS = ("voxarray", "tensorstore")
SIZE, PATCHES, WARM = 256, 20, 64
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}

Read = Callable[[volumes.Box], NDArray]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of the scan")
    parser.add_argument("--patch", type=int, default=96, help="voxels along each side of a patch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delays", type=float, nargs="+", default=[10, 20, 100], help="in ms")
    parser.add_argument("--reader", choices=READERS, help="measure this one, here and now")
    parser.add_argument("--port", type=int, help="of the store, for --reader")
    options = parser.parse_args(arguments)
    if options.reader:
        print(json.dumps(measured(options.reader, options.port, options.size, options.patch)))
        return
    archive(options.size)
    rows = [row for delay in options.delays for row in compared(delay, options)]
    content = {"size": options.size, "patch": options.patch, "rows": rows}
    save("remote", content, (OWN,), trial=options.size != SIZE)


def archive(size: int) -> Path:
    """The bucket, with an archive of this size in it, and a small one."""
    root = BENCH / "data" / "remote"
    for edge in (size, WARM):
        path = root / "bucket" / f"{edge}.ome.zarr"
        if not path.exists():
            source = volumes.scan(volumes.phantom("head", (edge, edge, edge)), ".nii")
            path.parent.mkdir(parents=True, exist_ok=True)
            vx.convert(source, path)
    return root


def compared(delay: float, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each reader."""
    runs_by_reader: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    with store(delay) as port:
        for _ in range(options.rounds):
            for name in READERS:
                command = [sys.executable, __file__, "--reader", name, "--port", str(port)]
                command += ["--size", str(options.size), "--patch", str(options.patch)]
                done = subprocess.run(
                    command, env={**os.environ, **KEYS}, stdout=subprocess.PIPE, check=True
                )
                runs_by_reader[name].append(json.loads(done.stdout))
    for name, runs in runs_by_reader.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        row = {"delay_ms": delay, "reader": name, **middle}
        print(row, flush=True)
        yield row


@contextmanager
def store(delay: float) -> Iterator[int]:
    """A server of the bucket; its port."""
    command = [sys.executable, str(HERE / "slow_store.py"), str(delay), str(BENCH / "data/remote")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())  # type: ignore[union-attr]
        finally:
            process.terminate()


def measured(reader: str, port: int, size: int, patch: int) -> dict[str, float]:
    """Milliseconds of the first patch with opening, of one later, and CPU of one later."""
    opened = {"voxarray": of_voxarray, "tensorstore": of_tensorstore}[reader]
    # What is imported and connected on first use, with another image.
    opened(port, WARM)((slice(0, WARM),) * 3)
    boxes = volumes.boxes(size, patch, PATCHES + 1)
    began = time.perf_counter()
    read = opened(port, size)
    read(boxes[0])
    first = time.perf_counter() - began
    began, used = time.perf_counter(), time.process_time()
    for box in boxes[1:]:
        read(box)
    steady = (time.perf_counter() - began) / PATCHES
    cpu = (time.process_time() - used) / PATCHES
    return {"first": 1000 * first, "steady": 1000 * steady, "cpu": 1000 * cpu}


def of_voxarray(port: int, size: int) -> Read:
    from voxarray.storage.remote.objects import forget

    forget()  # a second open within a second would ask for nothing
    bucket_at(port)
    image = vx.ScalarImage(f"s3://bucket/{size}.ome.zarr")
    assert image.shape == (1, size, size, size)  # opens it
    return lambda box: image[(slice(None), *box)].numpy()


def bucket_at(port: int) -> dask.config.set:
    """Let `s3` be the store at a port; as a context or from now on."""
    options = {
        "endpoint": f"http://127.0.0.1:{port}",
        "region": "us-east-1",
        "virtual_hosted_style_request": False,
    }
    return dask.config.set({"voxarray.remote-options": {"s3": options}})


def of_tensorstore(port: int, size: int) -> Read:
    import tensorstore

    spec = {
        "driver": "zarr3",
        "kvstore": {
            "driver": "s3",
            "bucket": "bucket",
            "path": f"{size}.ome.zarr/scale0/image/",
            "endpoint": f"http://127.0.0.1:{port}",
            "aws_region": "us-east-1",
            "aws_credentials": {"type": "environment"},
        },
    }
    array = tensorstore.open(spec, read=True).result()

    def read(box: volumes.Box) -> NDArray:
        x, y, z = box
        return np.asarray(array[0, z, y, x].read().result())

    return read


if __name__ == "__main__":
    main()
