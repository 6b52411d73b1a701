"""``voxarray clean``: what interrupted processes have left."""

from __future__ import annotations

import click

from voxarray.archive.cleaning import clean
from voxarray.archive.leftovers import Leftover
from voxarray.cli.console import console, output_options
from voxarray.core.exit_codes import SOME_FAILED
from voxarray.core.memory import format_bytes
from voxarray.storage.folder_lock import Ownership


@click.command("clean")
@click.argument("path")
@click.option(
    "--unlocked",
    is_flag=True,
    help="Also remove files without a lock, which may still be in use",
)
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing")
@output_options(as_json=False)
def command(path: str, unlocked: bool, dry_run: bool) -> None:
    """Remove files left in PATH by conversions that were interrupted.

    Subfolders are searched, too. A lock shows whether the conversion that left a file still runs;
    if it does, the file is kept. On some file systems, in buckets (s3://...) and for files of
    voxarray 0.1 there are no locks, so clean cannot tell. It keeps such files, unless you give
    --unlocked. Use that only while nobody converts there.
    """
    talk = console()
    leftovers = clean(path, unlocked=unlocked, dry_run=dry_run)
    for leftover in leftovers:
        talk.say(f"{leftover.path}: {_text(leftover, dry_run)}, {format_bytes(leftover.bytes)}")
    removed = [leftover for leftover in leftovers if leftover.outcome in ("removed", "restored")]
    talk.say(f"{len(removed)} removed, {format_bytes(sum(leftover.bytes for leftover in removed))}")
    doubtful = [
        leftover
        for leftover in leftovers
        if leftover.ownership is Ownership.UNKNOWN and leftover.outcome != "failed"
    ]
    if doubtful and not unlocked:
        count = len(doubtful)
        kept, used, them = ("is", "it is", "it") if count == 1 else ("are", "they are", "them")
        talk.complain(
            f"{count} of these {kept} kept, since no lock shows whether {used} in use: to remove "
            f"{them} while no process converts here, run voxarray clean {path} --unlocked"
        )
    failed = [leftover for leftover in leftovers if leftover.outcome == "failed"]
    for leftover in failed:
        talk.complain(f"{leftover.path}: {leftover.problem}")
    talk.finish(SOME_FAILED if failed else 0)


def _text(leftover: Leftover, dry_run: bool) -> str:
    owner = leftover.ownership.value
    if leftover.outcome == "left" and leftover.ownership is Ownership.ABANDONED and dry_run:
        return f"{owner}, would be removed"
    return f"{owner}, {leftover.outcome}"
