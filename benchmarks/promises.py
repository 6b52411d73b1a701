"""What the project promises of its speed and memory, held against the last results.

0.1.0 had one codec, lz4 with bitshuffle, and its promises of archives were of that. The profile
``fast`` took it over and keeps them, bound for bound: lines that name ``fast`` are those. The
default profile makes smaller archives that take longer to encode and decode; where that shows, it
has bounds of its own, against ``fast`` and against the peers, and where it does not, the old ones.
Lines that name no profile are of the default one, or of no archive.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness import results

Results = dict[str, Any]


@dataclass(frozen=True)
class Promise:
    """A figure and its bound.

    Attributes:
        text: What is compared.
        measured: The figure, from the results of all suites by name.
        at_most: Upper bound, if there is one.
        at_least: Lower bound, if there is one.
    """

    text: str
    measured: Callable[[Results], float]
    at_most: float | None = None
    at_least: float | None = None

    def verdict(self, results: Results) -> str:
        """One line: kept, broken, or not measured."""
        bound = f">= {self.at_least}" if self.at_most is None else f"<= {self.at_most}"
        try:
            figure = self.measured(results)
        except (KeyError, StopIteration):  # a suite that was not run, or a peer left out
            return f"  ?      {'':>9}  ({bound:>8})  {self.text}"
        is_kept = (self.at_most is None or figure <= self.at_most) and (
            self.at_least is None or figure >= self.at_least
        )
        return f"  {'kept' if is_kept else 'BROKEN':<6} {figure:9.3f}  ({bound:>8})  {self.text}"


def _convert(kind: str, name: str, field: str = "seconds") -> Callable[[Results], float]:
    return lambda results: _row(results["convert"]["scans"][kind], name)[field]


def _row(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows if row["name"] == name)


def _ratio(
    above: Callable[[Results], float], below: Callable[[Results], float]
) -> Callable[[Results], float]:
    return lambda results: above(results) / below(results)


def _patch(kind: str, name: str) -> Callable[[Results], float]:
    return lambda results: results["patches"]["scans"][kind]["patches"][name]


def _whole_volume(kind: str, name: str) -> Callable[[Results], float]:
    return lambda results: results["patches"]["scans"][kind]["whole"][name]


def _statistics(kind: str, suffix: str) -> Callable[[Results], float]:
    scans = "fast" if suffix else "scans"

    def ratio(results: Results) -> float:
        ours, dasks = results["statistics"][scans][kind].values()
        return float(dasks / ours)

    return ratio


def _import(name: str) -> Callable[[Results], float]:
    return lambda results: results["imports"]["seconds"][name]


def _deeper(name: str) -> Callable[[Results], float]:
    def flatness(results: Results) -> float:
        deep = _row(results["convert"]["four_times_deeper"], name)["peak_mib"]
        return deep / _convert("head", name, "peak_mib")(results)

    return flatness


BASE, FULL = "voxarray, base level", "voxarray"
BASE_FAST, FULL_FAST = f"{BASE}, fast", f"{FULL}, fast"
IGZIP = "igzip: decoding alone"
NGFF_API, NGFF, TORCHIO2 = "ngff-zarr, Python API", "ngff-zarr CLI", "TorchIO 2, .nii.zarr"
PLAIN = "nibabel + zarr-python"


def _conversions(kind: str, times_igzip: float) -> list[Promise]:
    """Promises about making archives: those of 0.1.0 of ``fast``, and those of the default."""
    base, full = _convert(kind, BASE_FAST), _convert(kind, FULL_FAST)
    default = _convert(kind, FULL)
    times = [
        ("base, fast / igzip", _ratio(base, _convert(kind, IGZIP)), times_igzip, None),
        (f"{NGFF_API} / base, fast", _ratio(_convert(kind, NGFF_API), base), None, 7),
        (f"{PLAIN} / base, fast", _ratio(_convert(kind, PLAIN), base), None, 4),
        (f"{NGFF} / full, fast", _ratio(_convert(kind, NGFF), full), None, 10),
        (f"{TORCHIO2} / full, fast", _ratio(_convert(kind, TORCHIO2), full), None, 10),
        ("full / full, fast", _ratio(default, full), 2.0, None),
        (f"{NGFF_API}, which makes no pyramid / full", *_at_least(kind, NGFF_API, default, 4)),
        (f"{NGFF} / full", *_at_least(kind, NGFF, default, 10)),
        (f"{TORCHIO2} / full", *_at_least(kind, TORCHIO2, default, 10)),
    ]
    peaks = {
        "base": BASE,
        "full": FULL,
        "base, fast": BASE_FAST,
        "full, fast": FULL_FAST,
    }
    return [
        *(Promise(f"{kind}: {text}", *bounds) for text, *bounds in times),
        *(
            Promise(f"{kind}: peak of {text}, MiB", _convert(kind, name, "peak_mib"), 256)
            for text, name in peaks.items()
        ),
    ]


def _at_least(
    kind: str, peer: str, own_figure: Callable[[Results], float], bound: float
) -> tuple[Callable[[Results], float], None, float]:
    return _ratio(_convert(kind, peer), own_figure), None, bound


def _reading(kind: str, suffix: str) -> list[Promise]:
    """Promises about an archive that is open: the same of ``fast`` and of the default.

    Args:
        kind: Of scan.
        suffix: What names of results end with.
    """
    own_figure = _patch(kind, f"voxarray{suffix}")
    limit, tensorstore = _patch(kind, "RAM: slice and copy"), _patch(kind, f"tensorstore{suffix}")
    whole_ratio = _ratio(
        _whole_volume(kind, f"zarr-python{suffix}"), _whole_volume(kind, f"voxarray{suffix}")
    )
    title = f"{kind}{suffix}"
    return [
        Promise(f"{title}: patch / RAM copy", _ratio(own_figure, limit), 8.5),
        Promise(f"{title}: patch, tensorstore / ours", _ratio(tensorstore, own_figure), None, 0.95),
        *(
            Promise(
                f"{title}: patch, {peer} / ours",
                _ratio(_patch(kind, f"{peer}{suffix}"), own_figure),
                None,
                bound,
            )
            for peer, bound in (("zarr-python", 2), ("dask graph", 8))
        ),
        Promise(
            f"{title}: patch, TorchIO 1 from .nii.gz / ours",
            _ratio(lambda results: results["patches"]["scans"][kind]["torchio1"], own_figure),
            None,
            300,
        ),
        Promise(f"{title}: whole as tensor, zarr-python / ours", whole_ratio, None, 2),
        Promise(f"{title}: dask's histogram / all statistics", _statistics(kind, suffix), None, 3),
    ]


def _formats(*keys: str) -> Callable[[Results], float]:
    def figure(results: Results) -> float:
        value = results["formats"]
        for key in keys:
            value = value[key]
        return float(value)

    return figure


def _promises_of_files() -> list[Promise]:
    """Promises made for files that are read as they are."""
    promises = []
    for suffix, limit, bound in (
        ("nii", "np.memmap and copy", 1.5),
        ("nii.gz", "RAM: slice and copy", 2),
    ):
        ratio = _ratio(_formats(suffix, "voxarray"), _formats(suffix, limit))
        promises.append(Promise(f"patch of .{suffix} / {limit}", ratio, bound))
    peer = _formats("pass", "TorchIO 2", "seconds")
    for reader, decodings in (("voxarray", 1.01), ("voxarray, by seek index", 2.01)):
        faster = _ratio(peer, _formats("pass", reader, "seconds"))
        promises += [
            Promise(f"pass over .nii.gz, TorchIO 2 / {reader}", faster, None, 10),
            Promise(f"{reader}: decoded / voxels", _formats("pass", reader, "decoded"), decodings),
        ]
    headers = _formats("dicom", "voxarray: headers")
    return [*promises, Promise("headers of 1000 DICOM slices, s", headers, 2)]


PROMISES = [
    *_conversions("head", 1.8),
    *_conversions("noisy", 1.3),
    *(
        promise
        for kind in ("head", "noisy")
        for which in (", fast", "")
        for promise in _reading(kind, which)
    ),
    *_promises_of_files(),
    *(
        Promise(f"peak, four times deeper / cube, {text}", _deeper(name), 1.1, 0.9)
        for text, name in (
            ("base, fast", BASE_FAST),
            ("full, fast", FULL_FAST),
            ("base", BASE),
            ("full", FULL),
        )
    ),
    *(
        Promise(
            f"peak of 4 GiB{which}, MiB",
            lambda results, which=which: _row(results["convert"]["four_gib"], FULL + which)[
                "peak_mib"
            ],
            512,
        )
        for which in (", fast", "")
    ),
    *(
        Promise(
            f"fixed cost{which}, s",
            lambda results, which=which: results["convert"]["small"][0][f"full{which}"],
            0.080,
        )
        for which in (", fast", "")
    ),
    Promise("open 32 GiB, ms", lambda results: results["patches"]["huge"]["open"], 20),
    Promise("slice 32 GiB, ms", lambda results: results["patches"]["huge"]["slice"], 2),
    Promise(
        "import voxarray / import torchio",
        _ratio(_import("import voxarray"), _import("import torchio (1.2.1)")),
        0.25,
    ),
    Promise(
        "voxarray info / import torchio",
        _ratio(_import("voxarray info scan.nii.gz"), _import("import torchio (1.2.1)")),
        0.5,
    ),
]


def _stored(kind: str, store: str) -> Callable[[Results], float]:
    return lambda results: float(results["loading"]["scans"][kind]["mib_on_disk"][store])


def _rate(kind: str, name: str, workers: str = "two_workers") -> Callable[[Results], float]:
    return lambda results: results["loading"]["scans"][kind][workers][name]


_SAME = {"tensorstore": 1, "zarr-python": 4, "dask graph": 10}
"""Patches a second, ours / theirs, of those that read the same archive."""

_OWN = {"TorchIO 1.2.1, .nii.gz": 300, "TorchIO 2, .nii.zarr": 8}
"""The same of those that read a file of their own."""


def _loading(kind: str) -> list[Promise]:
    """Promises about patches through a loader with two workers."""
    archives = (("fast", ", fast"), ("training", ", training"), ("default", ""))
    fast, default = (_rate(kind, f"voxarray, {profile}") for profile in ("fast", "default"))
    peak = "resident_mib"
    return [
        *(
            Promise(
                f"{kind}, {profile}: loading, ours / {peer}",
                _ratio(_rate(kind, f"voxarray, {profile}"), _rate(kind, f"{peer}{which}")),
                None,
                bound,
            )
            for profile, which in archives
            for peer, bound in _SAME.items()
        ),
        *(
            Promise(
                f"{kind}, {profile}: loading, ours / {peer}",
                _ratio(ours, _rate(kind, peer)),
                None,
                bound,
            )
            for profile, ours in (("fast", fast), ("default", default))
            for peer, bound in _OWN.items()
        ),
        # Where its filter changed, fast itself is 1.6 times as fast as the codec of 0.1.0.
        Promise(f"{kind}: loading, fast / default", _ratio(fast, default), 2.5),
        *(
            Promise(
                f"{kind}: loading, {profile} / mlarray",
                _ratio(_rate(kind, f"voxarray, {profile}"), _rate(kind, "mlarray (blosc2)")),
                None,
                bound,
            )
            for profile, bound in (("raw", 1.8), ("training", 0.65))
        ),
        Promise(
            f"{kind}: size on disk, training / mlarray",
            _ratio(_stored(kind, "training"), _stored(kind, "mlarray")),
            1.0,
        ),
        Promise(
            f"{kind}: size on disk, default / .nii.gz",
            _ratio(_stored(kind, "default"), _stored(kind, "nii.gz")),
            1.05,
        ),
        *(
            Promise(
                f"{kind}, {profile}: loading, 2 workers / 1",
                _ratio(ours, _rate(kind, f"voxarray, {profile}", "one_worker")),
                None,
                1.8,
            )
            for profile, ours in (("fast", fast), ("default", default))
        ),
        *(
            Promise(
                f"{kind}: peak of a worker, {profile}, MiB",
                lambda results, profile=profile: results["loading"]["scans"][kind]["peak"][profile][
                    peak
                ],
                128,
            )
            for profile in ("fast", "default", "training", "raw")
        ),
    ]


PROMISES += [promise for kind in ("head", "noisy") for promise in _loading(kind)]


def _decoding(bits: str) -> Callable[[Results], float]:
    """Least speed of decoding by the default, as a multiple of that by the codec of 0.1.0."""

    def slowest(results: Results) -> float:
        rows = [row for row in results["codecs"]["rows"] if not row["scan"].startswith("labels")]
        return min(
            row["profiles"]["default"]["decode"] / row["profiles"]["0.1.0"]["decode"]
            for row in rows
            if (row["dtype"] in ("int8", "uint8")) == (bits == "8 bit")
        )

    return slowest


def _slower(pipeline: str) -> Callable[[Results], float]:
    """Most CPU of a pipeline with the default, as a multiple of that with the codec of 0.1.0."""
    return lambda results: max(
        result[pipeline]["ratio"] for result in results["pipelines"]["scans"].values()
    )


PROMISES += [
    *(
        Promise(f"default: decoding / 0.1.0's codec, least of {bits}", _decoding(bits), None, bound)
        for bits, bound in (("8 bit", 0.75), ("16 bit and more", 0.5))
    ),
    *(
        Promise(f"default: {way}, CPU / by 0.1.0's codec, most of all kinds", _slower(way), 1.3)
        for way in ("convert", "statistics", "preprocess", "loader")
    ),
]


VOXARRAY, TORCHIO = "voxarray, to an archive", "TorchIO 1.2.1, to a .nii"


def _preprocess(size: str, suffix: str, name: str, field: str) -> Callable[[Results], float]:
    return lambda results: _row(results["preprocess"][size][suffix], name)[field]


def _preprocessing() -> list[Promise]:
    """Promises about a pipeline of transforms, against TorchIO doing the same."""
    promises = []
    for suffix in (".nii", ".nii.gz"):
        for size, smaller in (("160", 2), ("512", 10)):
            for field, text, bound in (("seconds", "time", 1), ("peak_mib", "peak", smaller)):
                own_figure, torchio = (
                    _preprocess(size, suffix, name, field) for name in (VOXARRAY, TORCHIO)
                )
                text = f"preprocessing {size}³ {suffix}: {text}, TorchIO / ours"
                promises.append(Promise(text, _ratio(torchio, own_figure), None, bound))
        peak = _preprocess("four_gib", suffix, VOXARRAY, "peak_mib")
        promises.append(Promise(f"preprocessing 4 GiB {suffix}: peak, MiB", peak, 600))
    return promises


PROMISES += _preprocessing()


def _cohort(name: str) -> Callable[[Results], float]:
    return lambda results: _row(results["cohort"]["rows"], name)["seconds"]


def _of_ideal(results: Results, *keys: str) -> float:
    value = results["cohort"]
    for key in keys:
        value = value[key]
    return float(value["throughput_of_ideal"])


PROMISES += [
    Promise(
        "cohort: of the ideal throughput, 300 scans", lambda r: _of_ideal(r, "long"), None, 0.85
    ),
    Promise("cohort: of the ideal throughput, 30 scans", _of_ideal, None, 0.85),
    *(
        Promise(
            f"cohort: {peer} / voxarray convert",
            _ratio(_cohort(peer), _cohort("voxarray convert")),
            None,
            10,
        )
        for peer in ("looping ngff-zarr's Python API", "looping TorchIO 2's save to .nii.zarr")
    ),
    Promise(
        "cohort: 100,000 rows open and filter, s",
        lambda results: results["cohort"]["catalogue_seconds"],
        1,
    ),
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trial", action="store_true", help="the figures of the last trial")
    loaded = results(trial=parser.parse_args(arguments).trial)
    for promise in PROMISES:
        print(promise.verdict(loaded))


if __name__ == "__main__":
    main()
