"""``voxarray info``: what a header says, and what the image would cost; no voxel is read."""

from __future__ import annotations

import os

import click
import numpy as np

from voxarray.archive.convert import projected_peak
from voxarray.cli.outcome import Outcome
from voxarray.cohort.discover.files import images
from voxarray.core import limits, memory, settings
from voxarray.core.memory import format_bytes
from voxarray.core.promotion import tensor_dtype
from voxarray.formats.registry import open_source
from voxarray.source.base import Source
from voxarray.storage.remote.address import is_url


@click.command("info")
@click.argument("paths", nargs=-1)
@click.option(
    "--limits",
    "show_limits",
    is_flag=True,
    help="Show what limits memory and processors here, and who says so.",
)
def command(paths: tuple[str, ...], show_limits: bool) -> None:
    """Show shape, geometry, chunks and memory of images, from their headers alone."""
    if show_limits:
        click.echo(describe_limits())
        if not paths:
            return
    elif not paths:
        raise click.UsageError("name an image, or ask for --limits")
    outcome = Outcome()
    for image in [one for path in paths for one in ([path] if is_url(path) else images(path))]:
        with outcome.attempt(str(image)):
            click.echo(describe(open_source(os.path.expanduser(image))))
    outcome.exit()


def describe(source: Source) -> str:
    """Facts of a source, a line each."""
    grid = source.grid
    rows = {
        "shape": f"{source.shape} (C, W, H, D){_series(source)}",
        "spacing": " x ".join(f"{mm:g}" for mm in grid.spacing) + " mm",
        "orientation": f"{''.join(grid.orientation)}+",
        "origin": "(" + ", ".join(f"{mm:.2f}" for mm in grid.origin) + ") mm, RAS+",
        "voxels": _voxels(source),
        "levels": str(source.levels),
        "block": f"{source.chunks} is read at once, {_bytes(source.chunks, source.dtype)}",
        "on disk": format_bytes(source.bytes_on_disk or 0),
        "as a tensor": _bytes(source.shape, tensor_dtype(source.dtype)),
        "to archive": f"{format_bytes(projected_peak(source))} of memory",
    }
    width = max(map(len, rows))
    lines = [f"  {name:<{width}}  {value}" for name, value in rows.items()]
    return "\n".join([str(source.path), *lines])


def describe_limits() -> str:
    """What limits this process, a line each, and what follows from it."""
    memories = [(format_bytes(one.value), one.origin) for one in limits.memory_limits()]
    processors = [(str(one.value), one.origin) for one in limits.core_limits()]
    results = [
        ("memory", format_bytes(memory.limit()), limits.memory().origin),
        ("budget", format_bytes(memory.budget()), "of one operation"),
        ("block cache", format_bytes(memory.cache_limit()), "of decoded blocks, in the budget"),
        ("processors", str(limits.cores().value), limits.cores().origin),
        ("threads", str(settings.threads()), "that encode and decode"),
    ]
    lines = ["limits of memory:"]
    lines += [f"  {value:>12}  {origin}" for value, origin in memories]
    lines += ["limits of processors:"]
    lines += [f"  {value:>12}  {origin}" for value, origin in processors]
    lines += ["used:"]
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
