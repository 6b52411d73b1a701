"""The argument SOURCES of commands that make something of many: all but the last word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class _Sources(click.Argument):
    """Any number of sources, before the destination.

    The last word is the destination, and of one word nothing is left for the sources. Whoever gave
    one named a source, and forgot the destination: that is what is missing.
    """

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """As click has it, but say what is missing."""
        before, destination = opts.get("sources"), opts.get("destination")
        is_alone = isinstance(destination, str) and not (isinstance(before, tuple) and before)
        if is_alone and not ctx.resilient_parsing:
            (missing,) = (
                parameter for parameter in ctx.command.params if parameter.name == "destination"
            )
            raise click.MissingParameter(
                f"{destination!r} is taken as SOURCES: give DESTINATION after it", ctx, missing
            )
        return super().handle_parse_result(ctx, opts, args)


sources_before_destination = click.argument("sources", cls=_Sources, nargs=-1, required=True)
"""Gives a command the argument SOURCES, which stands before its argument ``destination``."""
