"""Predictions of all patches of a volume; a graphics card works beside the rest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from voxarray.geometry.selection import Shape3
from voxarray.inference.network import Network, naming_device
from voxarray.inference.patch_plan import PatchPlan
from voxarray.inference.patch_reader import PatchReader
from voxarray.tensors.pinned_buffers import PinnedBuffer, page_locked_bytes

Prediction = tuple[range, torch.Tensor]
"""Numbers of patches, and their logits (N, K, w, h, d), float32 in RAM."""


def predictions(reader: PatchReader, network: Network, size: int) -> Iterator[Prediction]:
    """Predict all patches; the next are read meanwhile.

    Logits are good until the next are asked for.

    Args:
        reader: Of the patches.
        network: That is ready.
        size: Patches that are predicted at once.
    """
    if network.is_on_card:
        yield from _OnCard(reader, network).predictions(size)
        return
    for numbers, patches in reader.batches(size):
        yield numbers, network.predict(patches, _description(reader.plan, numbers))


def held_bytes(reader: PatchReader, network: Network, size: int, classes: int) -> int:
    """Bytes of RAM for patches and predictions.

    Args:
        reader: Of the patches.
        network: That predicts them.
        size: Patches that are predicted at once.
        classes: Numbers that it returns for each voxel.
    """
    patches = size * reader.patch_bytes
    prediction = size * classes * math.prod(reader.plan.patch) * 4
    count = network.predictions_held
    if network.is_on_card:
        # Sums of several are made there, but for models that return what is in RAM.
        sums = (count - 1) * prediction
        return 2 * page_locked_bytes(patches) + page_locked_bytes(prediction) + sums
    # A batch is at work, one is read ahead, and the device's copy of it may be a third.
    return 3 * patches + count * prediction


class _OnCard:
    """Keeps a card busy: while logits are blended, it has the next patches.

    All that is asked of the card is done in the order of one stream: patches of a batch are copied
    to it, predicted, and copied back. So there are two things to wait for: patches are not read
    into memory from which the card still copies, and logits not looked at while it copies them.
    The next batch is queued before the logits of this one are waited for; they are copied into
    memory that has been blended.

    Args:
        reader: Of the patches.
        network: On a CUDA device.
    """

    def __init__(self, reader: PatchReader, network: Network) -> None:
        self._reader, self._network = reader, network
        # Filled by the thread that reads, one batch ahead, and sent in the same order.
        buffers = [PinnedBuffer(torch.float32, network.device) for _ in range(2)]
        self._filled, self._sent = itertools.cycle(buffers), itertools.cycle(buffers)
        self._back = PinnedBuffer(torch.float32, network.device)

    def predictions(self, size: int) -> Iterator[Prediction]:
        """See `predictions`."""
        last: Prediction | None = None
        with closing(self._reader.batches(size, self._room)) as batches:
            for numbers, patches in batches:
                where = _description(self._reader.plan, numbers)
                prediction = self._network.launch(
                    torch.from_numpy(patches), where, lambda: next(self._sent).copies()
                )
                if last is not None:
                    yield self._arrived(last)
                last = None
                if prediction.device.type == "cpu":  # as ONNX models: nothing is queued, or late
                    yield numbers, self._accepted(numbers, prediction)
                else:
                    last = numbers, self._called_back(prediction, where)
                del prediction  # the card uses its memory for the next
        if last is not None:
            yield self._arrived(last)

    def _room(self, shape: Sequence[int]) -> NDArray[np.float32]:
        with naming_device(self._network.device):
            memory: NDArray[np.float32] = next(self._filled).room(shape).numpy()
        return memory

    def _called_back(self, logits: torch.Tensor, where: Callable[[], str]) -> torch.Tensor:
        """Memory for logits that are on their way to it."""
        with naming_device(self._network.device, where):
            memory = self._back.room(logits.shape)
            memory.copy_(logits, non_blocking=True)
            self._back.copies()
        return memory

    def _arrived(self, sent: Prediction) -> Prediction:
        numbers, logits = sent
        where = _description(self._reader.plan, numbers)
        late = lambda: f"{where()}, or a patch that the GPU began earlier"  # noqa: E731
        with naming_device(self._network.device, late):
            self._back.wait()
        return numbers, self._accepted(numbers, logits)

    def _accepted(self, numbers: range, logits: torch.Tensor) -> torch.Tensor:
        # The memory of the patches may be filled with others already: they are read again.
        return self._network.accepted(
            logits, lambda: self._reader.read(numbers), _description(self._reader.plan, numbers)
        )


def _description(plan: PatchPlan, numbers: range) -> Callable[[], str]:
    """Names patches, for messages."""
    return lambda: _positions_text(plan, numbers)


def _positions_text(plan: PatchPlan, numbers: range) -> str:
    first: Shape3 = plan.start(numbers[0])
    if len(numbers) == 1:
        return f"patch {numbers[0] + 1} of {len(plan)} at {first}"
    return f"patches {numbers[0] + 1} to {numbers[-1] + 1} of {len(plan)} from {first} on"
