"""`GridAggregator`: a volume from what a network made of the patches of a `GridSampler`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxarray import saving
from voxarray.core import memory
from voxarray.core.errors import GridError, StateError, UnsupportedError
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.promotion import tensor_dtype
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Shape3, Shape4
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.patches.accumulator import Accumulator
from voxarray.patches.aggregated import Aggregated
from voxarray.patches.batch_checks import require_convertible, require_tensor
from voxarray.patches.grid_sampler import GridSampler
from voxarray.source.materialise import projected_peak
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    import torch

MODES = ("crop", "average", "hann")

Start = tuple[int, int, int]


class GridAggregator:
    """Combines predictions for the patches of a `GridSampler` into a volume.

    The volume is summed in RAM if it takes at most a quarter of the memory budget (the setting
    ``voxarray.memory-budget``), otherwise in a temporary file. `save` writes it, whatever its size.

    Examples:
        >>> scan = vx.testing.sample()
        >>> sampler = vx.GridSampler(vx.Subject(t1=scan), patch_size=32, patch_overlap=4)
        >>> aggregator = vx.GridAggregator(sampler, overlap_mode="average")
        >>> import torch
        >>> for batch in torch.utils.data.DataLoader(sampler, batch_size=4):
        ...     aggregator.add_batch(batch["t1"]["data"], batch["location"])
        >>> bool((aggregator.get_output_tensor() == scan.data).all())
        True

    Args:
        sampler: The sampler that the patches come from.
        overlap_mode: How overlapping patches are combined: ``"crop"`` takes each voxel from the
            patch whose centre is nearest, ``"average"`` takes the mean, and ``"hann"`` the mean
            weighted with a Hann window.
        downsampling_factor: How many times smaller predictions are than patches, along every axis.
            All patches must start at multiples of it; otherwise, voxels of a prediction would lie
            between those of the volume.

    Raises:
        ValueError: For an unknown mode, or a factor that is not a positive whole number.
        StateError: If patches of the sampler start elsewhere than at multiples of the factor
            (``UNALIGNED_STARTS``); also a RuntimeError.
        GridError: If the volume is smaller than the factor.
    """

    def __init__(
        self, sampler: GridSampler, overlap_mode: str = "crop", downsampling_factor: int = 1
    ) -> None:
        if overlap_mode not in MODES:
            raise ValueError(
                f'Overlap mode must be "crop", "average" or "hann", but {overlap_mode!r} was passed'
            )
        factor = downsampling_factor
        if isinstance(factor, bool) or not isinstance(factor, (int, np.integer)) or factor < 1:
            raise ValueError(
                f"downsampling_factor must be a whole number of at least 1, got {factor!r}"
            )
        _require_aligned(sampler, int(factor))
        self.overlap_mode = overlap_mode
        self._sampler = sampler
        self._factor = downsampling_factor
        self._sums: Accumulator | None = None
        self._dtype = np.dtype(np.float32)
        self._added: Counter[Start] = Counter()
        patch = self._scaled(sampler.patch_size)
        self._window = [_weights(overlap_mode, size) for size in patch]
        self._grid = _coarser(sampler.grid, downsampling_factor)
        self._starts = [[s // downsampling_factor for s in starts] for starts in sampler.starts]

    @names_exhaustion
    def add_batch(self, batch_tensor: torch.Tensor, locations: torch.Tensor) -> None:
        """Add predictions for some patches.

        Args:
            batch_tensor: (B, C, w, h, d), on any device.
            locations: (B, 6), ``batch["location"]``.

        Raises:
            StateError: If these are no tensors, their shapes do not fit each other, or the type of
                the first batch does not hold this one or the sums (``BAD_BATCH``), or a location
                is not one of the sampler's (``UNKNOWN_LOCATION``). With ``"average"`` and
                ``"hann"``, numbers may be rounded to that type, but not become infinite.
            UnsupportedError: For predictions that are not real numbers; also a ValueError.
        """
        from voxarray.tensors.convert import to_numpy

        require_tensor(batch_tensor, "predictions", "(B, C, W, H, D)")
        require_tensor(locations, "locations", "(B, 6)")
        batch = to_numpy(batch_tensor)
        positions = [tuple(map(int, row)) for row in to_numpy(locations)]
        self._require_fit(batch, positions)
        starts = [self._start_of(position) for position in positions]
        sums = self._prepared(batch)
        require_convertible(batch, self._dtype, may_be_rounded=self.overlap_mode != "crop")
        for patch, start in zip(batch, starts, strict=True):
            if self.overlap_mode == "crop":
                box, slices = self._cropped(start)
                sums.region(box)[...] = patch[(slice(None), *slices)]
            else:
                box = [range(s, s + n) for s, n in zip(start, patch.shape[1:], strict=True)]
                self._add(sums.region(box), patch)
            self._added[start] += 1

    @names_exhaustion
    def get_output_tensor(self) -> torch.Tensor:
        """The volume (C, W, H, D), in memory order (C, D, H, W).

        Raises:
            StateError: If patches are missing (``PATCHES_MISSING``).
            MemoryBudgetError: If it needs more memory than allowed: use `save`.
        """
        from voxarray.tensors.convert import read_tensor

        source = self._output()
        memory.require(
            projected_peak(source, tensor_dtype(source.dtype)),
            "the aggregated volume",
            "save(path) writes it to an archive or file piece by piece",
        )
        return read_tensor(source)

    def get_output_image(self, image_class: type[Image] | None = None) -> Image:
        """The volume as an image in RAM, with the affine of the source.

        Args:
            image_class: By default `LabelMap` for integers, else `ScalarImage`.

        Raises:
            StateError, MemoryBudgetError: As `get_output_tensor`.
        """
        from voxarray.tensors.convert import TensorSource

        tensor = self.get_output_tensor()
        source = self._output()
        chosen = image_class or (LabelMap if source.dtype.kind in "iu" else ScalarImage)
        image = chosen(tensor=tensor, affine=source.affine)
        image._sliced = SlicedSource.of(
            TensorSource(image.data, source.affine, origin=source.origin)
        )
        return image

    def save(
        self, path: str | os.PathLike[str], *, label: bool | None = None, overwrite: bool = False
    ) -> None:
        """Write the volume to a file or archive, with the affine of the source, piece by piece.

        Args:
            path: Destination; the suffix says which format.
            label: Whether it is a label map; by default integers are.
            overwrite: Replace an archive that exists.

        Raises:
            StateError: If patches are missing (``PATCHES_MISSING``).
            UnsupportedError: As `Image.save`.
        """
        source = self._output()
        is_label = source.dtype.kind in "iu" if label is None else label
        saving.save(source, path, label=is_label, overwrite=overwrite)

    # --- What comes in --------------------------------------------------------------------------

    def _scaled(self, size: Sequence[int]) -> Shape3:
        x, y, z = (n // self._factor for n in size)
        return x, y, z

    def _require_fit(self, batch: NDArray, positions: Sequence[Sequence[int]]) -> None:
        expected = self._scaled(self._sampler.patch_size)
        if batch.ndim != 5 or batch.shape[2:] != expected or len(batch) != len(positions):
            raise StateError(
                f"The shape of the input batch is {batch.shape}: expected {len(positions)} patches "
                f"of shape {expected}, one per row of `locations`, in a tensor (B, C, W, H, D)",
                code="BAD_BATCH",
            )
        if self._sums is not None and len(self._sums.voxels) != batch.shape[1]:
            raise StateError(
                f"this batch has {batch.shape[1]} channels, but the batches before had "
                f"{len(self._sums.voxels)}: give all batches the same number of channels",
                code="BAD_BATCH",
            )

    def _start_of(self, position: Sequence[int]) -> Start:
        start = position[:3]
        is_known = len(position) == 6 and all(
            s in starts for s, starts in zip(start, self._sampler.starts, strict=True)
        )
        if not is_known:
            raise StateError(
                f"there is no patch at {tuple(position)} in the grid of the sampler: give "
                'batch["location"] of patches from this sampler',
                code="UNKNOWN_LOCATION",
            )
        x, y, z = (s // self._factor for s in start)
        return x, y, z

    def _prepared(self, batch: NDArray) -> Accumulator:
        if batch.dtype.kind not in "biuf":
            raise UnsupportedError(
                f"predictions of type {batch.dtype} have no order or mean: add real numbers"
            )
        if self._sums is None:
            shape: Shape4 = (batch.shape[1], *self._scaled(self._sampler.padded_shape))
            self._dtype = _summed_in(batch.dtype, self.overlap_mode)
            self._sums = Accumulator(shape, self._dtype)
        return self._sums

    def _add(self, sums: NDArray, patch: NDArray) -> None:
        if self.overlap_mode == "hann":
            x, y, z = self._window
            patch = patch * x[:, None, None] * y[:, None] * z
        # Beside the sums, which stay as they are if one of them would become infinite.
        with np.errstate(over="raise"):
            try:
                total = np.add(sums, patch, out=np.empty_like(sums), casting="unsafe")
            except FloatingPointError as error:
                raise StateError(
                    f"the sum of overlapping patches is beyond what {sums.dtype} holds "
                    f"({np.finfo(sums.dtype).max:g}): make the numbers of the predictions smaller, "
                    "or add all predictions as float64 to a new aggregator",
                    code="BAD_BATCH",
                ) from error
        sums[...] = total

    def _cropped(self, start: Start) -> tuple[list[range], tuple[slice, ...]]:
        """Voxels of the volume that a patch decides, and where they are in the patch."""
        box, slices = [], []
        for s, size, overlap, total, padded in zip(
            start,
            self._scaled(self._sampler.patch_size),
            self._sampler.patch_overlap,
            self._scaled(self._sampler.padded_shape),
            [self._sampler.padding is not None] * 3,
            strict=True,
        ):
            half = overlap // 2 // self._factor
            first = half if padded or s > 0 else 0
            last = size - (half if padded or s + size != total else 0)
            box.append(range(s + first, s + last))
            slices.append(slice(first, last))
        return box, tuple(slices)

    # --- What comes out -------------------------------------------------------------------------

    def _output(self) -> Aggregated:
        times, sums = self._times(), self._sums
        if sums is None:
            raise StateError(
                "no patch was added: add the predictions of all patches of the sampler first",
                code="PATCHES_MISSING",
            )
        before = self._scaled(self._sampler.padding.before if self._sampler.padding else (0, 0, 0))
        shape = self._scaled(self._sampler.grid.shape)
        weights = [
            _covered(starts, window, n)[b : b + m]
            for starts, window, n, b, m in zip(
                self._starts,
                self._window,
                self._scaled(self._sampler.padded_shape),
                before,
                shape,
                strict=True,
            )
        ]
        weights[0] = weights[0] * times
        means = self.overlap_mode != "crop"
        images = self._sampler.subject.get_images(intensity_only=False)
        origin = images[0].source.header_of_space
        return Aggregated(sums, before, self._grid, weights if means else None, origin)

    def _times(self) -> int:
        """How often each patch was added, which must be equally often, and once at least."""
        missing = len(self._sampler) - len(self._added)
        if missing:
            raise StateError(
                f"{missing} of {len(self._sampler)} patches {'was' if missing == 1 else 'were'} "
                "not added: the volume would have holes; add the predictions for all patches of "
                "the sampler",
                code="PATCHES_MISSING",
            )
        often = set(self._added.values())
        if len(often) > 1 and self.overlap_mode != "crop":
            raise StateError(
                f"patches were added {min(often)} to {max(often)} times, so the mean is not "
                "defined: add all patches equally often",
                code="PATCHES_UNEVEN",
            )
        return max(often)


def _summed_in(dtype: np.dtype, mode: str) -> np.dtype:
    """Type of the volume: the predictions' own, but float32 for a mean of integers."""
    if mode == "crop":
        return np.dtype(np.uint8) if dtype.kind == "b" else dtype
    return dtype if dtype in (np.float32, np.float64) else np.dtype(np.float32)


