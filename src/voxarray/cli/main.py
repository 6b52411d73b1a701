"""The group of commands; each is a module that is imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from voxarray.core.version import __version__

_COMMANDS = ("catalogue", "clean", "convert", "demo", "finalise", "info", "plan", "verify")


class _Lazy(click.Group):
    """A group that imports a command when it is named: ``info`` need not import the demo."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"voxarray.cli.{cmd_name}").command
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="voxarray")
def main() -> None:
    """Medical images larger than memory: look at them, archive them as Zarr, check them."""
