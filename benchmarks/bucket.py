"""Conversions into a bucket, each of whose answers takes its time, against what they cannot avoid.

python benchmarks/bucket.py [--rounds 5] [--delay 10]

The same scans are converted into a folder of this machine, and into a bucket; and the files of the
folder are put by the object-store library alone, sixteen requests at once. In turns, in one
process, the server in another; the best of the rounds. A conversion into a bucket should take no
longer than 1.2 times the larger of the other two. A cohort of small scans tells of many images, a
large scan of many bytes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.config

import voxarray as vx
from efficiency import scans_of
from environments import OWN
from harness import HERE, fresh_output, save

KINDS = {
    "short cohort": (64, 40),
    "cohort": (64, 160),
    "image": (256, 1),
    "large image": (768, 1),
}
"""Voxels along each side of a scan, and how many there are."""

AT_ONCE = 16


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", type=float, default=10, help="of each answer, in ms")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args(arguments)
    rows = [compared(kind, options.rounds, options.delay) for kind in options.kinds]
    trial = (options.rounds, options.delay, len(rows)) != (5, 10, len(KINDS))
    save("bucket", {"delay_ms": options.delay, "rows": rows}, (OWN,), trial=trial)


def compared(kind: str, rounds: int, delay: float) -> dict[str, Any]:
    """Seconds of the three, the best of the rounds."""
    size, count = KINDS[kind]
    scans, seconds_by_name = scans_of(size, count), dict[str, list[float]]()
    source = str(scans) if count > 1 else str(next(scans.iterdir()))
    convert, made = (vx.convert_cohort, "made") if count > 1 else (vx.convert, "made.ome.zarr")
    for number in range(rounds + 1):
        folder = fresh_output("bucket") / made
        folder.parent.mkdir(parents=True)
        with bucket(delay) as settings:
            local = _seconds(convert, source, folder)
            upload = _seconds(_put_all, folder, settings)
            remote = _seconds(convert, source, f"s3://bucket/{made}")
        shutil.rmtree(folder.parent)
        if number:  # the first imports and connects
            for name, seconds in (("local", local), ("put", upload), ("bucket", remote)):
                seconds_by_name.setdefault(name, []).append(seconds)
    best = {name: min(times) for name, times in seconds_by_name.items()}
    ratio = best["bucket"] / max(best["local"], best["put"])
    row = {"kind": kind, "size": size, "scans": count, **best, "ratio": ratio}
    summary = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in best.items())
    print(f"  {kind:<13}{summary}: {ratio:.2f}x of the larger", flush=True)
    return row


@contextmanager
def bucket(delay: float) -> Iterator[dict[str, Any]]:
    """An empty bucket, which s3:// reaches; what the object-store library needs to know of it."""
    command = [sys.executable, str(HERE / "slow_store.py"), str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline())  # type: ignore[union-attr]
        settings = {
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key_id": "key",
            "secret_access_key": "secret",
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }
        try:
            with dask.config.set({"voxarray.remote-options": {"s3": settings}}):
                yield settings
        finally:
            process.kill()


def _seconds(work: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def _put_all(folder: Path, settings: dict[str, Any]) -> None:
    import obstore
    from obstore.store import S3Store

    store = S3Store("bucket", **settings)
    files = [path for path in folder.rglob("*") if path.is_file()]

    def upload(path: Path) -> None:
        # As many requests as files: a part of a file would be another.
        key = f"alone/{path.relative_to(folder).as_posix()}"
        obstore.put(store, key, path.read_bytes(), use_multipart=False)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(upload, files))


if __name__ == "__main__":
    main()
