"""Whether other libraries find the same voxels at the same places in our archives.

python benchmarks/interoperability.py [--trial]

Makes small archives of each kind of voxel by each codec that a profile may choose for it and opens
each in each library, in its own environment (see `environments.py`): voxels of every level are
compared, the base with numpy's. Prints a table and saves it; ends with 1 if anything differs.
OME-Zarr 0.5 holds no directions, so of its readers spacing and translation are compared, and of
those that read the NIfTI header or our coordinates the whole affine. zarr-python and tensorstore
read arrays, which have no places.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from environments import OWN, python_of
from harness import left_out, save
from voxarray.archive.convert import convert
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.profiles import PROFILES, Profile
from voxarray.archive.source import open_archive
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels, Source

HERE = Path(__file__).parent

# Oblique, flipped, sheared, anisotropic.
AFFINE = np.array(
    [[-1.3, 0.21, 0.4, 41.7], [0.11, 0.9, -0.62, -17.3], [0.17, 0.33, 2.9, 5.1], [0, 0, 0, 1]]
)
SINGLE = 1e-6  # NIfTI-1 holds float32
SHAPE = (40, 36, 28)
CHUNK = 16
SLOPE, INTERCEPT = 0.375, -12.5  # float32 holds them
SAME = "the same"
OFFERED = tuple(PROFILES)


@dataclass(frozen=True)
class Case:
    """An archive that is opened.

    Attributes:
        name: What the table calls it.
        shape: (C, W, H, D).
        dtype: Of its voxels.
        channels: What C counts.
        label_path: Folder of the label map in the archive, if it is one.
        scaled: Whether its file says a slope and an intercept, which the archive keeps.
    """

    name: str
    shape: tuple[int, int, int, int] = (1, *SHAPE)
    dtype: str = "i2"
    channels: Channels = Channels()
    label_path: str = ""
    scaled: bool = False

    def voxels(self) -> NDArray:
        """Its voxels (C, W, H, D), the same every time."""
        rng = np.random.default_rng(len(self.name))
        course = 80 + 70 * np.sin(np.arange(np.prod(self.shape)).reshape(self.shape) / 5000)
        return (course + rng.integers(0, 20, self.shape)).astype(self.dtype)


@dataclass(frozen=True)
class Peer:
    """A library that opens archives.

    Attributes:
        name: What the table calls it.
        environment: Where it is installed.
        program: Of ``peers/``; writes what it found as an ``.npz``.
        suffixes: Names of archives that it opens.
        opens_label_maps: Whether it opens label maps by their path inside an archive.
        scales: Whether it applies slope and intercept; others give numbers as they are stored,
            TorchIO 2 and zarr2nii too, though both read the NIfTI header that says them.
    """

    name: str
    environment: str
    program: str
    suffixes: tuple[str, ...] = (".ome.zarr", ".nii.zarr")
    opens_label_maps: bool = True
    scales: bool = False


BY_CODEC = (
    Case("bytes", dtype="u1"),
    Case("16 bit"),
    Case("floats", dtype="f4"),
    Case("16 bit, scaled", scaled=True),
    Case("label map", dtype="u2"),
    Case("label map of 32 bit", dtype="i4"),
)
BY_DEFAULT = (
    Case("time series", (5, *SHAPE), "i2", channels=Channels("time", 2.5)),
    Case("channels", (3, *SHAPE), "f4"),
    Case("label layer", dtype="u1", label_path="labels/seg"),
)
PEERS = (
    Peer("ngff-zarr", "ngff", "with_ngff_zarr"),
    Peer("ome-zarr-py", "nizarr", "with_ome_zarr_py"),
    Peer("nifti-zarr", "nizarr", "with_nifti_zarr"),
    Peer("TorchIO 2", "tio2", "with_torchio2", (".nii.zarr",), opens_label_maps=False),
    Peer("tensorstore", OWN, "with_tensorstore"),
    Peer("xarray", OWN, "with_xarray", scales=True),
    Peer("zarr-python", OWN, "with_zarr_python"),
    Peer("xarray, zarr 3.4", "zarr34", "with_xarray", scales=True),
    Peer("zarr-python 3.4", "zarr34", "with_zarr_python"),
)


@dataclass(frozen=True)
class Written:
    """An archive, and what it was made of.

    Attributes:
        case: The voxels.
        profile: The codec profile, and the codec.
        path: Of the image in it.
    """

    case: Case
    profile: str
    path: Path

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.case.name}, {self.profile}, {''.join(_root(self.path).suffixes)}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trial", action="store_true", help="keep what is found out of results/")
    trial = parser.parse_args(arguments).trial
    verdicts_by_peer: dict[str, dict[str, str]] = {}
    missing: list[str] = []
    for peer in PEERS:
        with left_out(peer.name) as without:
            python_of(peer.environment)
        missing += without
    with tempfile.TemporaryDirectory() as folder:
        archives = list(_archives(Path(folder)))
        for peer in PEERS:
            if peer.name not in missing:
                verdicts_by_peer[peer.name] = _verdicts(peer, archives)
    for name, verdicts in verdicts_by_peer.items():
        wrong = {archive: verdict for archive, verdict in verdicts.items() if verdict != SAME}
        print(f"{name:<17} {len(verdicts) - len(wrong):>4} of {len(verdicts)} the same", flush=True)
        for archive, verdict in wrong.items():
            print(f"    {archive}: {verdict}")
    differences = sum(
        v != SAME for verdicts in verdicts_by_peer.values() for v in verdicts.values()
    )
    content = {
        "differences": differences,
        "opened": verdicts_by_peer,
    }
    used = (OWN, *(peer.environment for peer in PEERS))
    save("interoperability", content, used, trial=trial)
    return min(differences, 1)


def _archives(folder: Path) -> Iterator[Written]:
    for suffix in (".ome.zarr", ".nii.zarr"):
        for case in BY_CODEC:
            for profile in _profiles_of_one_codec(np.dtype(case.dtype)):
                yield _written(folder, case, profile, suffix)
        for case in BY_DEFAULT:
            yield _written(folder, case, "default", suffix)


def _profiles_of_one_codec(dtype: np.dtype) -> Iterator[str]:
    """Names of profiles without a choice, one for each codec that the real ones choose among."""
    for name in OFFERED:
        profile = PROFILES[name]
        for codec in profile.candidates(dtype):
            block = f" {codec.block >> 10} KiB" if codec.block else ""
            label = f"{codec.cname} {codec.level} {codec.shuffle}{block}" if codec.cname else "none"
            PROFILES[f"{name} ({label})"] = Profile((codec,), (codec,), profile.chunk)
            yield f"{name} ({label})"


def _written(folder: Path, case: Case, profile: str, suffix: str) -> Written:
    """The archive of a case; a label map lies in that of an image."""
    archive = folder / f"{case.name}-{profile}{suffix}".replace(" ", "-")
    source: Source = ArraySource(case.voxels(), AFFINE, case.channels)
    if case.scaled:
        source = _scaled(case, folder)
    options = Options(levels=3, chunk=CHUNK, codec=profile)
    if case.label_path:
        image = ArraySource(np.zeros((1, *SHAPE), np.int16), AFFINE)
        convert(image, archive, labels={"seg": LabelLayer(source)}, options=options)
    else:
        convert(source, archive, options=options)
    return Written(case, profile, archive / case.label_path)


def _scaled(case: Case, folder: Path) -> Source:
    """The voxels of a case in a NIfTI file that scales them."""
    image = nib.Nifti1Image(case.voxels()[0], AFFINE)
    image.header.set_slope_inter(SLOPE, INTERCEPT)
    nib.save(image, folder / "scaled.nii")
    return open_source(folder / "scaled.nii")


def _verdicts(peer: Peer, archives: Sequence[Written]) -> dict[str, str]:
    """By archive, what a library finds different; `SAME` if it finds all as it is."""
    opened = [archive for archive in archives if _opens(peer, archive)]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / f"{number}.npz" for number in range(len(opened))]
        pairs = [
            str(p)
            for archive, out in zip(opened, outputs, strict=True)
            for p in (archive.path, out)
        ]
        program = HERE / "peers" / f"{peer.program}.py"
        subprocess.run([python_of(peer.environment), program, *pairs], check=False)
        return {
            archive.name: "; ".join(_differences(peer, archive, out)) or SAME
            for archive, out in zip(opened, outputs, strict=True)
        }


def _opens(peer: Peer, archive: Written) -> bool:
    return "".join(_root(archive.path).suffixes) in peer.suffixes and (
        peer.opens_label_maps or not archive.case.label_path
    )


def _differences(peer: Peer, archive: Written, output: Path) -> Iterator[str]:
    if not output.exists():
        yield "ended the process"
        return
    with np.load(output) as content:
        arrays = dict(content)
    if "failure" in arrays:
        yield f"fails: {arrays['failure']}"
        return
    yield from _other_voxels(peer, archive, arrays)
    yield from _other_places(archive, arrays)


def _other_voxels(peer: Peer, archive: Written, arrays: dict[str, NDArray]) -> Iterator[str]:
    """The base must be what numpy drew, each coarser level what we read."""
    opened = open_archive(archive.path)
    is_scaled = archive.case.scaled and peer.scales
    for name, array in arrays.items():
        if name == "voxels":
            expected = archive.case.voxels().transpose(0, 3, 2, 1)
            expected = expected * SLOPE + INTERCEPT if is_scaled else expected
        elif name.startswith("level "):
            level = opened.level(int(name.removeprefix("level ")))
            level = level if is_scaled else level.unscaled()
            everything = Selection(tuple(range(n) for n in level.shape))
            expected = level.read(everything).transpose(0, 3, 2, 1)
        else:
            continue
        # Of uint16 torch has no arithmetic; scaled numbers are floats of whichever width.
        if not np.array_equal(array, expected) or not np.can_cast(archive.case.dtype, array.dtype):
            yield f"other {name} ({array.dtype} {array.shape})"


def _other_places(archive: Written, arrays: dict[str, NDArray]) -> Iterator[str]:
    if "affine" in arrays and not np.allclose(arrays["affine"], AFFINE, rtol=SINGLE, atol=SINGLE):
        yield f"another affine: {arrays['affine'].tolist()}"
    if "spacing" in arrays:
        opened = open_archive(archive.path)
        grids = [opened.level(number).grid for number in range(opened.levels)]
        if not np.allclose(arrays["spacing"], [grid.spacing for grid in grids]):
            yield f"other spacings: {arrays['spacing'].tolist()}"
        if not np.allclose(arrays["translation"], [grid.intrinsic_origin for grid in grids]):
            yield f"other translations: {arrays['translation'].tolist()}"
    if "step" in arrays and not np.isclose(arrays["step"], archive.case.channels.step):
        yield f"{arrays['step']} seconds between volumes"


def _root(archive: Path) -> Path:
    return archive.parents[1] if archive.parent.name == "labels" else archive


if __name__ == "__main__":
    sys.exit(main())
