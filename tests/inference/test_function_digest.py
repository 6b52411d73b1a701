"""A function that calls other weights is another model, however it comes by them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.inference.function_digest import function_digest
from voxarray.inference.loading import loaded

NET = torch.nn.Identity()
FACTOR = 1.0


def net(seed):
    torch.manual_seed(seed)
    return torch.nn.Conv3d(1, 2, 1)


def by_global(patches):
    return NET(patches) * FACTOR


def by_global_of_another(patches):
    return torch.cat([by_global(patch) for patch in patches])


class Holder:
    def __init__(self, module):
        self.module = module

    def __call__(self, patches):
        return self.module(patches)

    def predict(self, patches):
        return self.module(patches)


def called(module, patches, *, again=None):
    return module(patches) if again is None else again(patches)


def first_of(held, patches):
    return held[0](patches)


def in_a_function(module):
    def inner(patches):
        return module(patches)

    return lambda patches: inner(patches)


WAYS = {
    "closure": lambda module: lambda patches: module(patches),
    "closure in a closure": in_a_function,
    "partial": lambda module: functools.partial(called, module),
    "partial by keyword": lambda module: functools.partial(called, None, again=module),
    "default": lambda module: lambda patches, module=module: module(patches),
    "object": Holder,
    "method": lambda module: Holder(module).predict,
    "closure over an object": lambda module: (lambda held: lambda x: held(x))(Holder(module)),
    "list": lambda module: (lambda held: lambda x: held[0](x))([module]),
    "mapping": lambda module: (lambda held: lambda x: held["a"](x))({"a": module}),
    "functions in a list": lambda module: (lambda held: lambda x: held[0](x))(
        [in_a_function(module)]
    ),
    "lists in a mapping": lambda module: (lambda held: lambda x: held["a"][0](x))({"a": [module]}),
    "tensor": lambda module: (lambda held: lambda x: x * held)(module.weight),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_other_weights_are_another_model(way):
    assert function_digest(way(net(1))) == function_digest(way(net(1)))
    assert function_digest(way(net(1))) != function_digest(way(net(2)))


@pytest.mark.parametrize("function", [by_global, by_global_of_another])
def test_weights_under_a_global_name_are_noticed(function, monkeypatch):
    digests = []
    for seed, factor in ((1, 1.0), (1, 1.0), (2, 1.0), (1, 2.0)):
        monkeypatch.setitem(globals(), "NET", net(seed))
        monkeypatch.setitem(globals(), "FACTOR", factor)
        digests.append(function_digest(function))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_function_that_fills_containers_stays_the_same():
    module, seen = net(1), []

    def model(patches):
        seen.append(found := module(patches))
        seen.append({"largest": [float(found.max())]})
        return found

    before = function_digest(model)
    model(torch.zeros(1, 1, 2, 2, 2))
    assert len(seen) == 2
    assert function_digest(model) == before


def test_a_function_of_libraries_alone_leads_nowhere():
    def softmax(patches):
        return torch.nn.functional.softmax(torch.cat([patches, patches], 1), 1)

    assert function_digest(softmax) == function_digest(softmax)
    assert function_digest(torch.nn.functional.relu)
    assert function_digest(torch.relu)


def test_a_layer_of_other_weights_is_not_taken_for_done(tmp_path):
    vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), np.uint8)).save(tmp_path / "in" / "a.nii")
    vx.convert_cohort(tmp_path / "in", tmp_path / "cohort", progress=False)
    held = []

    def model(patches):
        return held[0](patches)

    def predicted(sign):
        module = torch.nn.Conv3d(1, 2, 1, bias=False)
        with torch.no_grad():
            module.weight[:] = torch.tensor([sign, -sign]).reshape(2, 1, 1, 1, 1)
        held[:] = [module]
        cohort = vx.Cohort(tmp_path / "cohort")
        vx.infer(model, cohort, patch_size=8, layer="seg", progress=False)
        return int(vx.Cohort(tmp_path / "cohort")[0].seg.numpy().max())

    assert predicted(1) == 0
    assert predicted(1) == 0
    with pytest.raises(vx.VoxarrayError, match="NAME_TAKEN"):
        predicted(-1)


class Doubling(torch.nn.Module):
    def __init__(self, factor=2):
        super().__init__()
        self.factor = factor

    def scaled(self, patches):
        return patches * self.factor

    def forward(self, patches):
        return self.scaled(patches)


class Running(Holder):
    def run(self, patches):
        return NET(self.module(patches))

    def __call__(self, patches):
        return self.run(patches)


@pytest.mark.parametrize(
    "way",
    [
        lambda net: net,
        lambda net: torch.nn.Sequential(net),
        lambda net: net.forward,
        lambda net: lambda patches: net(patches),
    ],
    ids=["module", "part", "method", "closure"],
)
def test_other_code_or_attributes_of_a_network_are_another_model(way, monkeypatch):
    def digest(net):
        return loaded(way(net)).digest

    before = digest(Doubling())
    assert digest(Doubling()) == before
    assert digest(Doubling(3)) != before
    monkeypatch.setattr(Doubling, "scaled", lambda self, patches: patches + self.factor)
    assert digest(Doubling()) != before


def test_code_and_networks_that_a_method_of_an_object_uses_are_noticed(monkeypatch):
    digests = [function_digest(Running(net(1)))]
    monkeypatch.setitem(globals(), "NET", net(1))
    digests.append(function_digest(Running(net(1))))
    monkeypatch.setattr(Running, "run", lambda self, patches: self.module(patches) * 2)
    digests.append(function_digest(Running(net(1))))
    assert len(set(digests)) == 3
