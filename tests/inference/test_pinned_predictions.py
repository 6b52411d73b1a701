"""Patches on their way to a graphics card, and logits back: on a fake one that is always late."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import voxarray as vx
from fake_card import OnCard, fake_card
from voxarray.inference.inference import Inference
from voxarray.inference.loading import loaded
from voxarray.inference.options import InferenceOptions

SHAPE = (22, 18, 13)
SMALL = (14, 11, 9)
"""Eight patches, for what is repeated many times."""

CARD = {"device": "cuda:0", "patch_size": 8, "progress": False}
CPU = {**CARD, "device": "cpu"}


@pytest.fixture
def card(monkeypatch):
    with fake_card(monkeypatch) as made:
        yield made


def scan(nan=False, shape=SHAPE):
    voxels = np.random.default_rng(5).random((1, *shape), np.float32)
    if nan:
        voxels[0, 0, 0, 0] = np.nan
    return vx.ScalarImage(tensor=voxels)


def bright(patches):
    return torch.cat([0.5 - patches, patches - 0.5, patches * patches], 1)


def steep(patches):
    return torch.cat([patches, patches * 3, 1 - patches], 1)


def in_ram(patches):
    """As ONNX models: what comes back is in RAM."""
    return bright(patches.cpu())


def logits(folder, model=bright, shape=SHAPE, **given):
    path = folder / f"{len(list(folder.iterdir()))}.nii"
    made = vx.infer(model, scan(shape=shape), path, **given)
    return made.data.numpy()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("model", [bright, [bright, steep], in_ram], ids=["one", "two", "ram"])
@pytest.mark.parametrize("flips", [(), "all"], ids=["as is", "flips"])
def test_a_card_that_is_late_makes_the_same_numbers(tmp_path, card, batch_size, model, flips):
    given = {"batch_size": batch_size, "flips": flips, "output": "logits", "classes": 3}
    found = logits(tmp_path, model, SMALL, **CARD, **given)
    assert card.copies[0] > 0
    assert (card.copies[1] > 0) == (model is not in_ram)
    assert np.array_equal(found, logits(tmp_path, model, SMALL, **CPU, **given))


@pytest.mark.parametrize("blend", ["hann", "crop"])
def test_labels_of_another_grid_as_well(tmp_path, card, blend):
    given = {"blend": blend, "preprocess": vx.transforms.Resample((1.4, 1, 0.8)), "overlap": 3}
    found = logits(tmp_path, **CARD, **given)
    assert card.copies[0]
    assert np.array_equal(found, logits(tmp_path, **CPU, **given))


def test_a_module_in_half_precision(tmp_path, card, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    net = torch.nn.Conv3d(1, 2, 3, padding=1)
    expected = logits(tmp_path, net, **CPU, output="logits")
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # or the class of weights is lost
    try:
        found = logits(tmp_path, net, **CARD, output="logits", amp=True)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
    assert 0 < np.abs(found - expected).max() < 2e-2


def test_each_batch_is_copied_once_there_and_back_and_never_waited_for(tmp_path, card):
    logits(tmp_path, **CARD, overlap=0, batch_size=2, classes=3)
    batches = -(-3 * 3 * 2 // 2)
    assert card.copies == [batches, batches]
    assert sorted(card.pinned) == [2 * 4 * 8**3] * 2 + [2 * 3 * 4 * 8**3]


def test_the_next_patches_are_with_the_card_while_logits_are_blended(tmp_path, card, monkeypatch):
    from voxarray.inference import volume_job

    waiting = []

    class Watched(volume_job.Blender):
        def add(self, number, prediction):
            waiting.append(card.copies[0] - number - 1)
            super().add(number, prediction)

    monkeypatch.setattr(volume_job, "Blender", Watched)
    logits(tmp_path, **CARD, overlap=0, classes=3)
    assert waiting == [1] * 17 + [0]


@pytest.mark.parametrize("model", [bright, [bright, steep]], ids=["one", "two"])
def test_locked_memory_is_projected(tmp_path, card, model):
    options = InferenceOptions(patch_size=7, batch_size=3)
    work = Inference.of(loaded(model), options, classes=3, device="cuda:0")
    placement = work.placement(work.scan(scan()), str(tmp_path / "a.nii"))
    logits(tmp_path, model, **{**CARD, "patch_size": 7}, batch_size=3, classes=3)
    locked = sum(1 << (size - 1).bit_length() for size in card.pinned)  # as torch allocates it
    assert len(card.pinned) == 3
    assert locked <= placement.cost.fixed
    plain = Inference.of(loaded(model), options, classes=3, device="cpu")
    on_cpu = plain.placement(plain.scan(scan()), str(tmp_path / "a.nii"))
    assert placement.cost.fixed - on_cpu.cost.fixed == (
        locked - 3 * 3 * 4 * 7**3 - 3 * 3 * 4 * 7**3
    )


@pytest.mark.parametrize("lockable", [0, 8000], ids=["none", "patches alone"])
def test_memory_that_cannot_be_locked_is_logged_and_nothing_is_wrong(
    tmp_path, card, caplog, lockable
):
    card.lockable = lockable
    with caplog.at_level(logging.WARNING, "voxarray.memory"):
        found = logits(tmp_path, **CARD, output="logits", batch_size=2)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (1 if lockable else 3)
    assert all("could not be page-locked (CUDA error: out of memory)" in text for text in told)
    assert np.array_equal(found, logits(tmp_path, **CPU, output="logits", batch_size=2))


def test_what_else_keeps_memory_from_being_locked_is_an_error(tmp_path, card, monkeypatch):
    def empty(*size, pin_memory=False, **more):
        if pin_memory:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return card.empty(*size, **more)

    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(vx.ModelError, match="illegal memory access") as caught:
        logits(tmp_path, **CARD)
    assert caught.value.code == "DEVICE_LOST"
    assert not list(tmp_path.iterdir())


LATE = [
    ("DEVICE_LOST", RuntimeError("CUDA error: an illegal memory access was encountered")),
    ("DEVICE_LOST", RuntimeError("CUDA error: the launch timed out and was terminated")),
    ("DEVICE_FULL", RuntimeError("CUDA error: out of memory")),
    ("DEVICE_FULL", RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")),
    ("DEVICE_FULL", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
]


@pytest.mark.parametrize(
    ("suffix", "code", "error"),
    [
        # Each error in one format, and each code in both; all in the soak.
        pytest.param(
            *(suffix, code, error),
            marks=() if suffix == ".nii.gz" or number in (0, 2) else pytest.mark.slow,
            id=f"{suffix}-{number}",
        )
        for suffix in (".nii.gz", ".ome.zarr")
        for number, (code, error) in enumerate(LATE)
    ],
)
def test_a_card_that_fails_late_is_named_and_nothing_is_left(tmp_path, card, code, error, suffix):
    logits(tmp_path, shape=SMALL, **CARD, classes=3, overlap=0)
    (path,) = tmp_path.iterdir()
    path.unlink()
    works = card.queued
    card.forget()
    # Seven works come before the patches, and each patch has seven: all of them, and all along.
    for number in (1, *range(8, works, 5)):
        card.fails = number, error
        with pytest.raises(vx.ModelError, match=r"patch .* at \(|device") as caught:
            vx.infer(
                bright, scan(shape=SMALL), tmp_path / f"a{suffix}", **CARD, classes=3, overlap=0
            )
        assert caught.value.code == code
        assert not list(tmp_path.iterdir())
        card.forget()


def test_nan_of_the_scan_is_told_apart_though_its_memory_was_filled_again(tmp_path, card):
    for more in (CARD, CPU):
        with pytest.raises(vx.ModelError, match="whose voxels themselves have NaN or infinity"):
            vx.infer(bright, scan(nan=True), tmp_path / "a.nii", **more, overlap=0)
    with pytest.raises(vx.ModelError, match=r"patch 1 of \d+ at \(0, 0, 0\): check its weights"):
        vx.infer(lambda p: p / 0 - p / 0, scan(), tmp_path / "a.nii", **CARD, classes=1)


def test_a_processor_is_given_no_locked_memory_and_its_logits_are_not_copied(card, monkeypatch):
    from voxarray.inference.network import Network

    made = []

    def model(patches):
        made.append(bright(patches))
        return made[-1]

    network = Network([model], device="cpu")
    patches = np.ones((1, 1, 8, 8, 8), np.float32)
    found = network.predict(patches, lambda: "a patch")
    assert found.data_ptr() == made[0].data_ptr()
    assert not isinstance(found, OnCard)
    assert card.pinned == []


def test_a_card_without_a_number_is_the_one_that_is_current_to_begin_with(tmp_path, card):
    found = logits(tmp_path, **{**CARD, "device": "cuda"}, output="logits", classes=3)
    assert card.copies[1]
    assert np.array_equal(found, logits(tmp_path, **CPU, output="logits", classes=3))


def test_a_list_of_devices_is_named(tmp_path):
    with pytest.raises(vx.ModelError, match="one process for each GPU") as caught:
        vx.infer(bright, scan(), tmp_path / "a.nii", patch_size=8, device=["cuda:0", "cuda:1"])
    assert caught.value.code == "NO_DEVICE"
