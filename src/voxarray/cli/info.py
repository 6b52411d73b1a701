"""``voxarray info``: what a header says, and what the image would cost; no voxel is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from voxarray.archive.projection import projected_peak
from voxarray.cli.console import console, output_options
from voxarray.cli.outcome import Outcome
from voxarray.core import memory, resource_limits, settings
from voxarray.core.memory import format_bytes
from voxarray.core.printable import printable
from voxarray.core.promotion import tensor_dtype
from voxarray.formats.registry import is_image_folder, open_source
from voxarray.geometry.grid import millimetres
from voxarray.source.base import Source
from voxarray.storage.remote.address import is_url


@click.command("info")
@click.argument("paths", nargs=-1)
@click.option(
    "--limits",
    "show_limits",
    is_flag=True,
    help="Show the limits of memory and CPU cores, and what sets each of them",
)
@output_options(as_json=True)
def command(paths: tuple[str, ...], show_limits: bool) -> None:
    """Show shape, geometry, chunks and size of images; only headers are read.

    Three sizes are shown: on disk, as a tensor, and the peak of memory while the image is converted
    to an archive.
    """
    talk = console()
    if show_limits:
        talk.say(describe_limits())
        talk.document["limits"] = limits_of_process()
        if not paths:
            talk.finish()
    elif not paths:
        raise click.UsageError("give the path of an image, or --limits")
    outcome = Outcome()
    described = talk.document["images"] = []
    for path in map(os.path.expanduser, paths):
        before = len(outcome.done) + len(outcome.failed)
        for image in _images(path):
            with outcome.attempt(str(image)):
                source = open_source(image)
                described.append(facts(source))
                talk.say(printable_lines(describe(source)))
        if len(outcome.done) + len(outcome.failed) == before:
            talk.complain(f"no readable images in {path}: give a folder or a file with images")
    outcome.exit(nothing="nothing to show")


def _images(path: str) -> Sequence[str | os.PathLike[str]]:
    """The image at a path, or all those in a folder or prefix and below."""
    if is_url(path):
        return _images_at(path)
    if not os.path.isdir(path) or is_image_folder(path):
        return [path]
    # Half of the time that one header takes goes into imports: a folder is searched by more code.
    from voxarray.cohort.discover.files import images

    return images(path)


def _images_at(url: str) -> Sequence[str]:
    from voxarray.cohort.discover.buckets import is_prefix, objects_below
    from voxarray.cohort.discover.census import Census

    if not is_prefix(url):
        return [url]
    names = objects_below(url, Census(), destination="", alone=True)
    return [f"{url.rstrip('/')}/{name}" if name else url for name in names]


def describe(source: Source) -> str:
    """Facts of a source, a line each."""
    grid = source.grid
    rows = {
        "shape": f"{source.shape} (C, W, H, D){_series(source)}",
        "spacing": " x ".join(f"{mm:g}" for mm in grid.spacing) + " mm",
        "orientation": f"{''.join(grid.orientation)}+",
        "origin": "(" + ", ".join(map(millimetres, grid.origin)) + ") mm, RAS+",
        "voxels": _voxels(source),
        "levels": str(source.levels),
        "block": f"{source.chunks}, {_bytes(source.chunks, source.dtype)}, preferred for reading",
        **_archived(source),
        **{str(name): str(value) for name, value in source.metadata.items()},
        "on disk": format_bytes(source.bytes_on_disk or 0),
        "as a tensor": _bytes(source.shape, tensor_dtype(source.dtype)),
        "to archive": f"{format_bytes(projected_peak(source))} of memory",
    }
    if source.history:
        rows["history"] = ", ".join(str(step.get("operation", "?")) for step in source.history)
    width = max(map(len, rows))
    lines = [f"  {name:<{width}}  {value}" for name, value in rows.items()]
    return "\n".join([str(source.path), *lines])


def facts(source: Source) -> dict[str, Any]:
    """What `describe` says, for programs."""
    grid = source.grid
    layout = _layout(source)
    return {
        "path": str(source.path),
        "shape": list(source.shape),
        "spacing": list(grid.spacing),
        "origin": list(grid.origin),
        "orientation": "".join(grid.orientation),
        "affine": source.affine.tolist(),
        "dtype": str(source.dtype),
        "levels": source.levels,
        "block": list(source.chunks),
        "chunk": None if layout is None else list(layout),
        "codec": _codec(source) or None,
        "labels": {str(item.value): item.name for item in source.label_table},
        "label_maps": _label_maps(source),
        "metadata": dict(source.metadata),
        "history": [dict(item) for item in source.history],
        "bytes_on_disk": source.bytes_on_disk,
        "tensor_bytes": int(np.prod(source.shape, dtype=object))
        * tensor_dtype(source.dtype).itemsize,
        "conversion_peak_bytes": projected_peak(source),
    }


def printable_lines(text: str) -> str:
    """Lines without what would move the cursor of a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def _archived(source: Source) -> dict[str, str]:
    """What only our archives have: chunks, codec, labels by name, and label maps."""
    layout = _layout(source)
    if layout is None:
        return {}
    rows = {"chunk": f"{layout}, decoded as one piece", "codec": _codec(source)}
    labels = source.label_table
    if labels:
        rows["labels"] = ", ".join(f"{label.value} {label.name}".rstrip() for label in labels)
    if names := _label_maps(source):
        rows["label maps"] = ", ".join(names)
    return rows


