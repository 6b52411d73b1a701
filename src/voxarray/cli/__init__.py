"""The command line: a module for each command of ``voxarray``, of the command's name.

``main`` is the group of commands. Options that several commands have are in ``options``, exit codes
in `voxarray.core.exit_codes`: 0 all good, 3 some failed, 1 nothing done, 2 a call that makes no
sense, 75 asked to stop, so that running the same command again resumes, and 130 stopped by Ctrl-C.
"""

from voxarray.cli.main import main

__all__ = ["main"]
