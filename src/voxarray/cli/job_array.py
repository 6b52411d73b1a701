"""``--slurm`` and ``--submit``: the work of a command as a job array, printed or submitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from voxarray.cli.console import console
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run import slurm
from voxarray.cohort.run.slurm_submit import submit
from voxarray.core.errors import FormatError
from voxarray.storage.remote.address import Address, carries_secret
from voxarray.storage.small_files import make_folder


def as_job_array(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that may be done by a job array."""
    command = click.option(
        "--submit",
        is_flag=True,
        help="Submit the job array of --slurm, and a job that makes the catalogue after it",
    )(command)
    return click.option(
        "--slurm",
        "jobs",
        metavar="N",
        type=click.IntRange(1),
        help="Print the script of a SLURM job array of N tasks",
    )(command)


def refuse_contradictions(jobs: int | None, submitting: bool) -> None:
    """Refuse options that have no effect together.

    Raises:
        click.UsageError: Naming them.
    """
    talk = console()
    if submitting and jobs is None:
        raise click.UsageError("--submit needs --slurm N, which makes the script that is submitted")
    if jobs is not None and not submitting and (talk.as_json or talk.quiet):
        raise click.UsageError("--slurm prints a script: leave --json and --quiet out")


def queue(
    plan: Plan,
    work: Sequence[str],
    folder: CohortLayout,
    jobs: int,
    *,
    submitting: bool,
    written: bool = True,
) -> None:
    """Print the script of a job array, or submit it.

    Args:
        plan: What was frozen.
        work: Name and arguments of the subcommand that does it, with absolute paths.
        folder: Of the cohort.
        jobs: Parts.
        submitting: Whether to submit.
        written: Whether the plan was written; if not, no folder is made either.

    Raises:
        FormatError: A URL in it holds a secret (``SECRET_IN_URL``).
    """
    for item in work:
        if carries_secret(item):
            raise FormatError(
                f"{Address.parse(item).shown} holds a password or signature, and others may read "
                "the script: put such URLs into a list (.txt) that only you can read",
                code="SECRET_IN_URL",
            )
    talk, logs = console(), folder.logs
    text = slurm.script(plan, work, folder.root, jobs)
    if submitting:
        submitted = submit(text, folder.root)
        talk.say(f"{submitted}; logs in {logs}")
        talk.document.update(array=submitted.array, last=submitted.last, logs=logs)
        talk.finish()
    if written:
        make_folder(logs)  # SLURM does not
    talk.say(text, newline=False)


def repeated(arguments: dict[str, Any]) -> list[str]:
    """The options of this call as a command line has them, for the jobs."""
    words: list[str] = []
    for name, value in arguments.items():
        flag = f"--{'zip' if name == 'zipped' else name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif isinstance(value, list):  # of levels
            words += [flag, ",".join(map(str, value))]
        elif isinstance(value, tuple):
            for item in value:
                pair = isinstance(item, tuple)
                text = (f"{item[0]}={item[1]}" if item[0] else item[1]) if pair else item
                words += [flag, text]
        elif value not in (None, False):
            words += [flag, str(value)]
    return words
