"""``python -m voxarray``: the command line."""

from voxarray.cli import main

main(prog_name="voxarray")
