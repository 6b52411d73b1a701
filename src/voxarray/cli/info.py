"""``voxarray info``: what a header says, and what the image would cost; no voxel is read."""

from __future__ import annotations

import os

import click
import numpy as np

from voxarray.archive.convert import projected_peak
from voxarray.cli.outcome import Outcome
from voxarray.cohort.discover.files import images
from voxarray.core.memory import format_bytes
from voxarray.core.promotion import tensor_dtype
from voxarray.formats.registry import open_source
from voxarray.source.base import Source
from voxarray.storage.remote.address import is_url


@click.command("info")
@click.argument("paths", nargs=-1, required=True)
def command(paths: tuple[str, ...]) -> None:
    """Show shape, geometry, chunks and memory of images, from their headers alone."""
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
