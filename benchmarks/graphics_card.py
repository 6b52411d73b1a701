"""Volumes and patches on their way to a CUDA device; not part of ``make bench``, which has none.

A whole volume: `Image.to_tensor` with the device, which decodes into pinned memory while the card
copies, and the same tensor made in RAM and then sent. Patches: the loader's rate alone, and with
every batch sent to the card, from pinned memory and not. A network on the card over the whole scan:
`vx.infer`, the same with all copies waited for, and the network alone on patches that are there.

python benchmarks/graphics_card.py [--size 512] [--patch 96] [--workers 4] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils.data import DataLoader

import voxarray as vx
from environments import BENCH, OWN
from harness import save
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.formats.registry import open_source
from voxarray.inference.network import Network
from voxarray.testing.peak_memory import peak_above_imports
from voxarray.testing.synthetic import Phantom, write_nifti

SIZE, PATCH = 512, 96
PATCHES, BATCH = 480, 8


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of the scan")
    parser.add_argument("--patch", type=int, default=PATCH, help="voxels along a side of a patch")
    parser.add_argument("--workers", type=int, default=4, help="of the loader")
    parser.add_argument("--rounds", type=int, default=3, help="of each")
    options = parser.parse_args(arguments)
    files = _files(options.size)
    content: dict[str, Any] = {
        "card": torch.cuda.get_device_name(),
        "size": options.size,
        "patch": options.patch,
        "workers": options.workers,
        "volumes": {path.name: _volume(path, options.rounds) for path in files},
        "patches_per_second": _patches(files[-1], options),
        "inference_seconds": _inference(files[-1], options.patch, options.rounds),
    }
    trial = (options.size, options.patch) != (SIZE, PATCH)
    save("graphics_card", content, (OWN,), trial=trial)


def _files(size: int) -> list[Path]:
    """One phantom as ``.nii`` and as an archive."""
    folder = BENCH / "data"
    folder.mkdir(parents=True, exist_ok=True)
    scan, archive = folder / f"card-{size}.nii", folder / f"card-{size}.ome.zarr"
    write_nifti(Phantom((size,) * 3, "head", 7), scan)
    convert(open_source(str(scan)), archive, options=Options(overwrite=True))
    return [scan, archive]


def _volume(path: Path, rounds: int) -> dict[str, Any]:
    """Seconds and peaks of RAM of both ways, in fresh processes."""
    setup = f"""
import torch, voxarray
image = voxarray.ScalarImage({str(path)!r})
torch.ones(8, pin_memory=True).to("cuda") * 2, image[..., :8].load()
from voxarray.tensors import upload
torch.cuda.synchronize()
"""
    contenders = {
        "piece by piece": "t = image.to_tensor(device='cuda'); torch.cuda.synchronize()",
        "in RAM, then sent": "t = image.to_tensor().to('cuda'); torch.cuda.synchronize()",
    }
    result: dict[str, Any] = {}
    for name, call in contenders.items():
        runs = [peak_above_imports(setup, call) for _ in range(rounds)]
        seconds = statistics.median(run.seconds for run in runs)
        peak = max(run.bytes for run in runs) / 2**20
        result[name] = {"seconds": seconds, "peak_mib": peak}
        print(f"  {path.name:<22} {name:<20}{seconds:9.3f} s {peak:9.1f} MiB", flush=True)
    return result


def _patches(archive: Path, options: argparse.Namespace) -> dict[str, float]:
    subject = vx.Subject(t1=vx.ScalarImage(archive))
    data = vx.PatchDataset([subject], vx.UniformSampler(options.patch), PATCHES)
    torch.ones(1, device="cuda")

    def loader(pins: bool) -> DataLoader[Any]:
        return DataLoader(
            data,
            batch_size=BATCH,
            num_workers=options.workers,
            pin_memory=pins,
            persistent_workers=True,
        )

    contenders: dict[str, tuple[DataLoader[Any], Callable[[torch.Tensor], Any]]] = {
        "left in RAM": (loader(False), lambda batch: batch),
        "sent, not pinned": (loader(False), lambda batch: batch.to("cuda")),
        "sent, pinned": (loader(True), lambda batch: batch.to("cuda", non_blocking=True)),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.rounds + 1):
        for name, (batches, use) in contenders.items():
            begin = time.perf_counter()
            for batch in batches:
                use(batch["t1"]["data"])
            torch.cuda.synchronize()
            if turn:  # the first one starts workers
                rates[name].append(PATCHES / (time.perf_counter() - begin))
    medians = {name: statistics.median(samples) for name, samples in rates.items()}
    for name, rate in medians.items():
        print(f"  patches, {name:<20}{rate:9.1f} per second", flush=True)
    return medians


def _inference(
    archive: Path, patch: int, rounds: int, device: str = "cuda", classes: int = 5
) -> dict[str, float]:
    """Seconds of a small network over the whole scan, to labels; and of the network alone."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv3d(1, 16, 3, padding=1), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Conv3d(16, classes, 1)).eval().to(device)
    out = archive.with_name("card-labels.ome.zarr")
    batch_sizes: list[int] = []

    def counting_net(batch: torch.Tensor) -> torch.Tensor:
        batch_sizes.append(len(batch))
        found: torch.Tensor = net(batch)
        return found

    def infer() -> None:
        options = {"patch_size": patch, "overlap": 0.5, "classes": classes, "overwrite": True}
        vx.infer(counting_net, archive, out, device=device, progress=False, **options)

    def waiting() -> None:
        with mock.patch.object(Network, "is_on_card", False):
            infer()

    infer()  # loads kernels; a patch of zeros was predicted besides
    patches = sum(batch_sizes) - 1
    patch_on_card = torch.rand(1, 1, *[patch] * 3, device=device)

    def alone() -> None:
        with torch.inference_mode():
            for _ in range(patches):
                found = net(patch_on_card)
        found.sum().item()  # waits for the card

    contenders = {"vx.infer": infer, "copies waited for": waiting, "network alone": alone}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    for name, median in medians.items():
        print(f"  inference, {name:<18}{median:9.2f} s", flush=True)
    return medians


if __name__ == "__main__":
    main()
