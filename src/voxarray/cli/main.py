"""The group of commands; each is a module that is imported when it is called."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from voxarray.cli.console import console, end_of_pipe, open_closed_streams
from voxarray.cli.outcome import fatal, interrupts_heard
from voxarray.core.errors import VoxarrayWarning
from voxarray.core.exit_codes import INTERRUPTED, NOTHING_DONE
from voxarray.core.version import __version__

_COMMANDS = (
    *("add-labels", "catalogue", "clean", "completion", "convert", "demo", "evaluate", "finalise"),
    *("history", "infer", "info", "plan", "preprocess", "remove-labels", "verify"),
)

_HEADERS_ALONE = ("history", "info")
"""Commands that compute with nothing larger than an affine."""


class _Lazy(click.Group):
    """A group that imports a command when it is named: ``info`` need not import the demo."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name in _HEADERS_ALONE:
            _import_numpy_in_one_thread()
        command: click.Command = import_module(f"voxarray.cli.{cmd_name.replace('-', '_')}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever goes wrong, its user sees a sentence and no traceback."""
        open_closed_streams()
        try:
            with interrupts_heard(), fatal(), _warnings_as_sentences():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, SystemExit):
            raise
        except BrokenPipeError:
            end_of_pipe()
        except KeyboardInterrupt:
            console().complain("stopped")
            sys.exit(INTERRUPTED)
        except MemoryError as error:
            console().complain(
                f"out of memory ({error}): set a smaller budget with --memory, use fewer workers, "
                "or process a smaller part"
            )
            sys.exit(NOTHING_DONE)
        except UnicodeEncodeError as error:
            if not any("\udc80" <= letter <= "\udcff" for letter in str(error.object)):
                _own_fault(error)
            console().complain(
                f"{error.object}: this name holds bytes that are not UTF-8, so it cannot be "
                "printed or stored: rename the file, or choose another one"
            )
            sys.exit(NOTHING_DONE)
        except Exception as error:
            _own_fault(error)


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Say warnings of ours without the line of code that Python shows with them."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def say(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, VoxarrayWarning):
                console().complain(f"warning: {message}")
            else:
                show(message, category, *where, **more)

        warnings.showwarning = say
        yield


def _import_numpy_in_one_thread() -> None:
    """Import numpy before others do, without the threads of its linear algebra.

    OpenBLAS starts one for each processor while it is loaded: 20 to 30 ms of CPU on two, which is
    a sixth of what ``voxarray info`` takes, for products of 4 x 4 matrices.
    """
    name = "OPENBLAS_NUM_THREADS"
    if name in os.environ:
        return
    os.environ[name] = "1"
    try:
        import_module("numpy")
    finally:
        del os.environ[name]  # read while it is loaded; what this process starts is not limited


def _own_fault(error: Exception) -> None:
    """Say what nobody foresaw in one sentence; all of it only where it was asked for."""
    talk = console()
    if talk.verbose:
        talk.complain(traceback.format_exc().rstrip())
    talk.complain(
        f"voxarray {__version__} failed because of an unexpected error ({type(error).__name__}: "
        f"{error}); please report it, with the output of the same command with --verbose"
    )
    sys.exit(NOTHING_DONE)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="voxarray")
def main() -> None:
    """Medical images larger than memory: look at them, archive them as Zarr, check them."""
