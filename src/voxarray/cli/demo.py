"""``voxarray demo``: the main job on a scan that is larger than its memory budget."""

from __future__ import annotations

from importlib.metadata import distribution
from multiprocessing import get_context
from pathlib import Path

import click

from voxarray.cli.console import console
from voxarray.cli.enlarged import Enlarged
from voxarray.cli.outcome import fatal
from voxarray.cohort.run.resource_usage import ResourceUsage, metered
from voxarray.core.memory import format_bytes
from voxarray.storage.destination import local_destination

BUDGET = "192 MiB"
FACTORS = (6, 6, 12)
PATCH = 96


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("voxarray-demo"),
    show_default=True,
    help="Where the scan, its archive and the preview go",
)
def command(folder: Path) -> None:
    """Convert and view a scan larger than the memory budget.

    The demo enlarges a small scan and writes it to --folder. It also slices the scan, and loads
    one patch as a tensor.
    """
    import dask.config

    with fatal():
        local_destination(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scan, archive, preview = folder / "scan.nii.gz", folder / "scan.ome.zarr", folder / "scan.png"
    # In a process of its own: what it frees would hide what the conversion takes.
    writer = get_context("spawn").Process(target=_write_scan, args=(scan,))
    writer.start()
    writer.join()
    if writer.exitcode:
        raise click.ClickException(
            f"the scan could not be written to {folder}; the lines above say why"
        )
    console().say(f"a real scan, enlarged: {scan}, {format_bytes(scan.stat().st_size)}")
    with dask.config.set({"voxarray.memory-budget": BUDGET}):
        _convert(scan, archive)
        _slice(archive)
        _preview(archive, preview)
        _patch(archive)


def _write_scan(path: Path) -> None:
    """Enlarge the first volume of the scan that ships with nibabel, and write it as .nii.gz."""
    from voxarray.formats.nifti.read import open_nifti
    from voxarray.formats.nifti.write import write_nifti
    from voxarray.source.sliced import SlicedSource

    # Its files are found without importing it: the package would load all of its formats.
    nibabel = Path(str(distribution("nibabel").locate_file("nibabel")))
    small = SlicedSource.of(open_nifti(nibabel / "tests" / "data" / "example4d.nii.gz"))
    first = small.take(small.selection[0, :, :, :])
    voxels = first.read(first.selection)[0]
    write_nifti(Enlarged(voxels, first.grid, FACTORS), path)


def _convert(scan: Path, archive: Path) -> None:
    from voxarray.archive.convert import convert
    from voxarray.archive.options import Options
    from voxarray.core.memory import budget
    from voxarray.formats.registry import open_source

    source = open_source(scan)
    with metered(reading=True) as cost:
        done = convert(source, archive, options=Options(overwrite=True))
    text = f"{format_bytes(done.source_bytes)} of voxels -> {format_bytes(done.archive_bytes)}, "
    _say_step("converted and verified", f"{text}{done.levels} levels", cost)
    if cost.peak is not None:
        share = cost.peak / budget()
        verdict = "respected" if share <= 1 else "EXCEEDED"
        console().say(
            f"    budget {BUDGET}: {verdict}, the peak is {share:.0%} of it; "
            f"the voxels alone are {done.source_bytes / budget():.1f} times the budget"
        )


def _slice(archive: Path) -> None:
    from voxarray import ScalarImage

    with metered(reading=True) as cost:
        image = ScalarImage(archive)
        part = image[128:384:2, ::-1, 100]
        text = repr(part)
    _say_step("opened and sliced", text, cost)


def _preview(archive: Path, picture: Path) -> None:
    from PIL import Image  # noqa: F401  # so that its import does not count

    from voxarray.formats.registry import open_source
    from voxarray.rendering.planes import orthogonal
    from voxarray.rendering.png import write_planes

    with metered(reading=True) as cost:
        width, height = write_planes(orthogonal(open_source(archive)), picture)
    _say_step("previewed", f"{picture}, {width} x {height} pixels", cost)


def _patch(archive: Path) -> None:
    import voxarray.tensors.convert  # noqa: F401  # so that importing torch does not count
    from voxarray import ScalarImage

    with metered(reading=True) as cost:
        image = ScalarImage(archive)
        corner = [(n - PATCH) // 2 for n in image.spatial_shape]
        x, y, z = (slice(start, start + PATCH) for start in corner)
        tensor = image[x, y, z].data
    text = f"{tuple(tensor.shape)}, {tensor.type()}, mean {tensor.double().mean():.1f}"
    _say_step("a patch as a tensor", text, cost)


def _say_step(step: str, result: str, cost: ResourceUsage) -> None:
    figures = [f"{cost.seconds:.3f} s"]
    if cost.read is not None:
        figures.append(f"{format_bytes(cost.read)} read")
    if cost.peak is not None:
        figures.append(f"peak {format_bytes(cost.peak)}")
    console().say(f"{step}: {result}\n    {', '.join(figures)}")
