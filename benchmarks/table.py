"""The results as Markdown: six of them and codecs between markers in the README, all on the site.

python benchmarks/table.py [--trial]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from harness import HERE, TRIALS, results
from promises import FULL
from releases import known, outdated, rows

README = HERE.parent / "README.md"
TABLES = HERE / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
CODECS_BEGIN, CODECS_END = "<!-- codecs:begin -->", "<!-- codecs:end -->"
KINDS = {"head": "head-like", "noisy": "noisy"}
_LOOP = "looping ngff-zarr's Python API"
_ABOUT = {"suite", "date", "machine", "versions"}
_HEADING = """# Benchmark results

Written by `make bench` from `benchmarks/results/*.json`. [What is compared with what, and
how](benchmarks.md), stands
beside the scripts.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trial", action="store_true", help="of a trial, beside its results")
    if parser.parse_args(arguments).trial:
        path = TRIALS / "tables.md"
        path.write_text(page(results(trial=True)), "utf-8")
        print(f"wrote {path.relative_to(HERE.parent)}")
        return
    for path, update in ((README, with_instead), (TABLES, with_tables)):
        text = path.read_text("utf-8")
        if BEGIN not in text or END not in text or (CODECS_BEGIN not in text and path == README):
            raise SystemExit(f"{path} has no place for the tables: add {BEGIN} and {END}")
        path.write_text(update(text), "utf-8")
        print(f"updated {path.relative_to(HERE.parent)}")


def with_instead(text: str) -> str:
    """The project's README with the results as they are now: six of them, and codecs."""
    loaded = results()
    text = _between(text, _instead(loaded))
    return _between(text, _profiles(loaded["codecs"]), CODECS_BEGIN, CODECS_END)


def with_tables(text: str) -> str:
    """The README of the benchmarks with the main tables as they are now."""
    loaded = results()
    tables = "\n\n".join(_MAKERS[suite](loaded[suite]) for suite in _MAKERS if suite in loaded)
    return _between(text, tables.replace("(notebooks/", "(../notebooks/"))


def _between(text: str, replacement: str, begin: str = BEGIN, end: str = END) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{replacement}\n{end}{after}"


def _instead(loaded: dict[str, Any]) -> str:
    """Six jobs: what would do them otherwise, and what either costs."""
    convert, cohort = loaded["convert"], loaded["cohort"]
    rows = {row["name"]: row for row in convert["scans"]["head"]}
    patches = loaded["patches"]["scans"]["head"]
    preprocess = {row["name"]: row for row in loaded["preprocess"]["512"][".nii.gz"]}
    loading = loaded["loading"]["scans"]["head"]["two_workers"]
    largest, volumes = list(loaded["scaling_volumes"]["volumes"].items())[-1]
    volume = {row["name"]: row for row in volumes}
    scans = {row["name"]: row["seconds"] for row in cohort["rows"]}
    lines = [
        [
            f"a {convert['size']}³ `.nii.gz` to OME-Zarr",
            "the CLI of ngff-zarr",
            _full_cost(rows["ngff-zarr CLI"]),
            _full_cost(rows["voxarray convert (CLI)"]),
        ],
        [
            f"a scan of {largest} GiB to Zarr",
            "nibabel and zarr-python",
            _full_cost(volume["nibabel + zarr-python, sharded as here"]),
            _full_cost(volume["voxarray"]),
        ],
        [
            f"{cohort['scans']} scans of {cohort['size']}³ to archives",
            "a loop over ngff-zarr",
            f"{scans[_LOOP]:.1f} s",
            f"{scans['voxarray convert']:.1f} s",
        ],
        [
            f"a {loaded['patches']['patch']}³ patch of a {loaded['patches']['size']}³ scan",
            "TorchIO 1.2.1, from a `.nii.gz`",
            f"{patches['torchio1']:,.0f} ms",
            f"{patches['patches']['voxarray']:.1f} ms, from an archive",
        ],
        [
            "a 512³ `.nii.gz` made canonical, resampled, cropped, normalised",
            "TorchIO 1.2.1",
            _full_cost(preprocess["TorchIO 1.2.1, to a .nii"]),
            _full_cost(preprocess["voxarray, to an archive"]),
        ],
        [
            f"{loaded['loading']['patch']}³ patches for training, two workers",
            "zarr-python, same archive",
            f"{loading['zarr-python']:,.0f} patches a second",
            f"{loading['voxarray, default']:,.0f} patches a second",
        ],
    ]
    caption = (
        "The last two columns compare wall time and peak memory (without the memory of the "
        "imports). The scans are phantoms that resemble a head. [All figures and all compared "
        "libraries](benchmarks/README.md), including the figures where voxarray is not the fastest."
    )
    return "\n\n".join(
        [
            caption,
            _grid(["task", "another tool", "with this tool", "with voxarray"], lines),
            _where(convert),
        ]
    )


