"""The peak of an inference is what was projected, whatever the depth, and below the budget."""

from __future__ import annotations

import dask
import nibabel
import numpy as np
import pytest

import voxarray as vx
from voxarray.inference import placement
from voxarray.testing.peak_memory import can_measure, peak_above_imports

MIB = 1 << 20

SETUP = """
import dask.config, logging, re, numpy as np, torch
import voxarray as vx, voxarray.inference
torch.set_num_threads(1)
dask.config.set({{"voxarray.threads": 1, "voxarray.memory-budget": {budget}}})
records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(record.args[1])
logging.getLogger("voxarray.inference").addHandler(Keep())
logging.getLogger("voxarray.inference").setLevel(logging.INFO)
offsets = torch.linspace(0, 1, {classes})[:, None, None, None]
def model(batch):
    return batch + offsets
"""

# What is loaded on first use is loaded before.
SETUP += """
vx.infer(model, vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), "u1")), "{out}.tiny.ome.zarr",
         patch_size=8, classes={classes}, overwrite=True)
records.clear()
"""

STATEMENT = """
vx.infer(model, "{path}", "{out}", patch_size=32, classes={classes}, blend="average",
         accumulate="{accumulate}")
placed = records[0]
result = [placed.peak + placed.writing, placed.scratch, placed.network]
"""


def measured(tmp_path, depth, classes, budget, accumulate="float32"):
    path = tmp_path / f"{depth}.nii"
    if not path.exists():
        vx.ScalarImage(tensor=np.ones((1, 128, 128, depth), np.uint8)).save(path)
    facts = {"path": path, "out": tmp_path / f"{depth}-{budget}.ome.zarr", "classes": classes}
    facts.update(budget=budget, accumulate=accumulate)
    peak = peak_above_imports(SETUP.format(**facts), STATEMENT.format(**facts))
    assert vx.LabelMap(facts["out"]).count_labels() == {classes - 1: 128 * 128 * depth}
    return peak


@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
def test_the_peak_does_not_depend_on_the_depth(tmp_path):
    thin, deep = (measured(tmp_path, depth, 12, 512 * MIB) for depth in (96, 192))
    assert thin.result[1] == deep.result[1] == 0
    assert deep.result[0] - deep.result[2] < 1.05 * (thin.result[0] - thin.result[2])
    assert deep.bytes < thin.bytes + 12 * MIB
    assert deep.bytes <= deep.result[0]


@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
@pytest.mark.parametrize(
    ("accumulate", "budget"),
    [("float32", 160), pytest.param("float16", 130, marks=pytest.mark.slow)],
)
def test_a_front_beyond_the_budget_waits_on_the_disk(tmp_path, accumulate, budget):
    tight = measured(tmp_path, 96, 117, budget * MIB, accumulate)
    assert tight.result[1] > 0
    assert tight.bytes <= tight.result[0] <= budget * MIB


@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
# A scan smaller than a patch is cut out of its sums.
@pytest.mark.parametrize("side", [60, pytest.param(64, marks=pytest.mark.slow)])
def test_looking_at_a_prediction_copies_none_of_it(tmp_path, side):
    path, out = tmp_path / "scan.nii", tmp_path / "labels.ome.zarr"
    vx.ScalarImage(tensor=np.ones((1, side, side, side), np.uint8)).save(path)
    facts = {"path": path, "out": out, "classes": 117, "budget": 600 * MIB, "accumulate": "float16"}
    statement = STATEMENT.replace("patch_size=32", "patch_size=64").format(**facts)
    peak = peak_above_imports(SETUP.format(**facts), statement)
    # A prediction is 117 MiB and its sums are 58: a copy more made 236 of these 184.
    assert peak.bytes <= 210 * MIB


def test_ten_classes_of_512_cubed_need_no_scratch(tmp_path, monkeypatch):
    path = tmp_path / "scan.nii"
    header = nibabel.Nifti1Header()
    header.set_data_shape((512, 512, 512))
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with open(path, "wb") as file:
        file.write(header.binaryblock + bytes(4))
        file.truncate(352 + 512**3)
    placed = []

    def place(*given):
        placed.append(placement.placed(*given))
        raise Planned

    monkeypatch.setattr("voxarray.inference.inference.placed", place)
    budget = {"voxarray.memory-budget": 768 * MIB, "voxarray.threads": 1}
    with dask.config.set(budget), pytest.raises(Planned):
        vx.infer(tenfold, path, tmp_path / "labels.ome.zarr", patch_size=96, classes=10)
    assert placed[0].scratch == 0


class Planned(Exception):
    """All that is asked for is there."""


def tenfold(batch):
    return batch.expand(-1, 10, -1, -1, -1)
