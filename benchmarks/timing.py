"""How calls are timed in this process: in turns, medians, a line for each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def seconds(function: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def medians(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each way, in turns, so that what disturbs the machine disturbs them all."""
    passes: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            passes[name].append(seconds(run))
    return {name: statistics.median(seconds_by_round) for name, seconds_by_round in passes.items()}


def report(figures: dict[str, float], unit: str) -> dict[str, float]:
    """Print figures, and hand them on."""
    for name, figure in figures.items():
        print(f"  {name:<44}{figure:9.3f} {unit}", flush=True)
    return figures