_VOXELS = {
    "T1, 8 bit": "chris_t1.nii.gz",
    "fMRI, 16 bit": "example4d.nii.gz",
    "EPI, 16 bit, noisy": "ge_epi_dcm2niix.nii.gz",
    "ASL, float32": "pcasl.nii.gz",
    "label map, int32, synthetic": "labels int32",
}
"""Kinds of voxels that the README shows, and a scan of each in the results."""

_PROFILES = ("default", "compact", "fast", "training", "labels")


def _profiles(result: dict[str, Any]) -> str:
    """What each profile makes of each kind of voxel."""
    scans = {row["scan"]: row for row in result["rows"]}
    lines = [
        [
            kind,
            *(
                f"{figures['bytes'] / scans[scan]['nii.gz']:.2f} · {figures['encode']:,.0f} · "
                f"{figures['decode']:,.0f}"
                for figures in (scans[scan]["profiles"][name] for name in _PROFILES)
            ),
        ]
        for kind, scan in _VOXELS.items()
    ]
    load = result["machine"]["load"][0]
    caption = (
        "Each column is a codec, the argument `codec=` of `vx.convert` and `image.save`. Each "
        "cell has three numbers: the size of all levels together, divided by that of the "
        "`.nii.gz` · "
        "encoding speed · decoding speed, both in MB a second on one core. "
        "[Which to choose](notebooks/pages/how-to/archive-and-convert.md)."
    )
    titles = ["voxels", *(f"`{name}`" for name in _PROFILES)]
    where = (
        f"<sub>{result['date'][:10]}, {result['machine']['cpu']} with a load average of "
        f"{load:.0f}. Sizes are the same on every machine, speeds are not"
        f"{'; on an idle machine, speeds are higher' if load >= 1 else ''}.</sub>"
    )
    return "\n\n".join([caption, _grid(titles, lines), where])


def _full_cost(row: dict[str, Any]) -> str:
    return f"{row['seconds']:.1f} s, {row['peak_mib']:,.0f} MiB"


def page(loaded: dict[str, Any] | None = None) -> str:
    """All results, for the site: the main ones as tables, and every figure of the other suites."""
    parts = [_HEADING, _peers()]
    for suite, result in (results() if loaded is None else loaded).items():
        make = _MAKERS.get(suite, _figures)
        text = make(result).replace("notebooks/pictures/", "pictures/")
        parts.append(f"## {suite.replace('_', ' ').capitalize()}\n\n{text}\n")
    return "\n".join(parts)


def _peers() -> str:
    titles = ["peer", "newest", "released", "also measured"]
    note = f"What was looked up on {known()['looked_up']}; results with older releases say so."
    return f"## Peers\n\n{note}\n\n{_grid(titles, rows())}\n"


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
        "time, in brackets as a multiple of voxarray's, and peak memory (without the memory of "
        "the imports).\n\n"
        "![Time and peak memory of each](notebooks/pictures/bench-convert.png)"
    )
    return "\n\n".join([caption, _grid(["", *titles], lines), _where(result)])


def _compared(row: dict[str, Any] | None, ours: float) -> str:
    return "-" if row is None else f"{row['seconds']:.2f} ({row['seconds'] / ours:.1f}x)"


