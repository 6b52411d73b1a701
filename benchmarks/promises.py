"""What the project promises of its speed and memory, held against the last results."""

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
        kept = (self.at_most is None or figure <= self.at_most) and (
            self.at_least is None or figure >= self.at_least
        )
        return f"  {'kept' if kept else 'BROKEN':<6} {figure:9.3f}  ({bound:>8})  {self.text}"


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


def _whole(kind: str, name: str) -> Callable[[Results], float]:
    return lambda results: results["patches"]["scans"][kind]["whole"][name]


def _statistics(kind: str) -> Callable[[Results], float]:
    def ratio(results: Results) -> float:
        ours, dasks = results["statistics"]["scans"][kind].values()
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
IGZIP = "igzip: decoding alone"


def _promises_of(kind: str, times_igzip: float) -> list[Promise]:
    """Promises made for each kind of scan."""
    base, full = _convert(kind, BASE), _convert(kind, FULL)
    ours = _patch(kind, "voxarray")
    limit, tensorstore = _patch(kind, "RAM: slice and copy"), _patch(kind, "tensorstore")
    whole = _ratio(_whole(kind, "zarr-python"), _whole(kind, "voxarray"))
    return [
        Promise(f"{kind}: base / igzip", _ratio(base, _convert(kind, IGZIP)), times_igzip),
        *(
            Promise(f"{kind}: {peer} / base", _ratio(_convert(kind, peer), base), None, bound)
            for peer, bound in (("ngff-zarr, Python API", 7), ("nibabel + zarr-python", 4))
        ),
        *(
            Promise(f"{kind}: {peer} / full", _ratio(_convert(kind, peer), full), None, 10)
            for peer in ("ngff-zarr CLI", "TorchIO 2, .nii.zarr")
        ),
        Promise(f"{kind}: peak of base, MiB", _convert(kind, BASE, "peak_mib"), 256),
        Promise(f"{kind}: peak of full, MiB", _convert(kind, FULL, "peak_mib"), 256),
        Promise(f"{kind}: patch / RAM copy", _ratio(ours, limit), 8.5),
        Promise(f"{kind}: patch, tensorstore / ours", _ratio(tensorstore, ours), None, 0.95),
        *(
            Promise(f"{kind}: patch, {peer} / ours", _ratio(_patch(kind, peer), ours), None, bound)
            for peer, bound in (("zarr-python", 2), ("dask graph", 8))
        ),
        Promise(
            f"{kind}: patch, TorchIO 1 from .nii.gz / ours",
            _ratio(lambda results: results["patches"]["scans"][kind]["torchio1"], ours),
            None,
            300,
        ),
        Promise(f"{kind}: whole as tensor, zarr-python / ours", whole, None, 2),
        Promise(f"{kind}: dask's histogram / all statistics", _statistics(kind), None, 3),
    ]


def _formats(*keys: str) -> Callable[[Results], float]:
    def figure(results: Results) -> float:
        found = results["formats"]
        for key in keys:
            found = found[key]
        return float(found)

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
    for way, decodings in (("voxarray", 1.01), ("voxarray, by seek index", 2.01)):
        faster = _ratio(peer, _formats("pass", way, "seconds"))
        promises += [
            Promise(f"pass over .nii.gz, TorchIO 2 / {way}", faster, None, 10),
            Promise(f"{way}: decoded / voxels", _formats("pass", way, "decoded"), decodings),
        ]
    headers = _formats("dicom", "voxarray: headers")
    return [*promises, Promise("headers of 1000 DICOM slices, s", headers, 2)]


PROMISES = [
    *_promises_of("head", 1.8),
    *_promises_of("noisy", 1.3),
    *_promises_of_files(),
    Promise("peak, four times deeper / cube, base", _deeper(BASE), 1.1, 0.9),
    Promise("peak, four times deeper / cube, full", _deeper(FULL), 1.1, 0.9),
    Promise(
        "peak of 4 GiB, MiB",
        lambda results: _row(results["convert"]["four_gib"], FULL)["peak_mib"],
        512,
    ),
    Promise("fixed cost, s", lambda results: results["convert"]["small"][0]["full"], 0.080),
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


def _loading(kind: str) -> list[Promise]:
    """Promises about patches through a loader with two workers."""
    ours = _rate(kind, "voxarray, default")
    peers = (
        ("tensorstore", 1),
        ("zarr-python", 4),
        ("dask graph", 10),
        ("TorchIO 1.2.1, .nii.gz", 300),
        ("TorchIO 2, .nii.zarr", 8),
    )
    peak = "resident_mib"
    return [
        *(
            Promise(f"{kind}: loading, ours / {peer}", _ratio(ours, _rate(kind, peer)), None, bound)
            for peer, bound in peers
        ),
        *(
            Promise(
                f"{kind}: loading a training archive, ours / {peer}",
                _ratio(_rate(kind, "voxarray, training"), _rate(kind, f"{peer}, training")),
                None,
                bound,
            )
            for peer, bound in peers[:3]
        ),
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
            f"{kind}: loading, 2 workers / 1",
            _ratio(ours, _rate(kind, "voxarray, default", "one_worker")),
            None,
            1.8,
        ),
        *(
            Promise(
                f"{kind}: peak of a worker, {profile}, MiB",
                lambda results, profile=profile: results["loading"]["scans"][kind]["peak"][profile][
                    peak
                ],
                128,
            )
            for profile in ("default", "training", "raw")
        ),
    ]


PROMISES += [promise for kind in ("head", "noisy") for promise in _loading(kind)]


VOXARRAY, TORCHIO = "voxarray, to an archive", "TorchIO 1.2.1, to a .nii"


def _preprocess(size: str, suffix: str, name: str, field: str) -> Callable[[Results], float]:
    return lambda results: _row(results["preprocess"][size][suffix], name)[field]


def _preprocessing() -> list[Promise]:
    """Promises about a pipeline of transforms, against TorchIO doing the same."""
    promises = []
    for suffix in (".nii", ".nii.gz"):
        for size, smaller in (("160", 2), ("512", 10)):
            for field, text, bound in (("seconds", "time", 1), ("peak_mib", "peak", smaller)):
                ours, theirs = (
                    _preprocess(size, suffix, name, field) for name in (VOXARRAY, TORCHIO)
                )
                text = f"preprocessing {size}³ {suffix}: {text}, TorchIO / ours"
                promises.append(Promise(text, _ratio(theirs, ours), None, bound))
        peak = _preprocess("four_gib", suffix, VOXARRAY, "peak_mib")
        promises.append(Promise(f"preprocessing 4 GiB {suffix}: peak, MiB", peak, 600))
    return promises


PROMISES += _preprocessing()


def _cohort(name: str) -> Callable[[Results], float]:
    return lambda results: _row(results["cohort"]["rows"], name)["seconds"]


def _of_ideal(results: Results, *place: str) -> float:
    found = results["cohort"]
    for key in place:
        found = found[key]
    return float(found["throughput_of_ideal"])


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
    found = results(trial=parser.parse_args(arguments).trial)
    for promise in PROMISES:
        print(promise.verdict(found))


if __name__ == "__main__":
    main()
