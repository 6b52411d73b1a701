"""What inference over large volumes costs: memory, scratch and time beyond the network's own.

Each case runs in a fresh process; peaks are above the imports. Class-voxels are counted as the
network returns them: patches times classes times the voxels of a patch, so that overlap is paid
for by whoever asks for it. Run one case by its name; its rows replace those of its last run::

    python benchmarks/inference.py classes-117 --overlap 0.25
    python benchmarks/inference.py classes-10
    python benchmarks/inference.py blending
    python benchmarks/inference.py scratch
    python benchmarks/inference.py unet
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

import environments
from harness import RESULTS, save
from voxarray.core.memory import format_bytes
from voxarray.testing.peak_memory import peak_above_imports

MIB = 1 << 20

SETUP = """
import dask.config, logging, time, numpy as np, torch
import voxarray as vx, voxarray.inference, voxarray.archive.convert
torch.set_num_threads(1)
dask.config.set({{"voxarray.threads": 1, "voxarray.memory-budget": {budget}}})
records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(record.args[1])
log = logging.getLogger("voxarray.inference")
log.addHandler(Keep())
log.setLevel(logging.INFO)
offsets = torch.linspace(0, 1, {classes})[:, None, None, None]
made = torch.empty(1, {classes}, 96, 96, 96)
seconds = 0.0
def model(batch):
    global seconds
    began = time.thread_time()
    found = torch.add(batch, offsets, out=made)
    seconds += time.thread_time() - began
    return found
# What is loaded on first use is loaded: as everywhere here, imports are not counted.
tiny = vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), np.uint8))
vx.infer(lambda b: b + offsets[None], tiny, "{out}.tiny.ome.zarr", patch_size=8,
         overlap={overlap}, blend="{blend}", classes={classes}, accumulate="{accumulate}",
         overwrite=True)
records.clear()
"""

STATEMENT = """
labels = vx.infer(model, "{path}", "{out}", patch_size=96, overlap={overlap}, blend="{blend}",
                  classes={classes}, accumulate="{accumulate}", progress=False)