def _patches(result: dict[str, Any]) -> str:
    scans = result["scans"]
    figures = {kind: dict(scans[kind]["patches"]) for kind in KINDS}
    for kind in KINDS:
        if "torchio1" in scans[kind]:  # which may have been left out
            figures[kind]["TorchIO 1.2.1, from the `.nii.gz`"] = scans[kind]["torchio1"]
    lines = [
        [name, *(f"{figures[kind][name]:,.2f}" if name in figures[kind] else "-" for kind in KINDS)]
        for name in figures["head"]
    ]
    whole_volumes = ", ".join(
        f"{scans[kind]['whole']['voxarray']:.2f} s {text} "
        f"(zarr-python {scans[kind]['whole']['zarr-python']:.2f} s)"
        for kind, text in KINDS.items()
    )
    huge = result["huge"]
    caption = (
        f"**Reading {result['patch']}³ patches** from the archive of a {result['size']}³ scan, "
        "opened and in the page cache, in ms. "
        "In the row “voxarray”, the archive's reader is called directly with a box of voxels; in "
        "“image[...].data”, the image is sliced as users do. "
        f"The whole volume as a tensor: {whole_volumes}. An archive of "
        f"{' x '.join(map(str, huge['shape']))} voxels opens in {huge['open']:.2f} ms and is "
        f"sliced in {huge['slice']:.2f} ms."
    )
    return "\n\n".join([caption, _grid(["", *KINDS.values()], lines), _where(result)])


def _loading(result: dict[str, Any]) -> str:
    scans = result["scans"]
    names = list(scans["head"]["two_workers"])
    ours = names[0]
    lines = [
        [name, *(_rate(scans[kind]["two_workers"], name, ours) for kind in KINDS)] for name in names
    ]
    peaks = [peak["resident_mib"] for scan in scans.values() for peak in scan["peak"].values()]
    caption = (
        f"**Training on {result['patch']}³ patches** of a {result['size']}³ scan: patches per "
        "second out of a `torch.utils.data.DataLoader` with two workers. In brackets: the rate of "
        f"“{ours}”, divided by the rate of the row. A worker needs "
        f"{min(peaks):.0f} to {max(peaks):.0f} MiB in addition to its imports."
    )
    return "\n\n".join([caption, _grid(["", *KINDS.values()], lines), _where(result)])


def _rate(rates: dict[str, float], name: str, ours: str) -> str:
    if name not in rates:
        return "-"
    return f"{rates[name]:,.{0 if rates[name] >= 10 else 2}f} ({rates[ours] / rates[name]:.1f}x)"


def _imports(result: dict[str, Any]) -> str:
    lines = [[f"`{name}`", f"{seconds:.2f}"] for name, seconds in result["seconds"].items()]
    caption = "**Starting**: wall time of a whole process."
    return "\n\n".join([caption, _grid(["", "s"], lines), _where(result)])


def _volumes(result: dict[str, Any]) -> str:
    sizes = result["volumes"]
    names = list(dict.fromkeys(row["name"] for rows in sizes.values() for row in rows))
    by_size = [{row["name"]: row for row in rows} for rows in sizes.values()]
    lines = [[name, *(_cost(rows.get(name)) for rows in by_size)] for name in names]
    caption = (
        "**Converting larger and larger scans**, one run each: seconds, and peak memory in MiB.\n\n"
        "![Time and peak memory over the size of a volume](notebooks/pictures/bench-volumes.png)"
    )
    return "\n\n".join([caption, _grid(["", *(f"{n} GiB" for n in sizes)], lines), _where(result)])


def _cost(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['seconds']:.1f} s, {row['peak_mib']:,.0f}"


