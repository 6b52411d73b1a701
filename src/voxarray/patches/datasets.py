"""Patches by index, for `torch.utils.data.DataLoader`, which asks for classes of torch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from voxarray.core.errors import OutOfRangeError
from voxarray.patches.batches import Patch
from voxarray.patches.foreseen import Order
from voxarray.patches.patch_loader import PatchLoader
from voxarray.patches.samplers import PatchSampler


class PatchDataset(Dataset):
    """Patches of subjects, by index, for a `torch.utils.data.DataLoader`.

    Patch ``i`` belongs to subject ``i // patches_per_image``. Its location depends only on seed,
    epoch and ``i``, not on workers or earlier patches. An item looks like TorchIO's:
    ``sample["t1"]["data"]`` (C, W, H, D), ``sample["t1"]["affine"]``, ``sample["location"]``.
    Batches have the shape (B, C, W, H, D) and the memory order of the files, (B, C, D, H, W).

    Examples:
        >>> scan = vx.testing.sample()
        >>> subjects, sampler = [vx.Subject(t1=scan)], vx.UniformSampler(16)
        >>> patches = vx.PatchDataset(subjects, sampler, patches_per_image=4)
        >>> len(patches), tuple(patches[0]["t1"]["data"].shape)
        (4, (1, 16, 16, 16))

    Args:
        subjects: Sequence of subjects or dicts of images; all images of a subject must be on one
            grid.
        sampler: Where patches are drawn.
        patches_per_image: Number of patches of each subject in an epoch.
        transform: Function for augmentation: it is given each item, as described above, and
            returns the item to use instead. `TorchIOTransform` and `MonaiTransform` wrap
            transforms of these libraries. The random numbers of torch and of MONAI transforms are
            seeded by seed, epoch and index of the patch.
        seed: Seed of the run, between 0 and 2**64 - 1.

    Raises:
        TypeError: If the subjects are not a sequence, for example a single subject, or the
            transform is one of `voxarray.transforms`: those are applied to subjects beforehand.
        ValueError: For a seed below 0, or less than one patch per image.
    """

    def __init__(
        self,
        subjects: Sequence[Any],
        sampler: PatchSampler,
        patches_per_image: int = 1,
        transform: Callable[[Patch], Any] | None = None,
        seed: int = 0,
    ) -> None:
        self._loader = PatchLoader(subjects, sampler, patches_per_image, transform, seed)
        self._order = Order()

    def __len__(self) -> int:
        return self._loader.total

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The patches of a batch, which a `DataLoader` asks for at once."""
        checked = [self._checked(index) for index in indices]
        known = self._order.see(checked)
        places = [self._loader.start(index) for index in checked]
        upcoming = self._upcoming if known else None
        return self._loader.read(checked, places, upcoming)

    def _upcoming(self) -> list[tuple[int, None]]:
        return [(index, None) for index in self._order.upcoming(len(self))]

    def _checked(self, index: int) -> int:
        size, number = len(self), operator.index(index)
        if not -size <= number < size:
            raise OutOfRangeError(
                f"index {number} is out of range: the number of patches is {size}"
            )
        return number % size

    def _repr_html_(self) -> str:
        """A table of what was asked for, for notebooks."""
        return self._loader.html(type(self).__name__)

    def __repr__(self) -> str:
        return self._loader.text(type(self).__name__)

    @property
    def epoch(self) -> int:
        """Number of the pass over the data; the same index gives another patch in each pass."""
        return self._loader.epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin another pass; call it before the loader's iterator is made."""
        self._loader.set_epoch(epoch)