placed = records[0]
projected = placed.peak + placed.writing
result = [projected, placed.scratch, placed.cost.moved, seconds, len(placed.job.plan)]
"""


def volume(folder: Path, shape: tuple[int, int, int]) -> Path:
    """A NIfTI file of zeros that takes no room on the disk."""
    path = folder / f"{'-'.join(map(str, shape))}.nii"
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with open(path, "wb") as file:
        file.write(header.binaryblock + bytes(4))
        file.truncate(352 + math.prod(shape))
    return path


def trivial(
    folder: Path,
    shape: tuple[int, int, int],
    classes: int,
    budget: int,
    overlap: float,
    accumulate: str = "float32",
    blend: str = "hann",
) -> dict[str, Any]:
    """A network that costs nothing, over a volume of any size."""
    import voxarray as vx

    facts = {
        "path": volume(folder, shape),
        "out": folder / f"out-{blend}-{shape[2]}-{budget}.ome.zarr",
        "classes": classes,
        "budget": budget,
        "overlap": overlap,
        "accumulate": accumulate,
        "blend": blend,
    }
    peak = peak_above_imports(SETUP.format(**facts), STATEMENT.format(**facts))
    projected, scratch, moved, network, patches = peak.result
    passed = patches * classes * 96**3
    assert vx.LabelMap(facts["out"]).count_labels() == {classes - 1: math.prod(shape)}
    row = {
        "shape": shape,
        "classes": classes,
        "patch": 96,
        "overlap": overlap,
        "accumulate": accumulate,
        "blend": blend,
        "budget_mib": budget / MIB,
        "peak_mib": peak.bytes / MIB,
        "projected_mib": projected / MIB,
        "scratch_mib": scratch / MIB,
        "moved_mib": moved / MIB,
        "patches": patches,
        "seconds": peak.seconds,
        "cpu_seconds": peak.cpu_seconds,
        "network_cpu_seconds": network,
        "cpu_seconds_per_1e8": (peak.cpu_seconds - network) / passed * 1e8,
    }
    print(
        f"{classes} classes on {shape}, overlap {overlap}, {accumulate}, {blend}, budget "
        f"{format_bytes(budget)}: peak {format_bytes(peak.bytes)} (projected "
        f"{format_bytes(projected)}), scratch {format_bytes(scratch)}, moved "
        f"{format_bytes(moved)}, {peak.seconds:.0f} s, {peak.cpu_seconds:.0f} s of CPU, of which "
        f"the network {network:.0f}; {row['cpu_seconds_per_1e8']:.2f} s per 1e8 class-voxels of "
        f"{patches} patches",
        flush=True,
    )
    return row


def scratch_or_tiles(folder: Path) -> list[dict[str, Any]]:
    """A front beyond the budget: what waiting on the disk costs, and what tiles would.

    Tiles predict the patches on their borders again. The network costs nothing here, so that each
    real one makes tiles dearer than this; the disk's price does not change.
    """
    from voxarray.inference.patch_plan import PatchPlan

    shape, classes, overlap = (512, 512, 192), 117, 0.25
    free, tight = (
        trivial(folder, shape, classes, budget * MIB, overlap, "float16") for budget in (6000, 1100)
    )
    each = (free["cpu_seconds"] - free["network_cpu_seconds"]) / free["patches"]
    disk = tight["cpu_seconds"] - free["cpu_seconds"]
    rows = [free, tight]
    plan = PatchPlan.of(shape, (96, 96, 96), (24, 24, 24), "hann")
    for across, down in ((2, 1), (2, 2), (3, 2)):
        visits = 0
        for x, y in itertools.product(range(across), range(down)):
            visits += math.prod(
                _covering(axis, index * axis.size // count, (index + 1) * axis.size // count)
                for axis, index, count in zip(plan.axes, (x, y, 0), (across, down, 1), strict=True)
            )
        repeated = visits - len(plan)
        rows.append({"tiles": [across, down], "patches": visits, "cpu_seconds": repeated * each})
        print(
            f"{across} x {down} tiles: {repeated} of {len(plan)} patches again, "
            f"{repeated * each:.0f} s without a network; the disk: {disk:.0f} s of CPU, "
            f"{tight['seconds'] - free['seconds']:.0f} s",
            flush=True,
        )
    return rows


def _covering(axis: Any, first: int, stop: int) -> int:
    """How many patches cover some voxels of an axis."""
    return sum(start < stop and first < start + axis.patch for start in axis.starts)


def unet(folder: Path, side: int = 256) -> list[dict[str, Any]]:
    """A small U-Net: the whole against the network alone and a pass of reading and writing."""
    import time

    import torch
    from monai.networks.nets import BasicUNet

    import voxarray as vx

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = BasicUNet(3, 1, 3, features=(8, 8, 16, 32, 64, 8)).eval()
    image = vx.ScalarImage(tensor=np.random.default_rng(0).random((1, side, side, side), "f4"))
    image.save(folder / "scan.ome.zarr")
    scan = vx.ScalarImage(folder / "scan.ome.zarr")
    network_seconds = 0.0

    def timed(batch: torch.Tensor) -> torch.Tensor:
        nonlocal network_seconds
        began = time.thread_time()
        output: torch.Tensor = net(batch)
        network_seconds += time.thread_time() - began
        return output

    began = time.process_time()
    vx.infer(timed, scan, folder / "labels.ome.zarr", patch_size=96, overlap=0.25, classes=3)
    total_seconds = time.process_time() - began
    began = time.process_time()
    vx.LabelMap(folder / "labels.ome.zarr").save(folder / "copy.ome.zarr")
    vx.ScalarImage(folder / "scan.ome.zarr").load()
    pass_seconds = time.process_time() - began
    ratio = (total_seconds - pass_seconds) / network_seconds
    print(
        f"U-Net at {side}^3: {total_seconds:.1f} s of CPU, network {network_seconds:.1f}, reading "
        f"and writing {pass_seconds:.1f}: {ratio:.3f} times the network",
        flush=True,
    )
    return [
        {
            "shape": [side] * 3,
            "cpu_seconds": total_seconds,
            "network_cpu_seconds": network_seconds,
            "pass_cpu_seconds": pass_seconds,
        }
    ]


def main() -> None:
    """Run one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cases = ["classes-117", "classes-10", "blending", "scratch", "unet"]
    parser.add_argument("case", choices=cases)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--overlap", type=float, default=0.5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.case == "classes-117":
            shape = (1024, 1024, options.depth or 1024)
            rows = [trivial(folder, shape, 117, 1900 * MIB, options.overlap, "float16")]
        elif options.case == "classes-10":
            rows = [
                trivial(folder, (512, 512, depth), 10, 768 * MIB, options.overlap)
                for depth in (512, options.depth or 1024)
            ]
        elif options.case == "blending":
            rows = [
                trivial(folder, (256, 256, 256), 10, 2048 * MIB, options.overlap, blend=blend)
                for blend in ("hann", "gaussian", "crop", "average")
            ]
        elif options.case == "scratch":
            rows = scratch_or_tiles(folder)
        else:
            rows = unet(folder, options.depth or 256)
    path = RESULTS / "inference.json"
    cases_before = json.loads(path.read_text())["cases"] if path.exists() else {}
    save("inference", {"cases": {**cases_before, options.case: rows}}, [environments.OWN])


if __name__ == "__main__":
    main()