def _preprocess(result: dict[str, Any]) -> str:
    scans = {
        f"{_SIZES.get(size, f'{size}³')} `{suffix}`": {row["name"]: row for row in rows}
        for size, of_size in result.items()
        if size not in _ABOUT
        for suffix, rows in of_size.items()
    }
    names = list(dict.fromkeys(name for rows in scans.values() for name in rows))
    lines = [[name, *(_cost(rows.get(name)) for rows in scans.values())] for name in names]
    caption = (
        "**Preprocessing a scan**, `ToCanonical`, `Resample(1)`, `CropOrPad((256, 256, 256))`, "
        "`RescaleIntensity(percentiles=(0.5, 99.5))` and `ZNormalization`, from file to file: "
        "seconds, and peak memory in MiB."
    )
    return "\n\n".join([caption, _grid(["", *scans], lines), _where(result)])


_SIZES = {"four_gib": "4 GiB"}


def _remote(result: dict[str, Any]) -> str:
    delays = list(dict.fromkeys(row["delay_ms"] for row in result["rows"]))
    lines = []
    for reader in dict.fromkeys(row["reader"] for row in result["rows"]):
        by_delay = {row["delay_ms"]: row for row in result["rows"] if row["reader"] == reader}
        costs = [
            f"{by_delay[delay]['first']:.0f}, {by_delay[delay]['steady']:.0f}" for delay in delays
        ]
        lines.append([reader, *costs])
    caption = (
        f"**{result['patch']}³ patches out of an object store**, of an archive of "
        f"{result['size']}³ voxels; each request takes the time at the top of the column. Cells: "
        "ms of the first patch, opening included, and of each later one."
    )
    titles = ["", *(f"{delay:g} ms" for delay in delays)]
    return "\n\n".join([caption, _grid(titles, lines), _where(result)])


def _images(result: dict[str, Any]) -> str:
    rows = result["images"]
    counts = sorted({row["images"] for row in rows})
    seconds = {(row["workers"], row["images"]): row["seconds"] for row in rows}
    lines = [
        [f"{workers} worker{'s' * (workers > 1)}", *(f"{seconds[workers, n]:.1f}" for n in counts)]
        for workers in sorted({row["workers"] for row in rows})
    ]
    caption = (
        f"**`voxarray convert FOLDER COHORT`** for images of "
        f"{' x '.join(map(str, result['shape']))} voxels, processes and imports included, in s.\n\n"
        "![Time over the number of images](notebooks/pictures/bench-images.png)"
    )
    return "\n\n".join(
        [caption, _grid(["", *(f"{n} images" for n in counts)], lines), _where(result)]
    )


def _cohort(result: dict[str, Any]) -> str:
    ours = result["rows"][0]["seconds"]
    lines = [
        [
            row["name"],
            f"{row['seconds']:.1f} ({row['seconds'] / ours:.1f}x)",
            row["leaves_out"] or "nothing",
        ]
        for row in result["rows"]
    ]
    long = result["long"]
    caption = (
        f"**{result['scans']} scans of {result['size']}³ become archives with pyramids**, "
        "with the plan, the catalogue and the start of workers counted for voxarray. "
        f"If the {result['cores']} cores did nothing but convert, they would need "
        f"{result['throughput_of_ideal']:.0%} of the time of the faster of voxarray's two rows. "
        f"For {long['scans']} scans, it is {long['throughput_of_ideal']:.0%}. The rest is "
        "starting, planning, the catalogue, and cores that are idle. A catalogue of 100,000 rows "
        "opens and is filtered in "
        f"{result['catalogue_seconds']:.2f} s."
    )
    return "\n\n".join([caption, _grid(["", "s", "leaves out"], lines), _where(result)])


def _simulation(result: dict[str, Any]) -> str:
    assumed, curve = result["assumed"], result["curve"]
    lines = [
        ["hours", *(f"{point['hours']:.2f}" for point in curve)],
        ["of the ideal speed", *(f"{point['efficiency']:.0%}" for point in curve)],
    ]
    caption = (
        f"**{result['images']:,} images on a cluster, simulated** from the measured costs of "
        f"single images, with {result['workers_per_node']} workers on each node. These are "
        "assumptions: the file system "
        f"transfers {assumed['gigabytes_per_second']:g} GB/s{_metadata_operations(result)}; "
        f"{assumed['starts_per_minute']:g} jobs can be started in a minute, and a start takes "
        f"{assumed['start_seconds']:g} s; a node fails after {assumed['hours_between_losses']:g} "
        "hours of work on average.\n\n"
        "![Hours over nodes](notebooks/pictures/bench-nodes.png)"
    )
    titles = ["nodes", *(str(point["nodes"]) for point in curve)]
    return "\n\n".join([caption, _grid(titles, lines), _where(result)])


