"""Inference beside KonfAI's streamed prediction and MONAI's sliding window, where that fits in RAM.

python benchmarks/inference_peers.py [--size 256] [--rounds 3]

A network that costs next to nothing (a convolution of one voxel), 10 classes, patches of 96 voxels
that share half, from a ``.mha`` to a file of labels, one thread each, in turns, each in a fresh
process. KonfAI blends in its own way, MONAI and voxarray by MONAI's Gaussian; of this network all
make the same labels, which is looked at.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

import environments
import voxarray as vx
from harness import save
from voxarray.testing.peak_memory import Peak, peak_above_imports

CLASSES = 10

NETWORK = f"""
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv3d(1, {CLASSES}, 1)).eval()
"""

# What is loaded on first use is loaded: each predicts a tiny scan before it is measured.
PEERS: dict[str, tuple[str, str, str, str]] = {
    "voxarray": (
        environments.OWN,
        ".ome.zarr",
        """
import dask.config, voxarray as vx
dask.config.set({"voxarray.threads": 1})
def run(folder, out, patch):
    vx.infer(net, f"{folder}/case/CT.mha", out, patch_size=patch, overlap=0.5, blend="gaussian",
             classes=10, progress=False)
""",
        "",
    ),
    "MONAI": (
        environments.OWN,
        ".mha",
        """
import SimpleITK as sitk, torch
from monai.inferers import sliding_window_inference
def run(folder, out, patch):
    image = sitk.ReadImage(f"{folder}/case/CT.mha")
    voxels = torch.from_numpy(sitk.GetArrayFromImage(image))[None, None]
    with torch.inference_mode():
        found = sliding_window_inference(
            voxels, (patch,) * 3, 1, net, overlap=0.5, mode="gaussian").argmax(1)
    made = sitk.GetImageFromArray(found[0].to(torch.uint8).numpy())
    made.CopyInformation(image)
    sitk.WriteImage(made, out, True)
""",
        "holds all logits in RAM",
    ),
    "KonfAI": (
        "konfai",
        "",
        """
import os, konfai.api
def run(folder, out, patch):
    os.chdir(folder)
    konfai.api.predict_model(
        net, f"{folder}:a:mha", inputs="CT", patch=[patch] * 3, output=f"{out}:mha",
        overlap=patch // 2, final_transforms=[{"Argmax": {}}], quiet=True, overwrite=True)
""",
        "atomic results; labels are int64, uncompressed",
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="voxels along a side")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folders = {size: scan(root / str(size), size) for size in (16, options.size)}
        runs: dict[str, list[Peak]] = {peer: [] for peer in PEERS}
        for number in range(options.rounds):
            for peer, (environment, suffix, code, _) in PEERS.items():
                out, tiny = (root / f"{stem}-{peer}-{number}{suffix}" for stem in ("out", "tiny"))
                peak = peak_above_imports(
                    f"{NETWORK}{code}\nrun({str(folders[16])!r}, {str(tiny)!r}, 16)",
                    f"run({str(folders[options.size])!r}, {str(out)!r}, 96)",
                    python=environments.python_of(environment),
                )
                runs[peer].append(peak)
                print(peer, f"{peak.bytes >> 20} MiB, {peak.cpu_seconds:.1f} s of CPU", flush=True)
        labels = [labels_at(root / f"out-{peer}-0{PEERS[peer][1]}") for peer in PEERS]
        assert all(np.array_equal(other, labels[0]) for other in labels[1:])
    rows = [row(peer, peaks) for peer, peaks in runs.items()]
    content = {"shape": [options.size] * 3, "classes": CLASSES, "patch": 96, "rows": rows}
    trial = options.size != 256
    save("inference_peers", content, {peer[0] for peer in PEERS.values()}, trial=trial)


def scan(folder: Path, size: int) -> Path:
    """A folder as KonfAI takes it: a scan of noise."""
    (folder / "case").mkdir(parents=True)
    voxels = np.random.default_rng(0).random((size,) * 3, np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(folder / "case" / "CT.mha"))
    return folder


def labels_at(path: Path) -> Any:
    """The labels (W, H, D) that were written."""
    path = path if path.suffix else path / "case" / "PRED.mha"
    return vx.LabelMap(path).numpy()[0].astype(np.uint8)


def row(name: str, runs: Sequence[Peak]) -> dict[str, Any]:
    return {
        "name": name,
        "leaves_out": PEERS[name][3],
        "cpu_seconds": statistics.median(run.cpu_seconds for run in runs),
        "seconds": statistics.median(run.seconds for run in runs),
        "peak_mib": max(run.bytes for run in runs) / 2**20,
        "anonymous_mib": max(run.anonymous for run in runs) / 2**20,
    }


if __name__ == "__main__":
    main()
