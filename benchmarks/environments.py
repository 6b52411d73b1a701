"""The other libraries, each in a virtual environment of its own.

They are made on first use under ``.bench/environments`` from the pinned files in
``requirements``; a folder of ready ones can be named by ``VOXARRAY_PEERS``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCH = HERE.parent / ".bench"
OWN = "own"
"""The environment that runs the benchmark: voxarray's, with its test extra."""

# Exact, and first: an open requirement may bring gigabytes of GPU libraries.
TORCH = "torch==2.13.0"
NEED_TORCH = ("konfai", "mlarray", "tio1", "tio2")

_FACTS = """
import json, platform, importlib.metadata as m
print(json.dumps({"python": platform.python_version(),
                  **{d.metadata["Name"].lower(): d.version for d in m.distributions()}}))
"""
_REPORTED = {
    *(
        "blosc2",
        "dask",
        "dask-image",
        "isal",
        "konfai",
        "mlarray",
        "monai",
        "ngff-zarr",
        "nibabel",
        "nifti-zarr",
        "numcodecs",
        "numpy",
        "python",
    ),
    *("simpleitk", "tensorstore", "torch", "torchio", "voxarray", "xarray", "zarr"),
}


def python_of(name: str) -> Path:
    """Interpreter of an environment, which is made if there is none yet.

    Raises:
        subprocess.CalledProcessError: If pip cannot install what is pinned.
    """
    if name == OWN:
        return Path(sys.executable)
    ready = os.environ.get("VOXARRAY_PEERS")
    if ready and (Path(ready) / name / "bin" / "python").exists():
        return Path(ready) / name / "bin" / "python"
    return _ensured(BENCH / "environments" / name, HERE / "requirements" / f"{name}.txt")


def versions(name: str) -> dict[str, str]:
    """Versions, in an environment, of the libraries that can matter."""
    answer = subprocess.run(
        [python_of(name), "-c", _FACTS], check=True, capture_output=True, text=True
    )
    return {k: v for k, v in sorted(json.loads(answer.stdout).items()) if k in _REPORTED}


def _ensured(folder: Path, requirements: Path) -> Path:
    python = folder / "bin" / "python"
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return python
    print(f"making the environment {folder.name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if folder.name in NEED_TORCH:
        subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, "-r", requirements], check=True)
    stamp.write_text(requirements.read_text())
    return python
