"""The wheel in an empty environment with the extras that the README names: its blocks run.

Minutes, and gigabytes from a package index: ``make wheel``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RUN = r"""
import re, shlex, shutil, subprocess, sys
from pathlib import Path

import nibabel as nib
import numpy as np

import voxarray

assert "site-packages" in voxarray.__file__, voxarray.__file__
readme = Path(sys.argv[1]).read_text(encoding="utf-8")
voxels = np.arange(96 * 80 * 70, dtype=np.int16).reshape(96, 80, 70)
nib.save(nib.Nifti1Image(voxels, np.diag([-1, 1, 1.5, 1])), "t1.nii.gz")
Path("scans").mkdir()
for name in ("sub-01", "sub-02"):
    shutil.copy("t1.nii.gz", f"scans/{name}.nii.gz")
Path("labelled").mkdir()
shutil.copy("t1.nii.gz", "labelled/sub-01_t1.nii.gz")
labels = (voxels > 9000).astype(np.uint8)
nib.save(nib.Nifti1Image(labels, np.diag([-1, 1, 1.5, 1])), "labelled/sub-01_seg.nii.gz")
command = str(Path(sys.executable).with_name("voxarray"))
if __name__ == "__main__":
    names, seen = {}, {"python": 0, "console": 0}
    for language, block in re.findall(r"```(python|console)\n(.*?)```", readme, re.DOTALL):
        if language == "python":
            exec(compile(block, "README.md", "exec"), names)
            seen["python"] += 1
            continue
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and words[0] == "voxarray":
                print(line, flush=True)
                subprocess.run([command, *words[1:]], check=True)
                seen["console"] += 1
    print("ran", seen["python"], seen["console"])
"""


def pip(python: Path | str, *words: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", *words]
    subprocess.run(command, check=True)


@pytest.mark.slow
def test_readme_runs_from_the_wheel_in_an_empty_environment(tmp_path):
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("voxarray-*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    # First and by exact version, as in the Makefile: a newer one may bring libraries of a card.
    pip(python, "install", re.search(r"^TORCH := (\S+)", _text("Makefile"), re.MULTILINE)[1])
    (extras,) = re.findall(r"pip install '\.(\[\S+\])'", _text("README.md"))
    pip(python, "install", f"{wheel}{extras}")
    work = tmp_path / "work"
    work.mkdir()
    (work / "run.py").write_text(RUN, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    ran = subprocess.run(
        [python, "-I", "run.py", ROOT / "README.md"],
        cwd=work,
        env={**environment, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "ran 6 " in ran.stdout


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
