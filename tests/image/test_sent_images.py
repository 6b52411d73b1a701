"""Images that are sent to other processes, as a `DataLoader` does it: nothing here moves away."""

import sys
import threading
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx
from voxarray.tensors.convert import to_numpy

SHAPE = (1, 20, 18, 16)


def _image() -> vx.ScalarImage:
    return vx.ScalarImage(tensor=torch.rand(SHAPE) + 1)


@pytest.mark.parametrize("ask", [vx.Image.numpy, np.asarray, lambda one: one.numpy()[:, 2:]])
def test_arrays_outlive_the_sending_of_their_image(ask) -> None:
    image = _image()
    array, expected = ask(image), ask(image).copy()
    ForkingPickler.dumps(image)
    ForkingPickler.dumps(vx.Subject(t1=image, part=image[2:9]))
    ForkingPickler.dumps(vx.Flip(0)(image))
    assert np.array_equal(array, expected)
    assert np.may_share_memory(array, image.data.numpy())  # or its memory would have been freed


def test_persisted_voxels_outlive_the_sending_of_their_image() -> None:
    image = _image()
    kept, expected = image.persist(), image.data.clone()
    ForkingPickler.dumps(image)
    rubbish = [torch.zeros(SHAPE) for _ in range(20)]
    assert torch.equal(kept.data, expected), len(rubbish)


def test_memory_of_images_without_arrays_is_shared() -> None:
    image = _image()
    ForkingPickler.dumps(image)
    assert image.data.is_shared()


def test_arrays_may_be_made_while_another_image_is_sent() -> None:
    """In another thread; 2,000 times, for threads take turns by chance."""
    image, kept, done = vx.ScalarImage(tensor=torch.rand(1, 2, 2, 2)), [], threading.Event()
    array = image.numpy()  # or the image would be shared, and arrays not looked for

    def make() -> None:
        while not done.is_set():
            kept.append(to_numpy(torch.zeros(1, 2, 2, 2)))
            if len(kept) > 3000:
                kept.clear()

    thread, interval = threading.Thread(target=make), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(2000):
            ForkingPickler.dumps(image)
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert np.array_equal(array, image.data)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(SHAPE).to(torch.bfloat16),
        torch.rand(SHAPE, dtype=torch.complex64).conj(),
        torch.rand(2, 16, 18, 20).permute(0, 3, 2, 1),
        torch.rand(4, 20, 18, 16)[1:2, ::3],
        torch.rand(1, 1, 1, 1),
    ],
)
def test_what_arrives_is_equal_and_plain(tensor) -> None:
    image = vx.ScalarImage(tensor=tensor)
    array = image.numpy()
    arrived = ForkingPickler.loads(ForkingPickler.dumps(image))
    assert type(arrived.data) is torch.Tensor
    assert torch.equal(arrived.data, image.data)
    assert np.array_equal(arrived.numpy(), array)
    arrived.data[:] = 7
    assert (arrived[:, :, :].numpy() == 7).all()  # one tensor, whoever asks


def test_views_reach_workers_that_start_afresh() -> None:
    series = torch.arange(2.0 * np.prod(SHAPE)).reshape(2, *SHAPE[1:])
    image = vx.ScalarImage(tensor=series[:1])
    patches = vx.PatchDataset([vx.Subject(t1=image)], vx.UniformSampler(SHAPE[1:]))
    loader = DataLoader(patches, num_workers=1, multiprocessing_context="spawn")
    (batch,) = loader
    assert torch.equal(batch["t1"]["data"][0], series[:1])
