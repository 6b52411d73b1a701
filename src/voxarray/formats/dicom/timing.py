"""When the volumes of a time series were acquired, where the files say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from voxarray.formats.dicom.frame import CINE, Frame

_SECONDS: dict[str, float] = {
    CINE: 1e-3,
    "temporal_offset": 1.0,
    "frame_reference_time": 1e-3,
    "trigger_time": 1e-3,
    "temporal_resolution": 1e-3,
}

_EVEN = 0.01
"""Share of the step by which one of them may differ."""


_DAY = 24 * 3600.0


def on_one_clock(frames: Sequence[Frame]) -> Sequence[Frame]:
    """Frames whose acquisition times all count from the same midnight.

    What was acquired after the next midnight has the smaller time. Where dates are gone, as from
    anonymised files, midnight lies in a gap of more than half a day: no series takes that long.

    Args:
        frames: Those of a series.
    """
    times = [frame.separators.get("acquisition_time") for frame in frames]
    known = [time for time in times if time is not None]
    if len(known) < len(times) or not known:
        return frames
    days = _days([frame.separators.get("acquisition_day") for frame in frames], known)
    if not any(days):
        return frames
    return [
        replace(frame, separators={**frame.separators, "acquisition_time": time + _DAY * day})
        for frame, time, day in zip(frames, known, days, strict=True)
    ]


def _days(dates: Sequence[int | None], times: Sequence[float]) -> list[int]:
    """Midnights between the first day of a series and each time."""
    known = [day for day in dates if day is not None]
    if len(known) == len(dates):
        return [day - min(known) for day in known]
    ordered = sorted(set(times))
    gap, last = max(((b - a, a) for a, b in pairwise(ordered)), default=(0.0, 0.0))
    return [int(gap > _DAY / 2 and time <= last) for time in times]


def volume_step(frames: Sequence[Frame]) -> float:
    """Seconds between volumes; 0 if it is not stated, or not even.

    Times of the planes themselves come first. For an echo-planar series of 2-D slices without
    them, a volume takes one repetition time; for any other sequence it would be a guess.

    Args:
        frames: The planes of one slice, one per volume, in order.
    """
    for key in (CINE, "temporal_offset", "frame_reference_time", "trigger_time"):
        step = _even_step([frame.separators.get(key) for frame in frames])
        if step:
            return step * _SECONDS[key]
    stated: float | None = frames[0].separators.get("temporal_resolution")
    if stated:
        return stated * _SECONDS["temporal_resolution"]
    step = _even_step([frame.separators.get("acquisition_time") for frame in frames])
    if step:
        return step
    if frames[0].separators.get("is_planar_epi"):
        return float(frames[0].facts.get("repetition_time", 0.0)) * 1e-3
    return 0.0


def _even_step(times: Sequence[float | None]) -> float:
    stated = [time for time in times if time is not None]
    if len(stated) < len(times) or len(stated) < 2:
        return 0.0
    step = (stated[-1] - stated[0]) / (len(stated) - 1)
    even = all(abs(b - a - step) <= _EVEN * abs(step) for a, b in pairwise(stated))
    return step if even and step > 0 else 0.0
