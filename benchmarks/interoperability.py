"""Whether other libraries find the same voxels at the same places in our archives.

python benchmarks/interoperability.py [--trial]

Makes small archives of each kind and opens each in each library, in its own environment (see
`environments.py`). Prints a table and saves it; ends with 1 if anything differs. OME-Zarr 0.5
holds no directions, so of its readers spacing and translation are compared, and of those that read
the NIfTI header the whole affine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from environments import OWN, python_of
from harness import left_out, save
from voxarray.archive.convert import convert
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.source import open_archive
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels

HERE = Path(__file__).parent

# Oblique, flipped, sheared, anisotropic.
AFFINE = np.array(
    [[-1.3, 0.21, 0.4, 41.7], [0.11, 0.9, -0.62, -17.3], [0.17, 0.33, 2.9, 5.1], [0, 0, 0, 1]]
)
SINGLE = 1e-6  # NIfTI-1 holds float32
SHAPE = (20, 16, 12)
SAME = "the same"


@dataclass(frozen=True)
class Case:
    """An archive that is opened.

    Attributes:
        name: What the table calls it.
        shape: (C, W, H, D).
        dtype: Of its voxels.
        channels: What C counts.
        inside: Folder of the image in the archive.
    """

    name: str
    shape: tuple[int, int, int, int]
    dtype: str = "i2"
    channels: Channels = Channels()
    inside: str = ""

    def voxels(self) -> NDArray:
        """Its voxels (C, W, H, D), the same every time."""
        rng = np.random.default_rng(len(self.name))
        return rng.integers(0, 200, self.shape).astype(self.dtype)


@dataclass(frozen=True)
class Peer:
    """A library that opens archives.

    Attributes:
        name: What the table calls it.
        environment: Where it is installed.
        program: Of ``peers/``; writes what it found as an ``.npz``.
        suffixes: Names of archives that it opens.
        inside: Whether it opens label maps by their path inside an archive.
    """

    name: str
    environment: str
    program: str
    suffixes: tuple[str, ...] = (".ome.zarr", ".nii.zarr")
    inside: bool = True


CASES = (
    Case("volume", (1, *SHAPE)),
    Case("volume of floats", (1, *SHAPE), "f4"),
    Case("volume of bytes", (1, *SHAPE), "u1"),
    Case("time series", (5, *SHAPE), "i2", Channels("time", 2.5)),
    Case("channels", (3, *SHAPE), "f4"),
    Case("label map", (1, *SHAPE), "u2", inside="labels/seg"),
)
PEERS = (
    Peer("ngff-zarr", "ngff", "with_ngff_zarr"),
    Peer("ome-zarr-py", "nizarr", "with_ome_zarr_py"),
    Peer("nifti-zarr", "nizarr", "with_nifti_zarr"),
    Peer("TorchIO 2", "tio2", "with_torchio2", (".nii.zarr",), inside=False),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trial", action="store_true", help="keep what is found out of results/")
    trial = parser.parse_args(arguments).trial
    found: dict[str, dict[str, str]] = {}
    missing: list[str] = []
    for peer in PEERS:
        with left_out(peer.name) as without:
            python_of(peer.environment)
        missing += without
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".ome.zarr", ".nii.zarr"):
            for case in CASES:
                archive = _made(Path(folder), case, suffix)
                for peer in PEERS:
                    if suffix not in peer.suffixes or (case.inside and not peer.inside):
                        continue
                    if peer.name in missing:
                        continue
                    verdict = _verdict(peer, case, archive) or SAME
                    print(f"{peer.name:<12} {case.name:<17} {suffix:<10} {verdict}", flush=True)
                    found.setdefault(peer.name, {})[f"{case.name}, {suffix}"] = verdict
    differences = sum(v != SAME for verdicts in found.values() for v in verdicts.values())
    print(f"{differences} differences")
    content = {"differences": differences, "opened": found}
    used = (OWN, *(peer.environment for peer in PEERS))
    save("interoperability", content, used, trial=trial)
    return min(differences, 1)


def _made(folder: Path, case: Case, suffix: str) -> Path:
    """The archive of a case; a label map lies in that of an image."""
    archive = folder / f"{case.name.replace(' ', '-')}{suffix}"
    source = ArraySource(case.voxels(), AFFINE, case.channels)
    options = Options(levels=3, chunk=8)
    if case.inside:
        image = ArraySource(np.zeros((1, *SHAPE), np.int16), AFFINE)
        convert(image, archive, labels={"seg": LabelLayer(source)}, options=options)
    else:
        convert(source, archive, options=options)
    return archive / case.inside


def _verdict(peer: Peer, case: Case, archive: Path) -> str:
    """What a library finds different; nothing if it finds all as it is."""
    output = Path(tempfile.mkdtemp(dir=_root(archive).parent)) / "found.npz"
    program = HERE / "peers" / f"{peer.program}.py"
    done = subprocess.run(
        [python_of(peer.environment), program, archive, output], capture_output=True, text=True
    )
    if done.returncode:
        return f"fails: {done.stderr.strip().splitlines()[-1]}"
    with np.load(output) as found:
        return "; ".join(_differences(case, archive, dict(found)))


def _differences(case: Case, archive: Path, found: dict[str, NDArray]) -> list[str]:
    expected = case.voxels().transpose(0, 3, 2, 1)
    wrong = []
    if found["voxels"].dtype != expected.dtype or not np.array_equal(found["voxels"], expected):
        wrong.append(f"other voxels ({found['voxels'].dtype} {found['voxels'].shape})")
    if "affine" in found and not np.allclose(found["affine"], AFFINE, rtol=SINGLE, atol=SINGLE):
        wrong.append(f"another affine: {found['affine'].tolist()}")
    if "spacing" in found:
        opened = open_archive(archive)
        grids = [opened.level(number).grid for number in range(opened.levels)]
        if not np.allclose(found["spacing"], [grid.spacing for grid in grids]):
            wrong.append(f"other spacings: {found['spacing'].tolist()}")
        if not np.allclose(found["translation"], [grid.intrinsic_origin for grid in grids]):
            wrong.append(f"other translations: {found['translation'].tolist()}")
    if "step" in found and not np.isclose(found["step"], case.channels.step):
        wrong.append(f"{found['step']} seconds between volumes")
    return wrong


def _root(archive: Path) -> Path:
    return archive.parents[1] if archive.parent.name == "labels" else archive


if __name__ == "__main__":
    sys.exit(main())
