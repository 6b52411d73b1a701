"""The peak of an inference is what was projected, whatever the depth, and below the budget."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
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

STATEMENT = """
vx.infer(model, "{path}", "{out}", patch_size=32, classes={classes}, blend="average")
result = [records[0].peak, records[0].scratch]
"""


def measured(tmp_path, depth, classes, budget):
    path = tmp_path / f"{depth}.nii"
    if not path.exists():
        vx.ScalarImage(tensor=np.ones((1, 128, 128, depth), np.uint8)).save(path)
    facts = {"path": path, "out": tmp_path / f"{depth}-{budget}.ome.zarr", "classes": classes}
    facts["budget"] = budget
    peak = peak_above_imports(SETUP.format(**facts), STATEMENT.format(**facts))
    assert vx.LabelMap(facts["out"]).count_labels() == {classes - 1: 128 * 128 * depth}
    return peak


@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
def test_the_peak_does_not_depend_on_the_depth(tmp_path):
    thin, deep = (measured(tmp_path, depth, 12, 512 * MIB) for depth in (128, 256))
    assert thin.result[1] == deep.result[1] == 0
    assert deep.result[0] < 1.05 * thin.result[0]
    assert deep.bytes < thin.bytes + 12 * MIB


@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
def test_a_front_beyond_the_budget_waits_on_the_disk(tmp_path):
    free = measured(tmp_path, 128, 100, 1024 * MIB)
    tight = measured(tmp_path, 128, 100, 184 * MIB)
    assert free.result[1] == 0
    assert tight.result[1] > 0
    assert tight.bytes < 184 * MIB
