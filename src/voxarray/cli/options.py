"""Options that several commands have: how archives are made, and what belongs together."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from voxarray.archive.profiles import PROFILES
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.run.array_index import part_of_array
from voxarray.core.errors import FormatError
from voxarray.geometry.layout import DEFAULT_CHUNK
from voxarray.geometry.pyramid_levels import Levels, checked

if TYPE_CHECKING:
    from voxarray.cohort.run.build import ExecutionOptions

Command = Callable[..., Any]

_CHUNKS = "; ".join(
    [str(DEFAULT_CHUNK)]
    + [
        f"{profile.chunk} with --codec {name}"
        for name, profile in PROFILES.items()
        if profile.chunk != DEFAULT_CHUNK
    ]
)
"""The default, and the profiles with another one: from the table, so that none can be missing."""


def checked_size(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """A size as dask reads it."""
    if text is None:
        return None
    from dask.utils import parse_bytes

    try:
        size = parse_bytes(text)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise click.BadParameter(f"{text!r} is not a size: write one such as 512 MiB or 4 GB")
    return text


def checked_levels(_: click.Context, __: click.Parameter, text: str | None) -> Levels:
    """Levels as `Options` has them."""
    if text is None or text == "all":
        return checked(text)  # type: ignore[arg-type]  # mypy widens the literal
    try:
        numbers = [int(part) for part in text.split(",")]
        return checked(numbers if len(numbers) > 1 else numbers[0])
    except (ValueError, FormatError):
        raise click.BadParameter(
            f"give a number from 1 on, 'all', or powers of two such as 4,16, not {text!r}"
        ) from None


def _named_patterns(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in texts]
    return tuple((name, text) if equals else ("", name) for name, equals, text in pairs)


def query_option(name: str, *, help: str) -> Callable[[Command], Command]:  # noqa: A002
    """An option for a query, which is refused if it is given twice: the last would count alone."""
    return click.option(name, multiple=True, callback=_single_query, help=help)


def _single_query(
    _: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> str | None:
    if len(texts) > 1:
        name = parameter.opts[0]
        joined = " and ".join(f"({text})" for text in texts)
        raise click.UsageError(
            f"{name} is given {len(texts)} times: join the conditions with `and`, as in "
            f"{name} {shlex.quote(joined)}"
        )
    return texts[0] if texts else None


def encoding_options(command: Command) -> Command:
    """Options that make a `ArchiveOptions`, whatever archives are made of."""
    options = (
        click.option(
            "--levels",
            callback=checked_levels,
            metavar="N|all|F,F,...",
            help="Pyramid levels. N: number of levels, full resolution included; each has half the "
            "resolution of the one before. all: full resolution, and levels that are 2,4,8,... "
            "times coarser. F,F,...: full resolution, and for each F a level that is F times "
            "coarser than full resolution: 4,16 gives three levels, or fewer if the image is "
            "small. The default and `all` end with the first level that fits into one chunk "
            "[default: 4,8,16,...]",
        ),
        click.option(
            "--chunk",
            type=click.IntRange(2),
            help=f"Edge of a chunk in voxels, an even number [default: {_CHUNKS}]",
        ),
        click.option(
            "--codec",
            type=click.Choice(sorted(PROFILES)),
            help="Codec profile, which trades size against speed [default: `labels` for label "
            "maps, `default` for other images]",
        ),
        click.option("--zip", "zipped", is_flag=True, help="One .ozx file per image, not a folder"),
    )
    return _with(command, options)


def archive_options(command: Command) -> Command:
    """Options that make a `ArchiveOptions`, of files."""
    label = click.option(
        "--label",
        is_flag=True,
        help="Treat the images as label maps: make pyramids by majority vote",
    )
    return encoding_options(label(command))


def input_options(command: Command) -> Command:
    """Options that make a `InputSelection`."""
    options = (
        click.option(
            "--image-pattern",
            multiple=True,
            metavar="[NAME=]PATTERN",
            callback=_named_patterns,
            help='Pattern of the images in a folder, such as "t1=**/*_t1.nii.gz". The '
            "subject's name is everything that the stars match, including the folders of **: "
            "sub-1/a for sub-1/a_t1.nii.gz. To use only a part of it as the name, write {subject}, "
            'as in "t1={subject}/*_t1*". For DICOM, match the folder and not its files: '
            '"t1={subject}/dicom". Can be given several times',
        ),
        click.option(
            "--label-pattern",
            multiple=True,
            metavar="[NAME=]PATTERN",
            callback=_named_patterns,
            help="Pattern of the label maps in a folder. A label map goes with the image of the "
            "same subject. The subject's name is found as for --image-pattern. Without "
            "--image-pattern, an image's subject is its path without the suffix",
        ),
        click.option(
            "--image-column",
            multiple=True,
            help="Column of a manifest that holds paths of images. Its name becomes the image's "
            "name. Can be given several times",
        ),
        click.option(
            "--label-column",
            multiple=True,
            help="Column of a manifest that holds paths of label maps. Its name becomes the label "
            "map's name. Can be given several times",
        ),
        click.option("--subject-column", help="Column of a manifest that names the subject"),
        click.option(
            "--keep-metadata",
            multiple=True,
            metavar="FIELD",
            help="Keep a field in the catalogue: a header field, or a column of a manifest or of "
            "participants.tsv. Such a field may identify a patient",
        ),
    )
    return _with(command, options)


def execution_options(command: Command) -> Command:
    """Options that make `ExecutionOptions`, and ``--memory``."""
    options = (
        click.option(
            "--memory",
            callback=checked_size,
            help='Memory budget, such as "512 MiB" [default: half of the memory available to this '
            "process]",
        ),
        click.option(
            "--overwrite",
            is_flag=True,
            help="Replace existing archives and files, even those that are up to date. In a "
            "cohort, it makes ALL archives again, and drops label maps and notes that were added",
        ),
        click.option(
            "--workers",
            type=click.IntRange(0),
            default=0,
            help="Number of worker processes on this machine; 0: none, use the main process",
        ),
        click.option(
            "--scheduler", help="Address of a running dask scheduler, such as tcp://host:8786"
        ),
        click.option(
            "--partition",
            callback=_part,
            metavar="I/N",
            help="Do only part I of N, from 1/N to N/N. For `voxarray convert`, run `voxarray "
            "plan` first: the images of the plan are divided into N parts, and other patterns "
            "or columns than those of the plan are refused. Other commands make their plan "
            "themselves. With auto/N, I is the place of this task in its job array (SLURM, PBS, "
            "LSF, SGE, Kubernetes, AWS Batch)",
        ),
        click.option(
            "--max-failures", type=click.IntRange(1), help="Stop after this many failed images"
        ),
        click.option(
            "--retry",
            is_flag=True,
            help="Retry images that failed because of their content, such as damaged files. "
            "Images that failed for other reasons are always retried",
        ),
    )
    return _with(command, options)


def _part(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, of = text.partition("/")
    if number == "auto" and of.isdigit() and int(of) > 0:
        try:
            return part_of_array(int(of))
        except FormatError as error:
            raise click.BadParameter(str(error)) from None
    if not (slash and number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise click.BadParameter(
            f"{text!r} is not a part: write 3/16, from 1/16 to 16/16, or auto/16 in a job array"
        )
    return int(number), int(of)


def budget(memory: str | None) -> AbstractContextManager[Any]:
    """Sets the memory budget that ``--memory`` gives, if it was given."""
    if memory is None:
        return nullcontext()  # without dask, which takes longer to load than a small scan to read
    import dask.config

    limited: AbstractContextManager[Any] = dask.config.set({"voxarray.memory-budget": memory})
    return limited


def pop_execution_options(arguments: dict[str, Any]) -> ExecutionOptions:
    """Who does it, taken out of a command's arguments."""
    from voxarray.cohort.run.build import ExecutionOptions  # loads all that makes cohorts

    return ExecutionOptions(
        workers=arguments.pop("workers"),
        scheduler=arguments.pop("scheduler"),
        partition=arguments.pop("partition"),
        max_failures=arguments.pop("max_failures"),
        retry=arguments.pop("retry"),
        overwrite=arguments.pop("overwrite"),
    )


def pop_archive_options(arguments: dict[str, Any]) -> ArchiveOptions:
    """The options of a cohort, taken out of a command's arguments."""
    return ArchiveOptions(
        levels=arguments.pop("levels"),
        chunk=arguments.pop("chunk"),
        codec=arguments.pop("codec"),
        zipped=arguments.pop("zipped"),
        labels_only=arguments.pop("label"),
        keep_metadata=arguments.pop("keep_metadata"),
    )


def pop_input_selection(arguments: dict[str, Any]) -> InputSelection:
    """What belongs together, taken out of a command's arguments."""
    return InputSelection(
        image_patterns=arguments.pop("image_pattern"),
        label_patterns=arguments.pop("label_pattern"),
        image_columns=arguments.pop("image_column"),
        label_columns=arguments.pop("label_column"),
        subject_column=arguments.pop("subject_column"),
    )


def expanded(paths: Sequence[str]) -> list[str]:
    """Paths with ``~`` as the user's folder."""
    return [os.path.expanduser(path) for path in paths]


def _with(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
