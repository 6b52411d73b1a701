"""Voxels that go to a device piece by piece are those in RAM; on a real card where there is one."""

from __future__ import annotations

import dask.config
import nibabel as nib
import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.core.errors import MemoryBudgetError
from voxarray.source import pieces
from voxarray.tensors import upload
from voxarray.testing.peak_memory import peak_above_imports

SHAPE = (23, 17, 29)
CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
DEVICES = ["cpu", pytest.param("cuda", marks=CARD)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """So that a small volume makes many."""
    for module in (pieces, upload):
        monkeypatch.setattr(module, "PIECE_BYTES", 3000)


@pytest.fixture(params=[".nii", ".nii.gz", ".ome.zarr"])
def image(request, tmp_path):
    rng = np.random.default_rng(3)
    voxels = rng.integers(-3000, 3000, (*SHAPE, 2)).astype("int16")
    nib.save(nib.Nifti1Image(voxels, np.diag([2, 3, 4, 1.0])), tmp_path / "a.nii")
    scan = vx.ScalarImage(tmp_path / "a.nii")
    if request.param != ".nii":
        scan.save(tmp_path / f"a{request.param}")
    return vx.ScalarImage(tmp_path / f"a{request.param}")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.int32, torch.uint8, torch.bfloat16])
def test_as_in_ram(image, device, dtype):
    for part in (image, image[:, 2:, ::3], image[:, ::-1, :, 5:6]):
        sent = upload.upload(part.source, dtype, device)
        expected = part.to_tensor(dtype)
        assert sent.device.type == device
        assert sent.dtype == expected.dtype
        assert torch.equal(sent.cpu(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "float32", "float64"])
def test_every_type(tmp_path, device, dtype):
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(nib.Nifti1Image(voxels, np.eye(4), dtype=dtype), tmp_path / name)
        part = vx.ScalarImage(tmp_path / name)
        sent = upload.upload(part.source, None, device)
        assert sent.dtype == part.to_tensor().dtype
        assert torch.equal(sent.cpu(), part.to_tensor())


@CARD
def test_what_goes_in_pieces(image):
    """Files do; what is in RAM, or computed by a graph, does not."""
    assert upload.can_upload(image.source, "cuda")
    assert not upload.can_upload(image.source, "cpu")
    assert not upload.can_upload(image.source, None)
    loaded = image[:, 3:]
    loaded.load()
    assert torch.equal(loaded.to_tensor(device="cuda").cpu(), loaded.data)
    assert torch.equal(image.to_tensor(device="cuda:0").cpu(), image.to_tensor())


@CARD
def test_on_a_stream_of_its_own(image):
    """Copies are queued where the caller is."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        sent = image.to_tensor(torch.float32, "cuda") * 2
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(sent.cpu(), image.to_tensor(torch.float32) * 2)


@CARD
def test_a_card_that_is_behind(image):
    """A buffer is filled again only when what was in it has arrived."""
    expected = image.to_tensor()
    torch.cuda._sleep(400_000_000)  # cycles before the first copy
    assert torch.equal(upload.upload(image.source, None, "cuda").cpu(), expected)


def test_uploads_alternate_between_two_buffers(image, monkeypatch):
    calls = []

    class Recorded(upload.PinnedBuffer):
        def room(self, shape):
            calls.append(("room", id(self)))
            return super().room(shape)

        def copies(self):
            calls.append(("copies", id(self)))

    monkeypatch.setattr(upload, "PinnedBuffer", Recorded)
    upload.upload(image.source, None, "cpu")
    pieces = len(calls) // 2
    assert pieces > 2
    assert [name for name, _ in calls] == ["room", "copies"] * pieces
    first, second = calls[0][1], calls[2][1]
    assert first != second
    assert [one for _, one in calls[::2]] == ([first, second] * pieces)[:pieces]
    assert calls[::2] == [("room", one) for _, one in calls[1::2]]


@CARD
def test_refused_before_it_is_read(image):
    small = dask.config.set({"voxarray.memory-budget": 4000})
    with small, pytest.raises(MemoryBudgetError, match="to_tensor"):
        image.to_tensor(device="cuda")


@CARD
def test_ram_need_not_hold_the_volume(tmp_path):
    """256 MiB of voxels, of which two pieces are in RAM at a time."""
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((512, 512, 512), "int16"), np.eye(4)), path)
    setup = f"""
import torch, voxarray
from voxarray.tensors import upload
image = voxarray.ScalarImage({str(path)!r})
torch.ones(8, pin_memory=True).to("cuda").sum(), image[..., :8].load()
projected = upload.projected_peak(image.source, image.source.dtype)
"""
    call = "assert int(image.to_tensor(device='cuda').sum()) == 512**3"
    peak = peak_above_imports(setup, f"{call}; result = projected")
    assert peak.bytes < peak.result < 160 << 20
