"""``voxarray completion``: what a shell needs to complete commands, options and paths."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_HELP = """Print a script that lets a shell complete voxarray commands.

With it, the Tab key completes commands, options and paths. Save the script where your shell looks
for such scripts:

\b
bash  voxarray completion bash > ~/.local/share/bash-completion/completions/voxarray
zsh   voxarray completion zsh > "${fpath[1]}/_voxarray"
fish  voxarray completion fish > ~/.config/fish/completions/voxarray.fish
"""


@click.command("completion", help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    kind = get_completion_class(shell)
    if kind is None:  # click knows all three
        raise click.UsageError(f"no completion for {shell}")
    group = context.find_root().command
    click.echo(kind(group, {}, "voxarray", "_VOXARRAY_COMPLETE").source())
