"""The results as Markdown, between two markers in the README.

python benchmarks/table.py
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness import HERE
from promises import FULL, results

README = HERE.parent / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
KINDS = {"head": "head-like", "noisy": "noisy"}


def main() -> None:
    text = README.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"README.md has no place for the table: add {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{markdown()}\n{END}{after}")
    print("updated README.md")


def markdown() -> str:
    """All tables of the suites that have results."""
    found = results()
    makers = {"convert": _convert, "patches": _patches, "imports": _imports}
    return "\n\n".join(make(found[suite]) for suite, make in makers.items() if suite in found)


def _convert(result: dict[str, Any]) -> str:
    size = result["size"]
    gigabytes = size**3 * 2 / 2**20
    rows = {kind: {row["name"]: row for row in result["scans"][kind]} for kind in KINDS}
    ours = {kind: rows[kind][FULL]["seconds"] for kind in KINDS}
    lines = [
        [
            name,
            *(_compared(rows[kind].get(name), ours[kind]) for kind in KINDS),
            f"{row['peak_mib']:,.0f}",
            row["leaves_out"] or "nothing",
        ]
        for name, row in rows["head"].items()
    ]
    titles = [*(f"{text}, s" for text in KINDS.values()), "peak, MiB", "leaves out"]
    caption = (
        f"**Converting a {size}³ int16 `.nii.gz`** ({gigabytes:,.0f} MiB of voxels): median wall "
        "time, in brackets as a multiple of voxarray's, and peak memory above the imports."
    )
    return "\n\n".join([caption, _grid(["", *titles], lines), _where(result)])


def _compared(row: dict[str, Any] | None, ours: float) -> str:
    return "-" if row is None else f"{row['seconds']:.2f} ({row['seconds'] / ours:.1f}x)"


def _patches(result: dict[str, Any]) -> str:
    scans = result["scans"]
    names = [*scans["head"]["patches"], "TorchIO 1.2.1, from the `.nii.gz`"]
    figures = {kind: [*scans[kind]["patches"].values(), scans[kind]["torchio1"]] for kind in KINDS}
    lines = [
        [name, *(f"{figures[kind][row]:,.2f}" for kind in KINDS)] for row, name in enumerate(names)
    ]
    whole = ", ".join(
        f"{scans[kind]['whole']['voxarray']:.2f} s {text} "
        f"(zarr-python {scans[kind]['whole']['zarr-python']:.2f} s)"
        for kind, text in KINDS.items()
    )
    huge = result["huge"]
    caption = (
        f"**Reading {result['patch']}³ patches** from that archive, opened and warm, in ms. "
        f"The whole volume as a tensor: {whole}. An archive of "
        f"{' x '.join(map(str, huge['shape']))} voxels opens in {huge['open']:.2f} ms and is "
        f"sliced in {huge['slice']:.2f} ms."
    )
    return "\n\n".join([caption, _grid(["", *KINDS.values()], lines), _where(result)])


def _imports(result: dict[str, Any]) -> str:
    lines = [[f"`{name}`", f"{seconds:.2f}"] for name, seconds in result["seconds"].items()]
    caption = "**Starting**: wall time of a whole process."
    return "\n\n".join([caption, _grid(["", "s"], lines), _where(result)])


def _grid(titles: list[str], lines: Iterable[list[str]]) -> str:
    numbers = ["---:" if title != "leaves out" else "---" for title in titles[1:]]
    rows = [titles, ["---", *numbers], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions: dict[str, str] = {}
    for found in result["versions"].values():
        versions |= found
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("zarr", "dask", "ngff-zarr") if name in versions
    )
    return (
        f"<sub>{result['date'][:10]}, {machine['cores']} cores of {machine['cpu']}, Python "
        f"{versions['python']}{', ' + shown if shown else ''}; `make bench` repeats it.</sub>"
    )


if __name__ == "__main__":
    main()
