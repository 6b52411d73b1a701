"""Torch's DataLoader over subjects, images and cohorts; TorchIO's SubjectsLoader is the oracle."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx


def subjects(folder, count=3, shape=(1, 4, 5, 6)):
    made = []
    for n in range(count):
        generator = torch.Generator().manual_seed(n)
        path = folder / f"{n}.nii.gz"
        vx.ScalarImage(
            tensor=torch.rand(shape, generator=generator), affine=np.diag([1, 1, n + 1, 1])
        ).save(path)
        mask = torch.randint(0, 3, shape, generator=generator)
        made.append(
            vx.Subject(
                t1=vx.ScalarImage(path, site="A"),
                seg=vx.LabelMap(tensor=mask),
                age=40 + n,
                name=f"sub-{n}",
                scores=np.arange(n, n + 2),
                extra={"weight": 70.5 + n},
            )
        )
    return made


def require_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        for key in expected:
            if key not in ("path", "stem"):  # ours names tensors ""
                require_same(found[key], expected[key])
    elif isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
    else:
        assert list(found) == list(expected)


def test_batches_are_those_of_torchio(tmp_path):
    tio = pytest.importorskip("torchio")
    ours = subjects(tmp_path)
    theirs = [
        tio.Subject(
            {
                key: value.to_torchio() if isinstance(value, vx.Image) else value
                for key, value in subject.items()
            }
        )
        for subject in ours
    ]
    (expected,) = tio.SubjectsLoader(tio.SubjectsDataset(theirs), batch_size=3)
    (found,) = DataLoader(ours, batch_size=3)
    assert type(found) is dict
    assert set(found) == set(expected)
    require_same(found, expected)
    assert found["t1"]["affine"].shape == (3, 4, 4)
    assert found["t1"]["type"] == ["intensity"] * 3
    assert found["t1"]["site"] == ["A"] * 3
    assert not any("data" in subject.t1 for subject in ours)  # they stay unloaded


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_batches_of_workers(tmp_path, context):
    ours = subjects(tmp_path)
    loader = DataLoader(ours, batch_size=2, num_workers=1, multiprocessing_context=context)
    found = list(loader)
    expected = list(DataLoader(ours, batch_size=2))
    for one, other in zip(found, expected, strict=True):
        require_same(one, other)


def test_batches_of_images_and_plain_dicts(tmp_path):
    images = [subject.t1 for subject in subjects(tmp_path)]
    (batch,) = DataLoader(images, batch_size=3)
    assert batch["data"].shape == (3, 1, 4, 5, 6)
    (batch,) = DataLoader([{"t1": image, "n": n} for n, image in enumerate(images)], batch_size=3)
    assert batch["t1"]["data"].shape == (3, 1, 4, 5, 6)
    assert batch["n"].tolist() == [0, 1, 2]


def test_batches_of_transformed_subjects(tmp_path):
    class Canonical(torch.utils.data.Dataset):
        def __init__(self, subjects):
            self.subjects = subjects

        def __len__(self):
            return len(self.subjects)

        def __getitem__(self, index):
            return vx.ToCanonical()(self.subjects[index])

    (batch,) = DataLoader(Canonical(subjects(tmp_path)), batch_size=3)
    assert batch["t1"]["data"].shape == (3, 1, 4, 5, 6)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_cohort(tmp_path, workers):
    scans = subjects(tmp_path)
    vx.convert_cohort(tmp_path, tmp_path / "cohort")
    cohort = vx.Cohort(tmp_path / "cohort")
    found = list(DataLoader(cohort, batch_size=2, num_workers=workers))
    assert [len(batch["subject"]) for batch in found] == [2, 1]
    image = next(key for key, one in cohort[0].items() if isinstance(one, vx.Image))
    voxels = torch.cat([batch[image]["data"] for batch in found])
    for subject, one in zip(scans, voxels, strict=True):
        torch.testing.assert_close(one, subject.t1.data, rtol=0, atol=0)


def test_what_makes_no_batch_is_named(tmp_path):
    ours = subjects(tmp_path, 2)
    ours[1] = vx.Crop((1, 0, 0, 0, 0, 0))(ours[1])
    with pytest.raises(vx.StateError, match=r"\(1, 3, 5, 6\), \(1, 4, 5, 6\)") as error:
        next(iter(DataLoader(ours, batch_size=2)))
    assert error.value.code == "SHAPES_DIFFER"
    (tmp_path / "again").mkdir()
    ours = subjects(tmp_path / "again", 2)
    del ours[1]["seg"]
    ours[1]["subject"] = ours[0]["subject"] = "sub-07"
    for batch in (ours, ours[::-1]):  # whichever comes first
        with pytest.raises(vx.StateError, match=r"batch \(sub-07\) lacks 'seg'") as error:
            next(iter(DataLoader(batch, batch_size=2)))
        assert error.value.code == "FIELDS_DIFFER"
        assert "leave out each Subject without it" in str(error.value)


def test_patches_of_subjects_that_have_other_images_make_no_batch(tmp_path):
    ours = subjects(tmp_path, 2)
    del ours[1]["seg"]
    for order in (ours, ours[::-1]):
        patches = vx.PatchDataset(order, vx.UniformSampler(2))
        with pytest.raises(vx.StateError, match="a patch of the batch lacks 'seg'") as error:
            next(iter(DataLoader(patches, batch_size=2)))
        assert error.value.code == "FIELDS_DIFFER"
        assert "leave out each patch without it" in str(error.value)
        assert next(iter(DataLoader(patches, batch_size=1)))["t1"]["data"].shape[0] == 1


def test_torch_may_come_after_the_subjects():
    code = """
import sys
import numpy as np
import voxarray as vx
image = vx.ScalarImage(tensor=np.ones((1, 2, 3, 4), "f4"))
subjects = [vx.Subject(t1=image, age=n) for n in range(4)]
assert "torch" not in sys.modules
from torch.utils.data import DataLoader
print([(tuple(b["t1"]["data"].shape), b["age"].tolist()) for b in DataLoader(subjects, 2)])
"""
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[((2, 1, 2, 3, 4), [0, 1]), ((2, 1, 2, 3, 4), [2, 3])]"
