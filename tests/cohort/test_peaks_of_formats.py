"""What the journal measures of a conversion is at most what the plan projected, for every format.

One process converts them one after the other, each after a tiny one that imports what it needs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import voxarray as vx
from dicom_samples import series
from voxarray.cohort.catalogue.journal import records
from voxarray.formats.table import FORMATS
from voxarray.testing.peak_memory import can_measure

pytestmark = [
    pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc"),
    pytest.mark.filterwarnings("ignore"),
]

MIB = 1 << 20
SLACK = 8 * MIB
"""What an allocator and modules that are imported late take."""

READ_ONLY = {"PAR/REC", "AFNI", "NumPy"}
"""Formats of which there is no writer here; their readers are those of others in the table."""

CHILD = """
import os, sys, warnings
warnings.simplefilter("ignore")
import voxarray as vx
for name in sys.argv[2:]:
    for size in ("tiny", "large"):
        folder = f"{sys.argv[1]}/{size}/{name}"
        file = f"{folder}/scan." + name.replace("_", ".")
        source = file if os.path.exists(file) else f"{folder}/scan"
        vx.convert_cohort(source, f"{sys.argv[1]}/out/{size}/{name}")
"""


def scan(side):
    """Steps and a little noise: neither all the same nor incompressible."""
    grids = np.meshgrid(*(np.arange(side) // 5,) * 3, indexing="ij", sparse=True)
    return (sum(grids) * 3 % 251).astype("uint8")[None]


def written(folder, side):
    """A file of every format in a folder of its own; their names."""
    image = vx.ScalarImage(tensor=scan(side), affine=np.diag([-1.0, -1, 1, 1]))
    flat = vx.ScalarImage(tensor=scan(side)[..., side // 2 : side // 2 + 1])
    for form in FORMATS:
        suffixes = form.writes or (form.suffixes if form.write else ())
        for suffix in suffixes:
            if suffix in (".hdr", ".hdr.gz", ".zarr", ".jpeg"):
                continue  # the other half of a pair, or another name of the same
            name = suffix.strip(".").replace(".", "_")
            (folder / name).mkdir(parents=True)
            (flat if form.name == "picture" else image).save(folder / name / f"scan{suffix}")
            yield name
    series(folder / "dicom" / "scan", scan(side)[0].astype("int16"))
    yield "dicom"


def peaks(tmp_path, side):
    """(measured, projected) by format."""
    names = list(written(tmp_path / "tiny", 12))
    assert names == list(written(tmp_path / "large", side))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for name in names:
        out = tmp_path / "out/large" / name
        (record,) = (one for one in records(str(out / "journal")) if one.get("peak") is not None)
        (item,) = json.loads((out / "plan.json").read_text())["items"]
        found[name] = record["peak"], item["header"]["peak"]
        assert record["status"] == "converted", name
    shutil.rmtree(tmp_path / "large")
    return found


def test_every_format_is_converted_within_its_projection(tmp_path):
    found = peaks(tmp_path, 64)
    covered = {form.name for form in FORMATS} - READ_ONLY
    assert len(found) >= len(covered)
    assert not {n: p for n, p in found.items() if p[0] > p[1]}


@pytest.mark.slow
def test_every_format_is_converted_within_its_projection_at_64_mib(tmp_path):
    """Large enough that a copy of the whole that nobody counted would show."""
    found = peaks(tmp_path, 400)
    assert not {n: p for n, p in found.items() if p[0] > p[1] + SLACK}
