"""``voxarray infer``: what a network makes of a scan, or of every subject of a cohort."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from voxarray.cli import options as common
from voxarray.cli.cohort_run import run_and_report
from voxarray.cli.console import console, output_options
from voxarray.cli.destinations import Destination, Kind
from voxarray.cli.given_cohort import is_cohort, matching, queried
from voxarray.cli.outcome import Outcome, told_when_stopped
from voxarray.cohort.cohort import Cohort
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run.interrupts import stoppable
from voxarray.core.errors import VoxarrayError
from voxarray.formats.registry import not_written
from voxarray.inference.axis_plan import BLENDS
from voxarray.inference.cohort_layers import add_layer, ends_of_layers
from voxarray.inference.network_input import subject_of
from voxarray.inference.options import SUMS, InferenceOptions
from voxarray.inference.placement import Placement
from voxarray.inference.prediction_transform import InferenceTransform
from voxarray.inference.reduction import ACTIVATIONS, OUTPUTS
from voxarray.transforms import Compose

_PLACEMENT = logging.getLogger("voxarray.inference")
"""Where `voxarray.inference.placement` says what it has chosen."""


def _sizes(_: click.Context, __: click.Parameter, text: str | None) -> Any:
    """One or three whole numbers, or fractions."""
    if text is None:
        return None
    try:
        numbers = [float(part) if "." in part else int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise click.BadParameter(f"give one number or three, such as 96,96,64, not {text!r}")
    return numbers[0] if len(numbers) == 1 else numbers


def _classes(_: click.Context, __: click.Parameter, text: str | None) -> Any:
    """A number, or names."""
    if text is None:
        return None
    return int(text) if text.isdigit() else [name.strip() for name in text.split(",")]


class _Infer(click.Command):
    """The command; it knows what else its ``--pipeline`` might be called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            # There is a command of this name, which takes the same file.
            if error.option_name != "--preprocess":
                raise
            # As a message, since click drops proposals that look too different.
            text = "No such option '--preprocess'. Did you mean '--pipeline'?"
            raise click.NoSuchOption(error.option_name, text, ctx=ctx) from None


