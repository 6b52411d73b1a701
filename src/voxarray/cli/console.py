"""What a command says and where: results on stdout, everything else on stderr; text or JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, TextIO

import click

from voxarray.core.exit_codes import CLOSED_PIPE
from voxarray.core.printable import printable
from voxarray.core.progress import ProgressOption

_FORMAT = "%(levelname)s %(name)s: %(message)s"


@dataclass(slots=True)
class Console:
    """How a command was asked to speak.

    Attributes:
        quiet: Say nothing but errors and what was asked for as JSON.
        verbose: Say more, log records of ``voxarray`` included.
        as_json: Say one JSON document at the end, and nothing else on stdout.
        document: That document.
    """

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    document: dict[str, Any] = field(default_factory=dict)

    def say(self, text: str, *, newline: bool = True) -> None:
        """Say a result in words."""
        if not (self.quiet or self.as_json):
            _write(text, sys.stdout, newline)

    def detail(self, text: str) -> None:
        """Say what is asked for by --verbose."""
        if self.verbose:
            self.say(text)

    def complain(self, text: str) -> None:
        """Say what went wrong; on stderr, whatever was asked for."""
        _write("\n".join(map(printable, text.split("\n"))), sys.stderr, True)

    def finish(self, code: int = 0) -> NoReturn:
        """Say the document, if one was asked for, and end the process."""
        if self.as_json:
            _write(json.dumps(self.document, indent=2, default=_plain), sys.stdout, True)
        sys.exit(code)

    @property
    def progress(self) -> ProgressOption:
        """What functions that show progress are to be told."""
        return False if self.quiet else None


def console() -> Console:
    """The console of the command that runs."""
    context = click.get_current_context(silent=True)
    stored = None if context is None else context.meta.get(__name__)
    return stored if isinstance(stored, Console) else Console()


def output_options(*, as_json: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options for what a command says: --quiet, --verbose and, where there is a result, --json."""

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        if as_json:
            command = click.option(
                "--json",
                is_flag=True,
                expose_value=False,
                callback=_remember("as_json"),
                help="Print the result as one JSON document",
            )(command)
        command = click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_remember("verbose"),
            help="Print more: every file, and log records",
        )(command)
        return click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_remember("quiet"),
            help="Print errors only",
        )(command)

    return decorated


def _remember(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        options = context.meta.setdefault(__name__, Console())
        if value:
            setattr(options, name, True)
        if options.quiet and options.verbose:
            raise click.UsageError("--quiet and --verbose cannot both be given")
        if name == "verbose" and value:
            _log_to_stderr(context)

    return remember


def _log_to_stderr(context: click.Context) -> None:
    """While the command runs: who calls it in a process of its own goes on as before."""
    logger, handler = logging.getLogger("voxarray"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    context.call_on_close(partial(logger.setLevel, logger.level))
    logger.setLevel(logging.DEBUG)
    if not any(isinstance(existing, logging.StreamHandler) for existing in logger.handlers):
        context.call_on_close(partial(logger.removeHandler, handler))
        logger.addHandler(handler)


def _write(text: str, stream: TextIO, newline: bool) -> None:
    try:
        click.echo(text, file=stream, nl=newline)
    except UnicodeEncodeError:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise  # halves of letters, which no encoding holds
        shown = text.encode(stream.encoding, "backslashreplace").decode(stream.encoding)
        click.echo(shown, file=stream, nl=newline)  # as Python does on stderr
    except BrokenPipeError:
        end_of_pipe()


def open_closed_streams() -> None:
    """Give this process the standard streams that whoever started it closed; they lead nowhere.

    Otherwise the next files that it opens get their numbers, and what the C libraries write to
    stderr goes into them.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def end_of_pipe() -> NoReturn:
    """End without a word: nobody reads on, which is no fault of any file."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    sys.exit(CLOSED_PIPE)


def _plain(value: Any) -> Any:
    """Numbers of NumPy and paths as JSON has them."""
    return value.item() if hasattr(value, "item") else str(value)
