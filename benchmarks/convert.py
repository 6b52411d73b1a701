"""How long converting a ``.nii.gz`` takes and how much memory, against other libraries.

python benchmarks/convert.py [--size 512] [--rounds 3] [--large]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import volumes
from environments import OWN
from harness import Contender, fresh_output, in_turns, save
from voxarray.testing.peak_memory import peak_above_imports

BASE = Contender("voxarray, base level", "voxarray_base", leaves_out="pyramid")
FULL = Contender("voxarray", "voxarray_full")
BASE_FAST = Contender("voxarray, base level, fast", "voxarray_base_fast", leaves_out="pyramid")
FULL_FAST = Contender("voxarray, fast", "voxarray_full_fast")
OURS = (BASE, FULL, BASE_FAST, FULL_FAST)
CONTENDERS = (
    Contender(
        "igzip: decoding alone", "igzip_decode", leaves_out="everything: the voxels are thrown away"
    ),
    *OURS,
    Contender("voxarray convert (CLI)", "voxarray_cli", command=True),
    Contender(
        "ngff-zarr, Python API",
        "ngff_zarr_api",
        "ngff",
        "pyramid, shards, checksums, verification, oblique affines, fsync",
    ),
    Contender(
        "ngff-zarr CLI",
        "ngff_zarr_cli",
        "ngff",
        "shards, checksums, verification, oblique affines, fsync",
        command=True,
    ),
    Contender(
        "TorchIO 2, .nii.zarr",
        "torchio2_nii_zarr",
        "tio2",
        "shards, checksums, verification, fsync",
        suffix=".nii.zarr",
    ),
    Contender(
        "nifti-zarr",
        "nifti_zarr",
        "nizarr",
        "shards, checksums, verification, fsync",
        suffix=".nii.zarr",
    ),
    Contender(
        "mlarray (blosc2)",
        "mlarray_save",
        "mlarray",
        "pyramid, checksums, verification, OME-Zarr, fsync",
        suffix=".mla",
        reads_back=True,
    ),
    Contender(
        "nibabel + zarr-python",
        "nibabel_zarr",
        "nizarr",
        "pyramid, shards, checksums, verification, all metadata, fsync",
    ),
    Contender(
        "nibabel + zarr-python, sharded as here",
        "nibabel_zarr_sharded",
        "nizarr",
        "pyramid, verification, all metadata, fsync",
    ),
    Contender(
        "nibabel + dask",
        "nibabel_dask",
        "nizarr",
        "pyramid, shards, checksums, verification, all metadata, fsync",
    ),
)

SIZE = 512
TINY = (32, 32, 32)

_SMALL_SETUP = """
import statistics, time
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.formats.registry import open_source

def convert_all(source, folder, count, **settings):
    seconds = []
    for number in range(count + 1):
        start = time.perf_counter()
        convert(open_source(source), f"{folder}/{number}.ome.zarr", options=Options(**settings))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])  # the first one imports
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender")
    parser.add_argument("--large", action="store_true", help="also a scan of 4 GiB")
    options = parser.parse_args(arguments)
    cube = (options.size,) * 3
    scans = {kind: _compared(kind, cube, CONTENDERS, options.rounds) for kind in ("head", "noisy")}
    content: dict[str, Any] = {
        "size": options.size,
        "rounds": options.rounds,
        "scans": scans,
        "four_times_deeper": _compared("head", (*cube[:2], 4 * cube[2]), OURS, 1),
        "small": [_small(TINY), _small((182, 218, 182))],
    }
    if options.large:
        content["four_gib"] = _compared("head", (1024, 1024, 2048), (CONTENDERS[0], *OURS), 1)
    used = (OWN, *(c.environment for c in CONTENDERS))
    save("convert", content, used, trial=options.size != SIZE)


def _compared(
    kind: str, shape: tuple[int, int, int], contenders: Sequence[Contender], rounds: int
) -> list[dict[str, Any]]:
    volume = volumes.phantom(kind, shape)
    source = volumes.scan(volume)
    print(f"converting {source.name}", flush=True)
    tiny = volumes.scan(volumes.phantom(kind, TINY))
    return in_turns(contenders, source, tiny, rounds, volumes.check_of(volume))


def _small(shape: tuple[int, int, int]) -> dict[str, Any]:
    """Seconds per archive of a small scan: what each one costs whatever its size."""
    source = volumes.scan(volumes.phantom("head", shape))
    print(f"converting {source.name} again and again", flush=True)
    row: dict[str, Any] = {"shape": shape}
    for name, options in (
        ("base", "levels=1"),
        ("full", ""),
        ("base, fast", "levels=1, codec='fast'"),
        ("full, fast", "codec='fast'"),
    ):
        folder = fresh_output("small")
        folder.mkdir()
        call = f"convert_all({str(source)!r}, {str(folder)!r}, 10, {options})"
        row[name] = peak_above_imports(_SMALL_SETUP, f"result = {call}").result
        print(f"  {name:<44}{row[name]:9.3f} s", flush=True)
    return row


if __name__ == "__main__":
    main()