def _label_maps(source: Source) -> list[str]:
    return list(getattr(source, "label_maps", ()))


def _layout(source: Source) -> tuple[int, ...] | None:
    array = getattr(source, "array", None)
    if array is None or not hasattr(array, "layout"):
        return None
    n, z, y, x = array.layout.chunk
    return n, x, y, z


def _codec(source: Source) -> str:
    codec = getattr(getattr(source, "array", None), "codec", None)
    if codec is None:
        return ""
    return f"{codec.cname} {codec.level}, {codec.shuffle}"


def limits_of_process() -> dict[str, int]:
    """What `describe_limits` comes to, for programs."""
    return {
        "memory": memory.limit(),
        "budget": memory.budget(),
        "block_cache": memory.cache_limit(),
        "processors": int(resource_limits.cores().value),
        "threads": settings.threads(),
    }


def describe_limits() -> str:
    """What limits this process, a line each, and what follows from it."""
    memories = [
        (format_bytes(limit.value), limit.origin) for limit in resource_limits.memory_limits()
    ]
    processors = [(str(limit.value), limit.origin) for limit in resource_limits.core_limits()]
    results = [
        ("memory", format_bytes(memory.limit()), resource_limits.memory().origin),
        ("budget", format_bytes(memory.budget()), "what one operation may use"),
        ("block cache", format_bytes(memory.cache_limit()), "decoded blocks, part of the budget"),
        ("processors", str(resource_limits.cores().value), resource_limits.cores().origin),
        ("threads", str(settings.threads()), "to encode and decode"),
    ]
    lines = ["limits of memory:"]
    lines += [f"  {value:>12}  {origin}" for value, origin in memories]
    lines += ["limits of processors:"]
    lines += [f"  {value:>12}  {origin}" for value, origin in processors]
    lines += ["this process may use:"]
    lines += [f"  {name:<12}{value:>12}  {text}" for name, value, text in results]
    return "\n".join(lines)


def _series(source: Source) -> str:
    if source.channels.kind != "time":
        return ""
    step = source.channels.step
    return ", C is time" + (f" in steps of {step:g} s" if step else "")


def _voxels(source: Source) -> str:
    if source.scaling is None:
        return str(source.dtype)
    stored, scaling = source.unscaled().dtype, source.scaling
    offset = f" {scaling.intercept:+g}" if scaling.intercept else ""
    return f"{source.dtype}, stored as {stored} x {scaling.slope:g}{offset}"


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return format_bytes(int(np.prod(shape, dtype=object)) * dtype.itemsize)
