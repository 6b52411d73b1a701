"""The results as pictures for the README and the site, under ``notebooks/pictures``.

python benchmarks/plots.py [--trial]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness import HERE, TRIALS, results
from promises import BASE, FULL, IGZIP

PICTURES = HERE.parent / "notebooks" / "pictures"
OURS, THEIRS, LIMIT = "#00897b", "#9aa5ad", "#d5b26b"
SHADES = {FULL: OURS, "nibabel + zarr-python, sharded as here": "#6d7f8b"}
OTHER = "#b08968"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trial", action="store_true", help="of a trial, beside its results")
    trial = parser.parse_args(arguments).trial
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    loaded = results(trial=trial)
    for name, (needed, draw) in FIGURES.items():
        if all(suite in loaded for suite in needed):
            figure = draw(*(loaded[suite] for suite in needed))
            path = (TRIALS if trial else PICTURES) / f"{name}.png"
            figure.savefig(path, dpi=130, metadata={"Software": None})
            print(f"wrote {path.relative_to(HERE.parent)}")


def conversion(result: dict[str, Any]) -> Figure:
    """Time and peak memory of each contender, as bars."""
    rows = result["scans"]["head"]
    names = [row["name"] for row in rows][::-1]
    figure = Figure((9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, field, digits, title in (
        (left, "seconds", ",.2f", "seconds"),
        (right, "peak_mib", ",.0f", "peak memory above the imports, MiB"),
    ):
        values = [row[field] for row in rows][::-1]
        colours = [_colour(name) for name in names]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, [f"{value:{digits}}" for value in values], padding=3)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 1.5, max(values) * 4)
        axes.set_xlabel(f"{title} (logarithmic)")
        axes.tick_params(axis="y", length=0)
    size = result["size"]
    figure.suptitle(
        f"A .nii.gz of {size}\N{SUPERSCRIPT THREE} int16 voxels to Zarr{_where(result)}",
        fontsize=10,
    )
    return figure


def volumes(result: dict[str, Any]) -> Figure:
    """Time and peak over the size of a volume."""
    figure = Figure((9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = {float(gib): rows for gib, rows in result["volumes"].items()}
    names = list(dict.fromkeys(row["name"] for rows in sizes.values() for row in rows))
    for axes, field, title in ((left, "seconds", "seconds"), (right, "peak_mib", "peak, MiB")):
        for name in names:
            points = [
                (gib, row[field])
                for gib, rows in sizes.items()
                for row in rows
                if row["name"] == name
            ]
            axes.plot(*zip(*points, strict=True), "o-", label=name, color=SHADES.get(name, OTHER))
        _logarithmic(axes, list(sizes), "GiB of voxels", title)
    right.plot(list(sizes), [gib * 1024 for gib in sizes], ":", color="black", label="the voxels")
    right.legend(frameon=False, fontsize=8)
    figure.suptitle(f"Converting a .nii.gz to Zarr{_where(result)}", fontsize=10)
    return figure


def images(result: dict[str, Any]) -> Figure:
    """Time over the number of images, by one worker and by two."""
    figure = Figure((4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for workers, marker in ((1, "o-"), (2, "s-")):
        rows = [row for row in result["images"] if row["workers"] == workers]
        counts, seconds = [row["images"] for row in rows], [row["seconds"] for row in rows]
        colour = OURS if workers == 2 else "#80cbc4"
        axes.plot(
            counts, seconds, marker, color=colour, label=f"{workers} worker{'s' * (workers > 1)}"
        )
    _logarithmic(axes, sorted({row["images"] for row in result["images"]}), "images", "seconds")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))  # not two decades
    axes.legend(frameon=False)
    shape = " x ".join(map(str, result["shape"]))
    axes.set_title(f"voxarray convert, images of {shape}{_where(result)}", fontsize=9)
    return figure


def nodes(result: dict[str, Any]) -> Figure:
    """Hours over nodes, simulated."""
    figure = Figure((4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    curve = result["curve"]
    counts, hours = [point["nodes"] for point in curve], [point["hours"] for point in curve]
    axes.plot(counts, [hours[0] / n for n in counts], ":", color="black", label="ideal")
    axes.plot(counts, hours, "o-", color=OURS, label="simulated")
    _logarithmic(axes, counts, f"nodes of {result['workers_per_node']} workers", "hours")
    axes.legend(frameon=False)
    axes.set_title(
        f"{result['images']:,} images, simulated from measured costs{_where(result)}", fontsize=9
    )
    return figure


Draw = Callable[..., Figure]
FIGURES: dict[str, tuple[tuple[str, ...], Draw]] = {
    "bench-convert": (("convert",), conversion),
    "bench-volumes": (("scaling_volumes",), volumes),
    "bench-images": (("scaling_images",), images),
    "bench-nodes": (("simulation",), nodes),
}
"""Pictures, the suites that they show, and how they are drawn."""


def _logarithmic(axes: Axes, ticks: list[float], across: str, upwards: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=across, ylabel=upwards)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.25)


def _colour(name: str) -> str:
    if name == IGZIP:
        return LIMIT
    return OURS if name in (BASE, FULL) or name.startswith("voxarray") else THEIRS


def _where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"\n{result['date'][:10]}, {machine['cores']} cores of {machine['cpu']}"


if __name__ == "__main__":
    main()
