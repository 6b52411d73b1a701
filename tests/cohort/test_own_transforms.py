"""Transforms of a user's own classes: archives are made again if their code has changed."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from cohort_samples import save

import voxarray as vx
from voxarray.cohort.plan.described import described
from voxarray.cohort.run.build import build
from voxarray.testing.counting import count_reads

TEXT = """\
import functools

import voxarray as vx

FACTOR = 2


def scaled(voxels, factor):
    return voxels * factor


class Base(vx.Transform):
    def wanted(self, image):
        return image.type == vx.INTENSITY


class Scale(Base):
    summand = 0

    def __init__(self, power=1, **kwargs):
        super().__init__(**kwargs)
        self.power = power
        self.names = ["a"]
        self.calls = 0

    def applies_to(self, image):
        return self.wanted(image)

    @functools.cached_property
    def costly(self):
        return self.power + 1

    @property
    def factor(self):
        return FACTOR**self.power

    @staticmethod
    def rounded(factor):
        return factor // 1

    def apply(self, source, image, subject):
        self.calls += 1
        self.costly
        factor = self.rounded(self.factor)
        return vx.Lambda(lambda x: scaled(x, factor) + self.summand).apply(source, image, subject)


class Whole(vx.Transform):
    def apply_transform(self, subject):
        return vx.Pad(1)(subject)


class Called:
    __slots__ = ("power",)

    def __init__(self, power=1):
        self.power = power

    def inner(self, subject):
        return Scale(self.power)(subject)

    def __call__(self, subject):
        return self.inner(subject)


def function(subject):
    return Scale()(subject)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module of a text: what a user's file is after it was edited."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of two edits in one second

    def made(text=TEXT, folder="one"):
        path = tmp_path / folder / "own_steps.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("own_steps", path)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "own_steps", loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return made


@pytest.fixture
def cohort(tmp_path):
    for number in range(2):
        save(tmp_path / f"in/{number}.nii.gz", number)
    build(tmp_path / "in", tmp_path / "out")
    return vx.Cohort(tmp_path / "out")


EDITS = {
    "apply": ("factor) + self.summand", "factor) - self.summand"),
    "applies_to": ("return self.wanted(image)", "return True"),
    "base": ("image.type == vx.INTENSITY", "image.type != vx.LABEL"),
    "global": ("FACTOR = 2", "FACTOR = 3"),
    "global function": ("voxels * factor", "voxels / factor"),
    "class attribute": ("summand = 0", "summand = 1"),
    "property": ("FACTOR**self.power", "FACTOR * self.power"),
    "static method": ("factor // 1", "factor // 2"),
    "attribute": ('["a"]', '["b"]'),
}
WAYS = {
    "alone": lambda m: m.Scale(),
    "Compose": lambda m: vx.Compose([vx.ToCanonical(), m.Scale()]),
    "method": lambda m: m.Scale().apply_transform,
    "held by a function": lambda m: (lambda held: lambda s: held(s))(m.Scale()),
    "attribute of another": lambda m: vx.Lambda(m.Scale().rounded),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("way", list(WAYS.values())[:4], ids=list(WAYS)[:4])
def test_other_code_in_a_class_is_another_transform(module, way, edit):
    before = described(way(module()))
    assert described(way(module())) == before
    assert TEXT.count(edit[0]) == 1
    assert described(way(module(TEXT.replace(*edit)))) != before


@pytest.mark.parametrize("made", [lambda m: m.function, lambda m: m.Called(), lambda m: m.Whole()])
def test_other_code_in_a_class_that_is_used_is_another_transform(module, made):
    before = described(made(module()))
    assert described(made(module())) == before
    edited = TEXT.replace("voxels * factor", "voxels / factor").replace("Pad(1)", "Pad(2)")
    assert described(made(module(edited))) != before


def test_attributes_that_are_no_arguments_count(module):
    steps = module()
    assert described(steps.Scale(1)) != described(steps.Scale(2))
    assert described(steps.Called(1)) != described(steps.Called(2))


def test_where_the_code_lies_does_not_count(module):
    """Nodes of a cluster may have it elsewhere, and a comment moves every line."""
    before = [described(made(module())) for made in WAYS.values()]
    moved = "# A comment.\n\n" + TEXT
    assert [described(made(module(moved, "two"))) for made in WAYS.values()] == before


def test_large_attributes_are_described_in_short(module):
    step = module().Scale()
    descriptions = []
    for value in (0, 0, 1):
        step.template = np.full((30, 30, 30), value, np.float32)
        descriptions.append(described(step))
    assert descriptions[0] == descriptions[1] != descriptions[2]
    assert len(str(descriptions[0])) < 2000


def test_own_transforms_of_voxarray_are_described_by_name_and_arguments():
    shared = {"include": None, "exclude": None, "label_keys": None}
    assert described(vx.Pad(1))[0] == "voxarray.transforms.bounds.Pad"
    assert len(described(vx.Pad(1))) == 3
    assert described(vx.ToCanonical())[1:] == [1, shared]


def test_a_cohort_is_made_again_by_changed_code(module, cohort, tmp_path):
    first = cohort.map(module().Scale()).save(tmp_path / "new")
    plain = [subject.image.numpy() for subject in cohort]
    assert first.table["pipeline_digest"].nunique() == 1  # although it counts its calls
    np.testing.assert_array_equal(first[1].image.numpy(), plain[1] * 2)
    with count_reads() as reads:
        cohort.map(module().Scale()).save(tmp_path / "new")
    assert reads.voxels == 0
    other = module(TEXT.replace("FACTOR = 2", "FACTOR = 3"))
    with pytest.warns(
        vx.VoxarrayWarning, match="PIPELINE_REPLACED: 2 images of another pipeline were replaced"
    ):
        again = cohort.map(other.Scale()).save(tmp_path / "new")
    np.testing.assert_array_equal(again[1].image.numpy(), plain[1] * 3)


class Counting:
    """Counts its calls, which it does not take to workers."""

    def __init__(self, factor):
        self.factor, self.calls = factor, 0

    def __getstate__(self):
        return {"factor": self.factor}

    def __call__(self, subject):
        self.calls += 1
        return subject


def test_an_object_counts_by_the_state_that_it_takes_to_workers():
    transform = Counting(2)
    before = described(transform)
    transform(None)
    assert described(transform) == before
    transform.factor = 3
    assert described(transform) != before
