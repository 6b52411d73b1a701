"""Page-locked memory, or what stands for it where none can be had; no card is needed for that."""

from __future__ import annotations

import logging

import pytest
import torch

from voxarray.patches import batches
from voxarray.tensors.pinned_buffers import PinnedBuffer, page_locked, page_locked_bytes

EMPTY = torch.empty


@pytest.fixture
def refused(monkeypatch):
    """What pinning is answered."""
    answer = ["CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"]

    def empty(*size, pin_memory=False, **more):
        if pin_memory:
            raise RuntimeError(answer[0])
        return EMPTY(*size, **more)

    monkeypatch.setattr(torch, "empty", empty)
    return answer


@pytest.mark.parametrize(
    ("size", "taken"), [(0, 0), (1, 1), (4096, 4096), (4097, 8192), (3 << 20, 4 << 20)]
)
def test_torch_takes_powers_of_two(size, taken):
    assert page_locked_bytes(size) == taken


def test_plain_memory_is_logged(refused, caplog):
    with caplog.at_level(logging.WARNING, "voxarray.memory"):
        memory = page_locked((3, 5), torch.float64)
    assert (memory.shape, memory.dtype) == ((3, 5), torch.float64)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "120 bytes of memory could not be page-locked (CUDA error: out of memory): "
    )


def test_a_lost_card_is_no_lack_of_memory(refused, caplog):
    refused[0] = "CUDA error: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="illegal memory access"):
        page_locked((3,), torch.float32)
    assert not caplog.records


def test_batches_of_patches_do_without_it_too(refused, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with caplog.at_level(logging.WARNING, "voxarray.memory"):
        ((patch,),) = batches.batches([[("t1", 1, "float32")]], (4, 3, 2), shared=False)
    assert patch.shape == (1, 4, 3, 2)
    assert len(caplog.records) == 1


def test_a_buffer_is_used_again_and_grows():
    buffer = PinnedBuffer(torch.int16, torch.device("cpu"), least=10)
    first = buffer.room((2, 3))
    assert first.is_contiguous()
    buffer.copies()
    assert buffer.room((5, 2)).data_ptr() == first.data_ptr()
    assert buffer.room((4, 5)).shape == (4, 5)
    buffer.wait()
