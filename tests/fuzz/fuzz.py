"""Coverage-guided attacks on the readers, with atheris: ``python tests/fuzz/fuzz.py nrrd ...``.

One process per reader, for some minutes of processor time each (``--minutes``). It begins with
small valid files, one of each kind that the reader knows, and keeps whatever reaches new code. Only
refusals of ours may come out, soon and cheaply (`lying_headers.attempt`); what else does is kept
beside the corpus, and the exit code says so. `make fuzz` runs all of them.

The first byte of an input says which kind of file the others are: kinds that share a reader share
its minutes.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "samples")]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["voxarray"]):
    # Readers are imported when they are needed: now, for what is imported later is not followed.
    import voxarray.archive
    import voxarray.formats
    from lying_headers import WORDS, Attack, packed, unpacked

    for package in (voxarray.archive, voxarray.formats):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

LONGEST_INPUT = 1 << 16

SLICE = 5.0
"""Minutes after which a new process goes on: libFuzzer's own memory grows by KBs per input."""

READERS = {
    "pictures": ("png", "jpeg", "bmp"),
    "itk_hdf5": ("itk_hdf5",),
    "dicom": (
        *("dicom", "dicom_series", "dicom_enhanced"),
        *("dicom_film", "dicom_packed", "dicom_scanner"),
    ),
    "minc": ("minc_1", "minc_2"),
    "parrec": ("parrec",),
    "tiff": ("tiff", "tiff_tiles"),
    "nifti_gz": ("nifti_gz", "nifti_gz_stream"),
    "zarr": (
        *("zarr_plain", "zarr_ome_04", "zarr_ome_04_array"),
        *("zarr_ome_05", "zarr_ome_05_array", "zarr_nifti"),
    ),
    "nifti": ("nifti", "nifti_2", "nifti_pair", "analyze", "spm_analyze"),
    "archive": ("archive", "archive_array", "archive_manifest", "archive_zip"),
    "nrrd": ("nrrd", "nhdr"),
    "meta_image": ("mha", "mhd"),
    "mgh": ("mgh", "mgz", "mgz_stream"),
    "vtk": ("vtk",),
    "afni": ("afni",),
    "gipl": ("gipl",),
    "npy": ("npy",),
}
"""Kinds of files by the module that reads them."""


class Target:
    """All kinds of one reader; what libFuzzer calls.

    Args:
        kinds: Of its files.
        folder: Empty; each kind gets its own folder in it.
        seconds: Of processor time, after which the process ends.
    """

    def __init__(self, kinds: tuple[str, ...], folder: Path, seconds: float) -> None:
        self._folder, self._seconds, self._next = folder, seconds, min(60.0, seconds)
        self._runs, self._refused = [0] * len(kinds), [0] * len(kinds)
        self._kinds, self._attacks = kinds, []
        for kind in kinds:
            (folder / kind).mkdir()
            self._attacks.append(Attack(kind, folder / kind))

    def valid(self) -> list[bytes]:
        """An input of every kind that is no lie."""
        attacks = enumerate(self._attacks)
        return [bytes([n]) + unpacked(attack.sample, attack.data) for n, attack in attacks]

    def __call__(self, data: bytes) -> None:
        """Try one input, and end when the time is over."""
        number = (data[0] if data else 0) % len(self._attacks)
        attack = self._attacks[number]
        self._runs[number] += 1
        try:
            self._refused[number] += attack(packed(attack.sample, data[1:])) is not None
        except BaseException:
            print(f"{self._kinds[number]} is what was found something in")
            self._tell()
            raise
        if time.process_time() > self._next:
            self._next += 60
            self._tell()
        if time.process_time() > self._seconds:
            shutil.rmtree(self._folder)
            os._exit(0)  # libFuzzer is left in no other way

    def _tell(self) -> None:
        counted = zip(self._kinds, self._runs, self._refused, strict=True)
        kinds = ", ".join(f"{kind} {runs} ({refused} refused)" for kind, runs, refused in counted)
        minutes = time.process_time() / 60
        print(f"  {minutes:.1f} minutes of processor time, inputs: {kinds}", flush=True)


def attack(reader: str, corpus: Path, seconds: float, hang: int) -> None:
    """Fuzz one reader in this process, which ends with it."""
    # Many small writes: memory, where the system has a folder in it.
    shared = Path("/dev/shm")
    folder = tempfile.mkdtemp(dir=shared if shared.is_dir() else None)
    target = Target(READERS[reader], Path(folder), seconds)
    corpus.mkdir(parents=True, exist_ok=True)
    words: set[bytes] = set()
    for number, valid in enumerate(target.valid()):
        (corpus / f"valid-{number}").write_bytes(valid)
        words |= dictionary(valid)
    listed = corpus.with_suffix(".words")
    listed.write_text("".join(f'"{entry(word)}"\n' for word in sorted(words)))
    arguments = [
        f"-max_len={LONGEST_INPUT}",
        f"-dict={listed}",
        f"-timeout={hang}",
        "-verbosity=0",
        "-rss_limit_mb=3072",
        f"-artifact_prefix={corpus}-",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


def dictionary(valid: bytes) -> set[bytes]:
    """Words to try: those of the valid file, and those that lie best."""
    found = re.findall(rb"[A-Za-z][A-Za-z0-9_ ]{2,30}", valid[:4096])
    return {*found, *WORDS} - {b""}


def entry(word: bytes) -> str:
    """A word as libFuzzer reads it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", choices=[*READERS, []], help="all, if none is named")
    parser.add_argument("--minutes", type=float, default=20.0, help="of processor time, for each")
    parser.add_argument("--corpus", type=Path, default=TESTS.parent / ".fuzz")
    parser.add_argument("--hang", type=int, default=10, help="seconds that one input may take")
    parser.add_argument("--here", action="store_true", help="in this process; one reader")
    given = parser.parse_args()
    readers = given.readers or list(READERS)
    if given.here:
        attack(readers[0], given.corpus / readers[0], given.minutes * 60, given.hang)
        return 0
    failed = []
    for name in readers:
        command = [sys.executable, __file__, name, "--here", "--corpus", str(given.corpus)]
        command += ["--hang", str(given.hang)]
        slices = max(1, math.ceil(given.minutes / SLICE))
        command += ["--minutes", str(given.minutes / slices)]
        held = all(subprocess.run(command, check=False).returncode == 0 for _ in range(slices))
        if not held:
            failed.append(name)
        print(f"{name}: {'held' if held else 'FAILED'}, {given.minutes:g} minutes", flush=True)
    if failed:
        print(f"found something in {', '.join(failed)}: see {given.corpus}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
