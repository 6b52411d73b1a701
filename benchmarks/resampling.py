"""How many voxels a second of CPU resampling gives, from RAM, against SimpleITK and torch.

python benchmarks/resampling.py [--size 192] [--rounds 7]

One thread each, best of the rounds, in turns. voxarray twice: with compiled loops (the extra
``fast``) and without. torch's ``interpolate`` knows parallel grids and floating-point numbers; what
it costs to make those of integers, and integers of the result, is counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from unittest import mock

import dask
import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from numpy.typing import NDArray

from environments import OWN
from harness import save
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection
from voxarray.ops import accelerated, compiled
from voxarray.ops.resampling import Resampled
from voxarray.source.array import ArraySource

SIZE = 192
GRIDS = {"coarser, 1.5 mm": (1.5, 0.0), "finer, 0.8 mm": (0.8, 0.0), "oblique, 1 mm": (1.0, 0.2)}
DTYPES = (np.uint8, np.int16, np.float32)
ITK = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along a side, of 1 mm")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    with dask.config.set({"voxarray.threads": 1}):
        for dtype in DTYPES:
            values = np.random.default_rng(0).integers(0, 255, (options.size,) * 3).astype(dtype)
            for name, (spacing, angle) in GRIDS.items():
                grid = turned(options.size, spacing, angle)
                for interpolation in ITK:
                    contenders = contenders_of(values, grid, spacing, interpolation)
                    speeds = measured(contenders, grid, options.rounds)
                    rows.append(
                        {
                            "dtype": np.dtype(dtype).name,
                            "grid": name,
                            "interpolation": interpolation,
                            "megavoxels_per_second": speeds,
                        }
                    )
                    print(f"{np.dtype(dtype).name:8} {name:16} {interpolation:8}", speeds)
    content = {"size": options.size, "rows": rows}
    save("resampling", content, (OWN,), trial=options.size != SIZE)


def turned(size: int, spacing: float, angle: float) -> Grid:
    """A grid over the volume, turned about two axes."""
    cos, sin = np.cos(angle), np.sin(angle)
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x * spacing
    affine[:3, 3] = [0.1 * size, 0.05 * size, 0] if angle else 0
    return Grid((int(size / spacing),) * 3, affine)


def contenders_of(
    values: NDArray, grid: Grid, spacing: float, interpolation: str
) -> dict[str, Callable[[], object]]:
    """Each library's call; voxels are in memory as a NIfTI file has them."""
    ordered = np.asfortranarray(values)
    resampled = Resampled.onto(ArraySource(ordered[None], np.eye(4)), grid, interpolation)
    everything = Selection.whole(resampled.shape)

    def by_voxarray(loops: object) -> Callable[[], object]:
        # A plain function: calls of a Mock would cost more than the Python code of a part.
        def chosen(_: int) -> object:
            return loops

        def run() -> object:
            with mock.patch.object(accelerated, "_compiled_loops", chosen):
                return resampled.read(everything)

        return run

    itk = sitk.ResampleImageFilter()
    itk.SetSize(grid.shape)
    itk.SetOutputSpacing([spacing] * 3)
    itk.SetOutputDirection((grid.affine[:3, :3] / spacing).ravel().tolist())
    itk.SetOutputOrigin(grid.affine[:3, 3].tolist())
    itk.SetInterpolator(ITK[interpolation])
    itk.SetNumberOfThreads(1)
    image = sitk.GetImageFromArray(ordered.T)
    contenders = {
        "voxarray": by_voxarray(compiled),
        "voxarray without numba": by_voxarray(None),
        "SimpleITK": lambda: itk.Execute(image),
    }
    if interpolation == "linear" and not np.any(grid.affine[:3, :3] - spacing * np.eye(3)):
        tensor = torch.as_tensor(values)[None, None]
        size = tuple(grid.shape)
        contenders["torch interpolate"] = lambda: torch.nn.functional.interpolate(
            tensor.float(), size=size, mode="trilinear"
        ).to(tensor.dtype)
    return contenders


def measured(
    contenders: dict[str, Callable[[], object]], grid: Grid, rounds: int
) -> dict[str, float]:
    """Millions of voxels of the result per second of CPU."""
    best = dict.fromkeys(contenders, float("inf"))
    for run in contenders.values():
        run()  # compiles
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    voxels = float(np.prod(grid.shape)) / 1e6
    return {name: round(voxels / seconds, 1) for name, seconds in best.items()}


if __name__ == "__main__":
    main()