def _weights(mode: str, size: int) -> NDArray[np.float64]:
    """Weights of the voxels of a patch along an axis: TorchIO's Hann window has no zeros."""
    if mode != "hann":
        return np.ones(size)
    return np.hanning(size + 2)[1:-1]


def _covered(starts: Sequence[int], window: NDArray, size: int) -> NDArray[np.float64]:
    """Sum of the windows at all starts along an axis.

    Patches lie at all combinations of the starts of three axes, so the sum in the volume is the
    product of the sums along its axes, and needs no volume of its own.
    """
    total = np.zeros(size)
    for start in starts:
        total[start : start + len(window)] += window
    return total


def _require_aligned(sampler: GridSampler, factor: int) -> None:
    """Refuse patches whose predictions would not lie on the voxels of the coarser volume.

    Raises:
        StateError: ``UNALIGNED_STARTS``.
    """
    before = sampler.padding.before if sampler.padding else (0, 0, 0)
    for axis, name in enumerate("WHD"):
        starts, patch = sampler.starts[axis], sampler.patch_size[axis]
        odd = [start for start in (before[axis], *starts) if start % factor]
        if not odd:
            continue
        overlap, size = sampler.patch_overlap[axis], sampler.padded_shape[axis]
        steps_fit = (patch - overlap) % factor == 0 and before[axis] % factor == 0
        larger = sampler.grid.shape[axis] + (patch - size) % factor
        advice = (
            f"Crop or pad the volume along {name}, for example to {larger} voxels"
            if steps_fit
            else f"Choose patch_size and patch_overlap of {name} as multiples of {2 * factor}"
        )
        raise StateError(
            f"along {name}, patches start at {starts} (border in voxels: {before[axis]}). All of "
            f"these must be multiples of downsampling_factor={factor}, and {odd[0]} is not: a "
            "prediction would lie between the voxels of the result, which is smaller by this "
            f"factor. {advice}",
            code="UNALIGNED_STARTS",
        )


def _coarser(grid: Grid, factor: int) -> Grid:
    if factor == 1:
        return grid
    if any(n < factor for n in grid.shape):
        raise GridError(
            f"a volume of {grid.shape} cannot be made {factor} times smaller: use a smaller "
            "downsampling_factor"
        )
    return grid.coarsen((factor,) * 3)
