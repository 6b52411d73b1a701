"""The command line: ``voxarray info``, ``convert``, ``verify``, ``demo``, and for cohorts ``plan``,
``finalise`` and ``catalogue``.

Exit codes: 0 all good, 3 some failed, 1 nothing done, 2 a call that makes no sense.
"""

from voxarray.cli.main import main

__all__ = ["main"]
