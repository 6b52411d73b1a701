"""How fast an archive is measured: everything in one pass, against dask's histogram alone.

Of an archive by the default profile, and of one by ``fast``.

python benchmarks/statistics_of_archives.py [--size 512] [--rounds 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import dask.array as da
import numpy as np

import volumes
import voxarray as vx
from environments import OWN
from harness import save
from patches import archive_of
from timing import medians, report
from voxarray.statistics.cache import forget

SIZE = 512
PERCENTS = (0.5, 50, 99.5)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of the scan")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    options = parser.parse_args(arguments)
    scans: dict[str, dict[str, dict[str, float]]] = {"default": {}, "fast": {}}
    for profile, seconds_by_kind in scans.items():
        for kind in ("head", "noisy"):
            store = archive_of(volumes.phantom(kind, (options.size,) * 3), profile)
            seconds_by_kind[kind] = _seconds(vx.ScalarImage(store), options.rounds)
    content = {"size": options.size, "scans": scans["default"], "fast": scans["fast"]}
    save("statistics", content, (OWN,), trial=options.size != SIZE)


def _seconds(image: vx.ScalarImage, rounds: int) -> dict[str, float]:
    """Median seconds of each way, in turns."""

    def everything() -> np.ndarray:
        forget()  # what the round before found
        result = image.statistics()
        assert result.mean < result.maximum
        assert np.all(np.diff(result.percentiles(PERCENTS)) >= 0)
        assert result.std > 0
        return np.array(list(result.as_dict().values()))

    def histogram() -> np.ndarray:
        counts, _ = da.histogram(image.dask, bins=1 << 16, range=(-(2**15) - 0.5, 2**15 - 0.5))
        result: np.ndarray = counts.compute()
        return result[result > 0]

    contenders: dict[str, Callable[[], np.ndarray]] = {
        "voxarray: mean, deviation, percentiles, counts": everything,
        "dask: histogram alone": histogram,
    }
    assert np.array_equal(everything(), histogram())
    return report(medians(contenders, rounds), "s")


if __name__ == "__main__":
    main()
