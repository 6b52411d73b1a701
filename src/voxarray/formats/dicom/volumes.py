"""Which plane belongs to which volume, where a series holds several planes at each position.

Elements that take the same values at every position tell volumes apart: echo time, b-value, time,
segment, and so on. Where none does, the order in which the planes were numbered must be that of
whole volumes, or of whole positions. Otherwise nothing is assumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.formats.dicom.frame import CINE, Frame
from voxarray.formats.dicom.timing import on_one_clock, volume_step
from voxarray.source.base import Channels

EMPTY = -1
"""In place of the plane of a segment that has none at a position."""

TIME = (
    CINE,
    "temporal_position",
    "temporal_index",
    "temporal_offset",
    "trigger_time",
    "frame_reference_time",
    "acquisition_number",
    "acquisition_time",
    "time_slot",
    "time_slice",
    "nuclear_phase",
    "phase_number",
)

_SEPARATORS = (
    "segment",
    "frame_type",
    "echo_time",
    "inversion_time",
    "flip_angle",
    "b_value",
    "gradient_direction",
    "label",
    "energy_window",
    "detector",
    "rotation",
    "rr_interval",
    "angular_view",
    *TIME,
    "stack",
    *(f"dimension_{n}" for n in range(16)),
)
"""The most telling first: one that separates no further is not used."""

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Volumes:
    """Planes by volume and slice.

    Attributes:
        planes: Numbers of frames, (C, D); `EMPTY` where there is none.
        channels: What C counts.
    """

    planes: NDArray[np.intp]
    channels: Channels


def arrange(
    frames: Sequence[Frame],
    slices: Sequence[int],
    depth: int,
    *,
    stated: int | None = None,
    with_holes: bool = False,
) -> Volumes:
    """Sort planes into volumes, the volume that was acquired first before the others.

    Args:
        frames: The planes.
        slices: The slice of each.
        depth: Number of slices.
        stated: Number of Temporal Positions.
        with_holes: Whether planes may be absent, as in segmentations.

    Raises:
        FormatError: ``DUPLICATE_POSITION``, ``MISSING_SLICE``, ``AMBIGUOUS_VOLUMES``.
    """
    if with_holes:
        return _segments(frames, slices, depth)
    count = _volume_count(slices, depth)
    frames = on_one_clock(frames)
    stacks = [[n for n, index in enumerate(slices) if index == z] for z in range(depth)]
    used, keys = _separate(frames, stacks)
    if len(set(keys)) < count:
        keys = _by_number(frames, stacks, keys)
    order = _in_order(frames, keys, used)
    planes = np.array([[_find(stack, keys, key) for stack in stacks] for key in order], np.intp)
    is_time = set(used) <= set(TIME) if used else stated == count
    if count == 1 or not is_time:
        return Volumes(planes, Channels())
    first_slice = [frames[n] for n in planes[:, 0]]
    return Volumes(planes, Channels("time", volume_step(first_slice)))


def _volume_count(slices: Sequence[int], depth: int) -> int:
    counts = Counter(slices)
    sizes = [counts[z] for z in range(depth)]
    count = Counter(sizes).most_common(1)[0][0]
    if 0 in sizes or min(sizes) < count:
        lacking = [z for z, size in enumerate(sizes) if size < count]
        raise FormatError(
            f"there are fewer than {count} planes at {_some(lacking)} (counted from 0), where "
            f"other slices have {count}: find the missing files",
            code="MISSING_SLICE",
        )
    if max(sizes) > count:
        crowded = [z for z, size in enumerate(sizes) if size > count]
        raise FormatError(
            f"there are {max(sizes)} planes at the position of {_some(crowded)} (counted from 0), "
            f"where other slices have {count}: find the files that do not belong there",
            code="DUPLICATE_POSITION",
        )
    return count


def _separate(
    frames: Sequence[Frame], stacks: Sequence[Sequence[int]]
) -> tuple[list[str], list[Key]]:
    """Separators that take the same values at each position, and the key of each frame."""
    keys: list[Key] = [()] * len(frames)
    used: list[str] = []
    for name in _SEPARATORS:
        finer = [(*key, f.separators.get(name)) for key, f in zip(keys, frames, strict=True)]
        if len(set(finer)) == len(set(keys)):
            continue
        kinds = [Counter(finer[n] for n in stack) for stack in stacks]
        if all(kind == kinds[0] for kind in kinds):
            keys, used = finer, [*used, name]
    return used, keys


def _by_number(
    frames: Sequence[Frame], stacks: Sequence[Sequence[int]], keys: Sequence[Key]
) -> list[Key]:
    """Keys completed by the rank of each frame among those of its position and key.

    Raises:
        FormatError: If the ranks do not count whole volumes, or whole positions.
    """
    result = list(keys)
    for key in dict.fromkeys(keys):
        groups = [sorted(_orders(frames, stack, keys, key)) for stack in stacks]
        if any(a[0] == b[0] for group in groups for a, b in pairwise(group)):
            raise FormatError(
                f"there are {len(groups[0])} planes at one position, and some share an Instance "
                "Number: expected a number of its own for each; find the copies, or the files of "
                "another series",
                code="DUPLICATE_POSITION",
            )
        if not _are_blocks(groups) and not _are_blocks(list(zip(*groups, strict=True))):
            raise FormatError(
                f"there are {len(groups[0])} planes at each position, and neither their numbers "
                "nor another element of the headers says which of them make a volume: put each "
                "volume into a folder of its own",
                code="AMBIGUOUS_VOLUMES",
            )
        for group in groups:
            for rank, (_, n) in enumerate(group):
                result[n] = (*key, rank)
    return result


def _orders(
    frames: Sequence[Frame], stack: Sequence[int], keys: Sequence[Key], key: Key
) -> list[tuple[tuple[int, int], int]]:
    return [(frames[n].order, n) for n in stack if keys[n] == key]


def _are_blocks(groups: Sequence[Sequence[tuple[tuple[int, int], int]]]) -> bool:
    """Whether the numbers of one group all come before those of another."""
    spans = sorted((min(group)[0], max(group)[0]) for group in groups)
    return all(a[1] < b[0] for a, b in pairwise(spans))


def _in_order(frames: Sequence[Frame], keys: Sequence[Key], used: Sequence[str]) -> list[Key]:
    """The keys of the volumes: by time if only that differs, else as they were numbered."""
    firsts: dict[Key, tuple[int, int]] = {}
    for frame, key in zip(frames, keys, strict=True):
        firsts[key] = min(frame.order, firsts.get(key, frame.order))
    if used and set(used) <= set(TIME):
        return sorted(firsts, key=lambda key: ([_rank(part) for part in key], firsts[key]))
    return sorted(firsts, key=lambda key: (firsts[key], [_rank(part) for part in key]))


def _rank(part: Any) -> tuple[bool, Any]:
    """A place for every value among others of its separator; None comes first."""
    return part is not None, 0 if part is None else part


def _find(stack: Sequence[int], keys: Sequence[Key], key: Key) -> int:
    return next(n for n in stack if keys[n] == key)


def _segments(frames: Sequence[Frame], slices: Sequence[int], depth: int) -> Volumes:
    """One channel per segment; a plane that is absent is empty."""
    numbers = sorted({frame.separators["segment"] or 0 for frame in frames})
    planes = np.full((len(numbers), depth), EMPTY, np.intp)
    for n, (frame, z) in enumerate(zip(frames, slices, strict=True)):
        channel = numbers.index(frame.separators["segment"] or 0)
        if planes[channel, z] != EMPTY:
            raise FormatError(
                f"segment {numbers[channel]:g} has two planes at slice {z} (counted from 0): "
                "export the segmentation again",
                code="DUPLICATE_POSITION",
            )
        planes[channel, z] = n
    return Volumes(planes, Channels())


def _some(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"slice {numbers[0]}"
    text = f"slices {', '.join(map(str, numbers[:8]))}"
    return text if len(numbers) <= 8 else f"{text}, ... ({len(numbers)} in all)"
