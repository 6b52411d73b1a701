"""What inference over large volumes costs: memory, scratch and time beyond the network's own.

Each case runs in a fresh process; peaks are above the imports. Run one case by its name::

    python benchmarks/inference.py classes-117 --depth 192 --overlap 0.25
    python benchmarks/inference.py classes-10
    python benchmarks/inference.py blending
    python benchmarks/inference.py unet
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

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
seconds = 0.0
def model(batch):
    global seconds
    began = time.thread_time()
    found = batch + offsets
    seconds += time.thread_time() - began
    return found
"""

STATEMENT = """
labels = vx.infer(model, "{path}", "{out}", patch_size=96, overlap={overlap}, blend="{blend}",
                  classes={classes}, accumulate="{accumulate}", progress=False)
placed = records[0]
result = [placed.peak, placed.scratch, placed.cost.moved, seconds, len(placed.job.plan)]
"""


def volume(folder: Path, shape: tuple[int, int, int]) -> Path:
    """A NIfTI file of ones."""
    import numpy as np

    import voxarray as vx

    path = folder / f"{'-'.join(map(str, shape))}.nii"
    if not path.exists():
        vx.ScalarImage(tensor=np.ones((1, *shape), np.uint8)).save(path)
    return path


def trivial(
    folder: Path,
    shape: tuple[int, int, int],
    classes: int,
    budget: int,
    overlap: float,
    accumulate: str = "float32",
    blend: str = "hann",
) -> None:
    """A network that costs nothing, over a volume of any size."""
    import voxarray as vx

    facts = {
        "path": volume(folder, shape),
        "out": folder / f"out-{blend}.ome.zarr",
        "classes": classes,
        "budget": budget,
        "overlap": overlap,
        "accumulate": accumulate,
        "blend": blend,
    }
    peak = peak_above_imports(SETUP.format(**facts), STATEMENT.format(**facts))
    projected, scratch, moved, network, patches = peak.result
    passed = patches * classes * 96**3
    assert vx.LabelMap(facts["out"]).count_labels() == {classes - 1: shape[0] * shape[1] * shape[2]}
    print(
        f"{classes} classes on {shape}, overlap {overlap}, {accumulate}, budget "
        f"{format_bytes(budget)}: peak {format_bytes(peak.bytes)} (projected "
        f"{format_bytes(projected)} besides writing), scratch {format_bytes(scratch)}, moved "
        f"{format_bytes(moved)}, {peak.seconds:.0f} s, {peak.cpu_seconds:.0f} s of CPU, of which "
        f"the network {network:.0f}; {(peak.cpu_seconds - network) / passed * 1e8:.2f} s per 1e8 "
        f"class-voxels of {patches} patches",
        flush=True,
    )


def unet(folder: Path, side: int = 256) -> None:
    """A small U-Net: the whole against the network alone and a pass of reading and writing."""
    import time

    import numpy as np
    import torch
    from monai.networks.nets import BasicUNet

    import voxarray as vx

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = BasicUNet(3, 1, 3, features=(8, 8, 16, 32, 64, 8)).eval()
    image = vx.ScalarImage(tensor=np.random.default_rng(0).random((1, side, side, side), "f4"))
    image.save(folder / "scan.ome.zarr")
    scan = vx.ScalarImage(folder / "scan.ome.zarr")
    inside = 0.0

    def timed(batch: torch.Tensor) -> torch.Tensor:
        nonlocal inside
        began = time.thread_time()
        found: torch.Tensor = net(batch)
        inside += time.thread_time() - began
        return found

    began = time.process_time()
    vx.infer(timed, scan, folder / "labels.ome.zarr", patch_size=96, overlap=0.25, classes=3)
    whole = time.process_time() - began
    began = time.process_time()
    vx.LabelMap(folder / "labels.ome.zarr").save(folder / "copy.ome.zarr")
    vx.ScalarImage(folder / "scan.ome.zarr").load()
    once = time.process_time() - began
    print(
        f"U-Net at {side}^3: {whole:.1f} s of CPU, network {inside:.1f}, reading and writing "
        f"{once:.1f}: {(whole - once) / inside:.3f} times the network",
        flush=True,
    )


def main() -> None:
    """Run one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=["classes-117", "classes-10", "blending", "unet"])
    parser.add_argument("--depth", type=int)
    parser.add_argument("--overlap", type=float, default=0.5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.case == "classes-117":
            shape = (1024, 1024, options.depth or 1024)
            trivial(folder, shape, 117, 1900 * MIB, options.overlap, "float16")
        elif options.case == "classes-10":
            trivial(folder, (512, 512, options.depth or 512), 10, 768 * MIB, options.overlap)
        elif options.case == "blending":
            for blend in ("hann", "gaussian", "crop", "average"):
                trivial(folder, (256, 256, 256), 10, 2048 * MIB, options.overlap, blend=blend)
        else:
            unet(folder, options.depth or 256)


if __name__ == "__main__":
    main()
