"""Patches per second through a `DataLoader`, against the libraries that do the same.

The scan is stored by four profiles, and tensorstore, zarr-python and a graph of dask read the
archives of three of them too: rows without a profile's name are of the default one.

python benchmarks/loading.py [--size 512] [--patch 96] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import volumes
from environments import BENCH, OWN, python_of
from harness import HERE, left_out, save
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.testing.peak_memory import peak_above_imports
from voxarray.testing.synthetic import Phantom

SIZE, PATCH = 512, 96
PROFILES = ("default", "fast", "training", "raw")
LOADERS = HERE / "loaders"


@dataclass(frozen=True)
class Loader:
    """A way to load patches.

    Attributes:
        name: What the table calls it.
        module: Of ``loaders/``.
        store: Which of the stores it reads.
        environment: Where it runs.
        patches: In one round, which should last seconds: the first batches of an epoch come late.
    """

    name: str
    module: str
    store: str
    environment: str = OWN
    patches: int = 1200

    def rates(self, path: Path, size: int, patch: int, workers: int, rounds: int) -> list[float]:
        """Patches per second of each round."""
        numbers = (size, patch, self.patches, workers, rounds)
        command = [
            python_of(self.environment), LOADERS / "measure.py", self.module, path,
            *map(str, numbers),
        ]  # fmt: skip
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        return list(json.loads(answer.stdout))


TENSORSTORE, ZARR, DASK = "tensorstore", "zarr-python", "dask graph"
MLARRAY = "mlarray (blosc2)"
TORCHIO1, TORCHIO2 = "TorchIO 1.2.1, .nii.gz", "TorchIO 2, .nii.zarr"
CONTENDERS = [
    *(Loader(f"voxarray, {profile}", "by_voxarray", profile) for profile in PROFILES),
    Loader(TENSORSTORE, "by_tensorstore", "default"),
    Loader(ZARR, "by_zarr", "default", patches=240),
    Loader(DASK, "by_dask", "default", patches=80),
    Loader(f"{TENSORSTORE}, fast", "by_tensorstore", "fast"),
    Loader(f"{ZARR}, fast", "by_zarr", "fast", patches=240),
    Loader(f"{DASK}, fast", "by_dask", "fast", patches=80),
    Loader(f"{TENSORSTORE}, training", "by_tensorstore", "training"),
    Loader(f"{ZARR}, training", "by_zarr", "training", patches=240),
    Loader(f"{DASK}, training", "by_dask", "training", patches=200),
    Loader(MLARRAY, "by_mlarray", "mlarray", "mlarray"),
    Loader(TORCHIO2, "by_torchio2", "nii.zarr", "tio2", patches=160),
    Loader(TORCHIO1, "by_torchio1", "nii.gz", "tio1", patches=4),
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of the scan")
    parser.add_argument("--patch", type=int, default=PATCH, help="voxels along a side of a patch")
    parser.add_argument("--rounds", type=int, default=3, help="passes of each loader")
    parser.add_argument("--kinds", nargs="+", default=["head", "noisy"], help="which scans")
    options = parser.parse_args(arguments)
    scans = {kind: _scan(kind, options) for kind in options.kinds}
    content = {"size": options.size, "patch": options.patch, "scans": scans}
    trial = (options.size, options.patch) != (SIZE, PATCH) or len(scans) < 2
    save("loading", content, (OWN, "tio1", "tio2", "mlarray"), trial=trial)


def _scan(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    volume = volumes.phantom(kind, (options.size,) * 3)
    stores = _stores(volume, options.patch)
    two_workers: dict[str, list[float]] = {}
    one_worker: dict[str, list[float]] = {}
    # All in turns: what disturbs the machine for a while disturbs them all.
    for loader in CONTENDERS * options.rounds:
        path = stores.get(loader.store)
        if path is None:
            continue
        is_voxarray = loader.module == "by_voxarray"
        for workers, rates_by_name in (
            ((2, two_workers), (1, one_worker)) if is_voxarray else ((2, two_workers),)
        ):
            with left_out(loader.name):
                rates = loader.rates(path, options.size, options.patch, workers, 1)
                rates_by_name.setdefault(loader.name, []).extend(rates)
    for workers, rates_by_name in ((2, two_workers), (1, one_worker)):
        for name, rates in rates_by_name.items():
            rate = statistics.median(rates)
            print(f"  {kind:<6} {workers} {name:<30}{rate:9.1f} patches/s", flush=True)
    return {
        "two_workers": {name: statistics.median(rates) for name, rates in two_workers.items()},
        "one_worker": {name: statistics.median(rates) for name, rates in one_worker.items()},
        "runs": {name: [round(rate, 2) for rate in rates] for name, rates in two_workers.items()},
        "mib_on_disk": {name: _size(path) / 2**20 for name, path in stores.items()},
        "peak": {profile: _peak(stores[profile], options.patch) for profile in PROFILES},
    }


def _stores(volume: Phantom, patch: int) -> dict[str, Path]:
    """The scan in every form, made anew by the code as it stands; a peer's own by the peer."""
    source = volumes.scan(volume)
    stores = {"nii.gz": source}
    stem = str(BENCH / "data" / source.name.removesuffix(".nii.gz"))
    for profile in PROFILES:
        stores[profile] = Path(f"{stem}-{profile}.ome.zarr")
        choices = Options(overwrite=True, codec=profile, levels=1)
        convert(open_source(source), stores[profile], options=choices)
    mla, zarr = Path(f"{stem}.mla"), Path(f"{stem}.nii.zarr")
    if not mla.exists():
        plain = BENCH / "data" / "plain.npy"
        archived = open_source(stores["raw"])
        voxels = archived.read(Selection.whole(archived.shape))[0].transpose(2, 1, 0)
        np.save(plain, np.ascontiguousarray(voxels))
        with left_out(MLARRAY):
            _write("mlarray", "by_mlarray", plain, mla, patch)
        plain.unlink()
    if not zarr.exists():
        with left_out(TORCHIO2):
            _write("tio2", "by_torchio2", source, zarr)
    return stores | {
        name: path for name, path in (("mlarray", mla), ("nii.zarr", zarr)) if path.exists()
    }


def _write(environment: str, module: str, *arguments: object) -> None:
    code = f"import sys; from {module} import write; write(*sys.argv[1:])"
    command = [python_of(environment), "-c", code, *map(str, arguments)]
    subprocess.run(command, check=True, cwd=LOADERS)


def _peak(store: Path, patch: int) -> dict[str, float]:
    """MiB above the imports that reading 500 patches takes, as a worker reads them."""
    setup = (
        "import dask.config; import voxarray as vx, voxarray.archive.source\n"
        "import torch.utils.data, voxarray.patches\n"
        'dask.config.set({"voxarray.threads": 1})'
    )
    statement = (
        f"data = vx.PatchDataset([dict(t1=vx.ScalarImage({str(store)!r}))], "
        f"vx.UniformSampler({patch}), 500)\n"
        "for index in range(500): data[index]"
    )
    peak = peak_above_imports(setup, statement)
    result = {"resident_mib": peak.bytes / 2**20, "anonymous_mib": peak.anonymous / 2**20}
    print(f"  peak of {store.name}: {result}", flush=True)
    return result


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
