"""Which tensors arrays show, of which torch must not move the memory."""

from __future__ import annotations

import gc
import time

import pytest
import torch

from voxarray.tensors.numpy_views import SentByValue, remember_view, to_send


def seen(count: int) -> list:
    """Tensors and their arrays."""
    pairs = []
    for _ in range(count):
        tensor = torch.zeros(1)
        pairs.append((tensor, tensor.numpy()))
        remember_view(*pairs[-1])
    return pairs


def seconds(tensor: torch.Tensor) -> float:
    """The shortest of several times."""
    times = []
    for _ in range(50):
        start = time.perf_counter()
        to_send(tensor, tensor)
        times.append(time.perf_counter() - start)
    return min(times)


def test_sending_takes_no_longer_if_many_arrays_are_shown():
    tensor = torch.zeros(3)
    few = seconds(tensor)
    pairs = seen(20_000)
    assert seconds(tensor) < 20 * few
    assert len(pairs) == 20_000


@pytest.mark.parametrize("first", [True, False])
def test_a_tensor_is_sent_by_value_until_its_last_array_is_gone(first):
    tensor = torch.zeros(4)
    arrays = [tensor.numpy(), tensor.numpy()]
    assert not isinstance(to_send(tensor, tensor), SentByValue)
    for array in arrays:
        remember_view(tensor, array)
    view = arrays[0][1:] if first else arrays[1][1:]
    del array, arrays
    gc.collect()
    assert isinstance(to_send(tensor, tensor), SentByValue)
    del view
    gc.collect()
    assert not isinstance(to_send(tensor, tensor), SentByValue)
