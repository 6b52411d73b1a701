"""Every notebook runs from top to bottom as it stands in git, where it has no outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

# What a worker of dask says if its cluster is closed at the moment at which it says that it lives.
HEARTBEAT = re.compile(
    r"[-\d]+ [:,\d]+ - distributed\.worker - ERROR - Failed to communicate with scheduler during "
    r"heartbeat\.\nTraceback .*?\ndistributed\.comm\.core\.CommClosedError: [^\n]*\n",
    re.DOTALL,
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    sources = Path(__file__).parents[2] / "src"
    known = os.environ.get("PYTHONPATH")
    with subprocess.Popen(
        [sys.executable, "-X", "frozen_modules=off", "-m", "notebook_kernel"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(sources), str(SAMPLES), *([known] if known else [])]
            ),
            "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as Jupyter sets it
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, kernel):
    (tmp_path / "run").mkdir()
    print(json.dumps([str(path), str(tmp_path)]), file=kernel.stdin, flush=True)
    status = kernel.stdout.readline().strip()
    written = {name: (tmp_path / name).read_text("utf-8") for name in ("stdout", "stderr")}
    assert status == "0", written
    outputs = json.loads((tmp_path / "outputs.json").read_text("utf-8"))
    errors = [
        output
        for output in outputs
        if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert not errors, errors
    assert not HEARTBEAT.sub("", written["stderr"]), written["stderr"]
    shown = "\n".join(
        [
            written["stdout"],
            *(one.get("text") or one.get("data", {}).get("text/plain", "") for one in outputs),
        ]
    )
    for noise in (sys.executable, " at 0x"):  # where this Python is, and objects by their address
        assert noise not in shown
    assert not list((tmp_path / "run").iterdir()), "the notebook left files where it was run"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_has_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, "strip outputs: nbstripout, or Clear All Outputs"
            assert cell.execution_count is None