def _metadata_operations(result: dict[str, Any]) -> str:
    """Operations on metadata, of which results before version 0.2 do not tell."""
    operations = result.get("metadata_operations")
    if operations is None:
        return ""
    each = result["assumed"]["operations_per_second"]
    return (
        f" and does {each:,.0f} metadata operations (open, list, rename, ...) a second (an image "
        f"needs {operations['converted']:.0f})"
    )


_WIDEST = 16  # columns


def _figures(result: dict[str, Any]) -> str:
    """Every number of a result, whatever its form."""
    content = {key: value for key, value in result.items() if key not in _ABOUT}
    tables = {key: table for key, value in content.items() if (table := _table_of(value))}
    rest = {key: value for key, value in content.items() if key not in tables}
    lines = [[f"`{name}`", text] for name, text in _leaves("", rest)]
    parts = [_grid(["", "figure"], lines)] if lines else []
    return "\n\n".join([*parts, *tables.values(), _where(result)])


def _table_of(value: Any) -> str:
    """Results of one form as a table, a line each; empty if they are none, or it were too wide."""
    if isinstance(value, dict) and _holds_dicts(value):
        value = [
            {"name": key, "each": item} if _holds_dicts(item) else {"name": key, **item}
            for key, item in value.items()
        ]
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(item, dict) for item in value)
    ):
        return ""
    lines = [dict(_leaves("", line)) for item in value for line in _lines_of(item)]
    titles = list(dict.fromkeys(title for line in lines for title in line))
    if len(titles) > _WIDEST:
        return ""
    rows = [[line.get(title, "") for title in titles] for line in lines]
    return _grid(titles, rows)


def _lines_of(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One line, or one for each part of an entry that consists of parts alike."""
    parts = {key: value for key, value in entry.items() if _holds_dicts(value)}
    if len(parts) != 1:
        yield entry
        return
    ((name, inner),) = parts.items()
    facts = {key: value for key, value in entry.items() if key != name}
    for key, item in inner.items():
        yield {**facts, name.removesuffix("s"): key, **item}


def _holds_dicts(value: Any) -> bool:
    return (
        isinstance(value, dict) and bool(value) and all(isinstance(v, dict) for v in value.values())
    )


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{name} / {key}" if name else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            inner = dict(item)
            label = inner.pop("name", number)
            yield from _leaves(f"{name} / {label}", inner)
    elif isinstance(value, float):
        yield name, f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    else:
        yield name, str(value)


def _grid(titles: list[str], lines: Iterable[list[str]]) -> str:
    texts = ("leaves out", "another tool")
    numbers = ["---" if title in texts else "---:" for title in titles[1:]]
    rows = [titles, ["---", *numbers], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _where(result: dict[str, Any]) -> str:
    if "machine" not in result:  # of a script that keeps its figures alone
        return ""
    machine = result["machine"]
    versions: dict[str, str] = {}
    for environment in result["versions"].values():
        versions |= environment
    packages = ", ".join(
        f"{name} {versions[name]}" for name in ("zarr", "dask", "ngff-zarr") if name in versions
    )
    older = outdated(versions)
    return (
        f"<sub>{result['date'][:10]}, {machine['cores']} cores of {machine['cpu']}, Python "
        f"{versions['python']}{', ' + packages if packages else ''}; `make bench` repeats it."
        f"{' Newer versions exist of: ' + older + '.' if older else ''}</sub>"
    )


_MAKERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "convert": _convert,
    "patches": _patches,
    "preprocess": _preprocess,
    "loading": _loading,
    "remote": _remote,
    "scaling_volumes": _volumes,
    "scaling_images": _images,
    "cohort": _cohort,
    "simulation": _simulation,
    "imports": _imports,
}


if __name__ == "__main__":
    main()
