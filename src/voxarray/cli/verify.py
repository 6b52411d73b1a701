"""``voxarray verify``: whether archives are what was written, or what they were made from."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import NoReturn

import click

from voxarray.archive.verify import Problem
from voxarray.cli import options
from voxarray.cli.console import output_options
from voxarray.cli.outcome import Outcome
from voxarray.cohort.discover.archives import holdings
from voxarray.cohort.verify_cohort import Verdict, verify_below
from voxarray.cohort.verify_path import require_archive, require_comparable, verify_against
from voxarray.core.errors import FormatError
from voxarray.core.memory import format_bytes
from voxarray.core.progress import reporting_each


@click.command("verify")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--source",
    "sources",
    multiple=True,
    help="Also compare each voxel with the source: the file or folder that the archive or cohort "
    "was made from",
)
@click.option("--quick", is_flag=True, help="Check names and sizes only")
@output_options(as_json=True)
def command(paths: tuple[str, ...], sources: tuple[str, ...], quick: bool) -> None:
    """Compare every byte of archives with their checksums.

    PATHS are archives, cohorts, and folders that contain archives or cohorts at any depth. In a
    cohort, every planned archive must exist, and the catalogue must list it, too.
    """
    expanded = tuple(options.expanded(paths))
    for path in expanded:
        require_archive(path)
    began = time.perf_counter()
    archives = holdings(expanded)
    inputs = options.expanded(sources)
    report = _Report(Outcome(), is_long=archives.count > _SHOWN, scope=_scope(quick, bool(inputs)))
    if inputs:
        try:
            require_comparable(archives, inputs)
        except FormatError as error:
            raise click.UsageError(error.message) from None
    with reporting_each(report.outcome.console.progress, archives.count) as begin:
        if inputs:
            verdicts = verify_against(archives, inputs, quick=quick, begin=begin)
        else:
            verdicts = verify_below(expanded, quick=quick, begin=begin)
        for verdict in verdicts:
            report.add(verdict)
    report.end(time.perf_counter() - began)


_SHOWN = 20
"""Archives that are named each; of more, only those that are damaged, and how many were checked."""


def _scope(quick: bool, compared: bool) -> str:
    """What a quick check leaves out; empty for a full one."""
    if not quick:
        return ""
    return f"{'voxels and sizes' if compared else 'sizes only'}; checksums were not compared"


@dataclass(slots=True)
class _Report:
    """Says what was found, archive by archive, and what it comes to.

    Attributes:
        outcome: Of the command.
        is_long: Whether there are too many archives to name each.
        scope: What was compared and what was not; empty if all was.
    """

    outcome: Outcome
    is_long: bool
    scope: str
    files: int = 0
    bytes: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        talk, problems = self.outcome.console, list(verdict.problems)
        talk.document.setdefault("archives", []).append(
            {"path": verdict.name, "problems": [asdict(problem) for problem in problems]}
        )
        if problems:
            self.outcome.failed.append(verdict.name)
            talk.complain(f"{verdict.name}: {_problems_text(problems)}")
            return
        self.outcome.done.append(verdict.name)
        self.files, self.bytes = self.files + verdict.files, self.bytes + verdict.bytes
        self.notes.update(verdict.notes)
        size = f" ({_files(verdict.files)}, {format_bytes(verdict.bytes)})"
        suffix = size if verdict.files else ""
        (talk.detail if self.is_long else talk.say)(f"{verdict.name}: OK{suffix}")

    def end(self, seconds: float) -> NoReturn:
        talk, good, bad = self.outcome.console, self.outcome.done, self.outcome.failed
        talk.document.update(
            checked=len(good) + len(bad),
            damaged=len(bad),
            notes=dict(self.notes),
            seconds=round(seconds, 3),
        )
        for note, count in self.notes.items():
            archives = "1 archive is" if count == 1 else f"{count} archives are"
            talk.say(f"note: {archives} {note}")
        if len(good) + len(bad) > 1:
            talk.say(
                f"{len(good)} OK ({_files(self.files)}, {format_bytes(self.bytes)}), {len(bad)} "
                f"with problems; in {seconds:.1f} s"
            )
        if self.scope and good:
            talk.say(self.scope)
        self.outcome.exit(nothing="nothing to verify: no archive was found; check the path")


def _problems_text(problems: list[Problem]) -> str:
    lines = [f"{problem.code}: {problem.where}: {problem.message}" for problem in problems]
    # Not all are damage: an archive may be missing, outdated, or another than its source.
    wrong = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return "\n  ".join([wrong, *lines])


def _files(number: int) -> str:
    return f"{number:,} file{'' if number == 1 else 's'}"
