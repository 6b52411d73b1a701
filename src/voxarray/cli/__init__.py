"""The command line: ``voxarray info``, ``convert``, ``verify`` and ``demo``.

Exit codes: 0 all good, 3 some failed, 1 nothing done, 2 a call that makes no sense.
"""

from voxarray.cli.main import main

__all__ = ["main"]