@click.command("infer", cls=_Infer)
@click.argument("model")
@click.argument("source")
@click.argument("destination", required=False)
@click.option(
    "--layer",
    default="prediction",
    show_default=True,
    help="Name of the label map that is added to the scan's archive, if there is no DESTINATION",
)
@click.option(
    "--patch-size", callback=_sizes, metavar="N|N,N,N", help="Size of a patch in voxels, W,H,D"
)
@click.option(
    "--overlap",
    callback=_sizes,
    metavar="F|N|N,N,N",
    help="Overlap of patches: a fraction such as 0.5, or voxels such as 32 [default: 0.5]",
)
@click.option(
    "--blend", type=click.Choice(BLENDS), help="Weights of overlapping patches [default: hann]"
)
@click.option(
    "--output",
    type=click.Choice(OUTPUTS),
    default="labels",
    show_default=True,
    help="What is written for each voxel",
)
@click.option(
    "--activation",
    type=click.Choice(ACTIVATIONS),
    help="Turns logits into probabilities [default: softmax, or sigmoid for one class]",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Lowest probability of a label; voxels below it are background [default: 0.5 for sigmoid, "
    "none otherwise]",
)
@click.option(
    "--classes",
    callback=_classes,
    metavar="N|NAME,NAME,...",
    help="Number or names of classes [default: the model's own number]",
)
@click.option(
    "--channels",
    callback=lambda _, __, t: t.split(",") if t else None,
    metavar="NAME,NAME,...",
    help="Names of a subject's images, in the order of the network's channels",
)
@click.option("--batch-size", type=click.IntRange(1), help="Patches predicted at once [default: 1]")
@click.option(
    "--flips",
    metavar="all|AXIS,AXIS",
    help="Predict mirrored patches, too, and average. x,y: one mirrored along x, and one along y. "
    "all: one for each combination of x, y and z",
)
@click.option("--amp", is_flag=True, default=None, help="Use half precision where that is safe")
@click.option(
    "--accumulate",
    type=click.Choice(tuple(SUMS)),
    default="float32",
    show_default=True,
    help="Type in which overlapping patches are summed: float16 takes half of the memory",
)
@click.option("--dtype", help="Type of the result; uint8 stores probabilities in steps of 1/255")
@click.option("--device", help="Where the network runs, such as cuda:0 [default: cpu]")
@click.option(
    "--pipeline", type=click.Path(dir_okay=False), help="YAML file of transforms to apply first"
)
@common.query_option(
    "--query",
    help="If SOURCE is a cohort: only its images that match this condition, such as "
    '"spacing_max < 2"',
)
@common.execution_options
@output_options(as_json=True)
def command(
    model: str,
    source: str,
    destination: str | None,
    layer: str,
    memory: str | None,
    device: str | None,
    pipeline: str | None,
    query: str | None,
    classes: Any,
    flips: str | None,
    **arguments: Any,
) -> None:
    """Run MODEL over SOURCE, a scan or a cohort.

    Predictions are written to DESTINATION; those of a cohort become another cohort. Without
    DESTINATION, labels become a layer (a label map) in the archive of each scan. Predictions that
    are up to date are not made again: run the command again to resume.

    MODEL is a file of TorchScript, torch.export (.pt2) or ONNX, or the folder of a MONAI bundle.
    TorchScript and .pt2 files are programs: use only those from sources that you trust.
    """
    import dask.config

    with _explained():
        transform = _transform(model, arguments, flips, classes, pipeline, device)
    budget = {} if memory is None else {"voxarray.memory-budget": memory}
    if destination is None:
        with dask.config.set(budget), told_when_stopped(source), stoppable():
            _layers(transform, source, layer, query, arguments)
        return
    target = Destination.of(destination)
    _refuse_folder_for_one(target, source)
    with dask.config.set(budget), told_when_stopped(destination), stoppable():
        if target.kind is Kind.COHORT:
            mapped = queried(Cohort(source), query).map(transform)
            run = common.pop_execution_options(arguments)
            folder = CohortLayout.of(target.path)
            run_and_report(
                folder,
                lambda watcher: mapped.make(folder.root, ArchiveOptions(), run, watcher),
            )
        else:
            _predict_one(transform, source, target.path, query, arguments)


def _refuse_folder_for_one(target: Destination, source: str) -> None:
    """Refuse a folder for the prediction of one scan, which is one file or archive."""
    if target.kind is Kind.COHORT and os.path.exists(source) and not is_cohort(source):
        advice = (
            f". {source} is one scan and not a cohort, so its prediction is one file or archive"
        )
        raise not_written(target.path, advice)


def _transform(
    model: str,
    arguments: dict[str, Any],
    flips: str | None,
    classes: Any,
    pipeline: str | None,
    device: str | None,
) -> InferenceTransform:
    """What predicts, loaded, so that its arguments are looked at before anything is done."""
    names = ("patch_size", "overlap", "blend", "output", "activation", "threshold", "channels")
    settings = {
        name: arguments[name] for name in (*names, "batch_size", "amp", "accumulate", "dtype")
    }
    mirrored = flips if flips in (None, "all") else flips.split(",")
    options = InferenceOptions(**settings, flips=mirrored or ())
    before = Compose.from_yaml(os.path.expanduser(pipeline)) if pipeline else None
    transform = InferenceTransform(os.path.abspath(model), options, classes, before, device)
    _ = transform.inference.patching
    return transform


@contextmanager
def _explained() -> Iterator[None]:
    """Arguments that make no sense are the caller's mistake, not one of voxarray."""
    try:
        yield
    except VoxarrayError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def _projection_told() -> Iterator[None]:
    """Say what RAM and disk a scan will need, before it is predicted."""
    teller, was = _Teller(), _PLACEMENT.level
    _PLACEMENT.addHandler(teller)
    if not _PLACEMENT.isEnabledFor(logging.INFO):
        _PLACEMENT.setLevel(logging.INFO)
    try:
        yield
    finally:
        _PLACEMENT.removeHandler(teller)
        _PLACEMENT.setLevel(was)


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        placement = record.args[1] if isinstance(record.args, tuple) and record.args[1:] else None
        if not isinstance(placement, Placement):
            return
        talk = console()
        needed = placement.peak + placement.writing
        talk.document.update(memory_bytes=needed, scratch_bytes=placement.scratch)
        if not talk.verbose:  # which shows the record itself
            talk.say(record.getMessage())


def _layers(
    transform: InferenceTransform,
    source: str,
    layer: str,
    query: str | None,
    arguments: dict[str, Any],
) -> None:
    """Labels as layers of the archive of a scan, or of those of a cohort."""
    unused = [name for name in ("overwrite", "max_failures", "retry") if arguments[name]]
    of_cohort = is_cohort(source)
    execution = {name: arguments[name] for name in ("workers", "scheduler", "partition")}
    of_cohorts = {**execution, "query": query is not None}
    unused += [name for name, value in of_cohorts.items() if value and not of_cohort]
    if unused:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise click.UsageError(
            f"{options} would have no effect, since no DESTINATION is given and the labels are "
            f"added to {source}: leave out {options}, or give a DESTINATION"
        )
    outcome = Outcome()
    outcome.console.document.update(source=source, layer=layer)
    if of_cohort:
        cohort = _part(Cohort(source), query, execution.pop("partition"))
        _layers_of_cohort(transform, cohort, layer, execution, outcome)
    else:
        with outcome.attempt(source), _projection_told():
            label_map = add_layer(
                transform, subject_of(source), layer, console().progress, may_be_there=True
            )
            outcome.console.say(f"{source} has the label map {layer}: {label_map!r}")
    outcome.exit()


def _part(cohort: Cohort, query: str | None, partition: tuple[int, int] | None) -> Cohort:
    """The subjects that are to get a layer.

    A query may ask for layers, which other parts add meanwhile: it chooses among the subjects of
    a part, so that no subject changes from one part to another, and may leave none of them.
    """
    if partition is None:
        return queried(cohort, query)
    number, count = partition
    names = cohort.names[number - 1 :: count]
    return matching(cohort.where(cohort.table["subject"].isin(names)), query)


def _layers_of_cohort(
    transform: InferenceTransform,
    cohort: Cohort,
    layer: str,
    execution: dict[str, Any],
    outcome: Outcome,
) -> None:
    """A layer for each subject; those that fail are told, and the rest goes on."""
    ends = ends_of_layers(transform, cohort, layer, progress=console().progress, **execution)
    for name, error in ends.items():
        if error is None:
            outcome.done.append(name)
        else:
            outcome.fail(name, error)
    if outcome.done:
        outcome.console.say(
            f"{cohort.path}: {len(outcome.done)} of {len(ends)} subjects have the label map "
            f"{layer} of this model and these settings"
        )


def _predict_one(
    transform: InferenceTransform,
    source: str,
    target: str,
    query: str | None,
    arguments: dict[str, Any],
) -> None:
    unused = [f"--{name}" for name in ("workers", "scheduler", "partition") if arguments[name]]
    unused += [] if query is None else ["--query"]
    if unused:
        raise click.UsageError(
            f"{', '.join(unused)} would have no effect on one scan: leave out {', '.join(unused)}"
        )
    outcome = Outcome()
    with outcome.attempt(source), _projection_told():
        prediction = transform.inference.write(
            source, target, overwrite=arguments["overwrite"], progress=console().progress
        )
        outcome.console.document.update(destination=target, shape=list(prediction.shape))
        outcome.console.say(f"{target}: {prediction!r}")
    outcome.exit()
