"""What whole pipelines cost with the default profile, beside the one codec that 0.1.0 had.

python benchmarks/pipelines.py [--size 192] [--rounds 5]

Converting a ``.nii.gz``, statistics of the archive, preprocessing from archive to archive, and
random patches of it: CPU seconds of all threads, in turns, the least of the rounds. The scans are
made ones of several types (`archive_codecs.kinds`) and, of 8 bit, nilearn's T1, where it is there.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

import voxarray as vx
from archive_codecs import FIRST, kinds
from environments import OWN
from harness import save
from voxarray.archive.profiles import PROFILES, Profile
from voxarray.statistics.cache import forget

SIZE, PATCH, PATCHES = 192, 64, 24
KINDS = ("head uint8", "12 in 16 bit", "noise 16 bit", "head float32")
DEFAULT, THEN = "default", "0.1.0"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along a side of made scans")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each")
    options = parser.parse_args(arguments)
    PROFILES[THEN] = Profile((FIRST,), (FIRST,))
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, scan in scans(options.size, Path(folder)):
            result[name] = compared(scan, Path(folder), options.rounds)
    content = {"size": options.size, "patch": PATCH, "patches": PATCHES, "scans": result}
    save("pipelines", content, (OWN,), trial=options.size != SIZE)


def scans(size: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """Files by the name of their voxels."""
    voxels = kinds(size)
    for name in KINDS:
        path = folder / f"{name}.nii.gz".replace(" ", "-")
        nib.save(nib.Nifti1Image(voxels[name], np.diag([0.9, 1, 1.1, 1])), path)
        yield name, path
    try:
        import nilearn
    except ImportError:
        return
    real = Path(nilearn.__file__).parent / "datasets/data"
    for path in real.glob("mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"):
        yield "T1 uint8", path


def compared(scan: Path, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """CPU seconds by pipeline and profile, and how many times the old codec's the default's are."""
    archives = {codec: folder / f"{codec}.ome.zarr" for codec in (DEFAULT, THEN)}
    fastest = {pipeline: dict.fromkeys(archives, math.inf) for pipeline in PIPELINES}
    for _ in range(rounds):
        for pipeline, run in PIPELINES.items():
            for codec, archive in archives.items():
                forget()
                began = time.process_time()
                run(scan, archive, codec)
                fastest[pipeline][codec] = min(
                    fastest[pipeline][codec], time.process_time() - began
                )
    for pipeline, seconds in fastest.items():
        seconds["ratio"] = seconds[DEFAULT] / seconds[THEN]
        summary = "  ".join(f"{name} {value:.3f}" for name, value in seconds.items())
        print(f"{scan.name:50} {pipeline:10} {summary}", flush=True)
    return fastest


def convert(scan: Path, archive: Path, codec: str) -> None:
    vx.convert(scan, archive, codec=codec, overwrite=True, progress=False)


def statistics(_scan: Path, archive: Path, _codec: str) -> None:
    vx.ScalarImage(archive).statistics(progress=False).percentiles((0.5, 50, 99.5))


def preprocess(_scan: Path, archive: Path, codec: str) -> None:
    image = vx.ScalarImage(archive)
    steps = vx.Compose([vx.ToCanonical(), vx.Resample(1), vx.ZNormalization()])
    target = archive.with_name("made.ome.zarr")
    steps(image).save(target, codec=codec, overwrite=True, progress=False)


def loader(_scan: Path, archive: Path, _codec: str) -> None:
    image = vx.ScalarImage(archive)
    rng = np.random.default_rng(0)
    for _ in range(PATCHES):
        x, y, z = (int(rng.integers(0, n - PATCH + 1)) for n in image.spatial_shape)
        image[:, x : x + PATCH, y : y + PATCH, z : z + PATCH].data  # noqa: B018  # reads


PIPELINES: dict[str, Callable[[Path, Path, str], None]] = {
    "convert": convert,
    "statistics": statistics,
    "preprocess": preprocess,
    "loader": loader,
}

if __name__ == "__main__":
    main()
