"""Scripts that start processes, and what these run of them."""

from __future__ import annotations

import sys
from multiprocessing import current_process
from pathlib import Path

from voxarray.core.errors import StateError, TransportError, VoxarrayError

GUARD = 'if __name__ == "__main__":'
"""The line that a script needs before it starts processes."""

_WHAT_TO_DO = f"put the code of the script into a function, and call the function under {GUARD}"


def require_main_guard() -> None:
    """Refuse to start processes while this one is being started.

    A new process imports the script that it came from. Without a guard the script would do all of
    its work again there, at the same time and with the same files.

    Raises:
        StateError: It is being started (``NO_MAIN_GUARD``).
    """
    # Python's own check of the same, in multiprocessing.spawn, looks there, too.
    if getattr(current_process(), "_inheriting", False):
        raise StateError(
            "workers= starts processes, and each of them runs this script from its start: "
            f"{_WHAT_TO_DO}",
            code="NO_MAIN_GUARD",
        )


def workers_not_started(workers: int, error: BaseException) -> VoxarrayError:
    """The error of whoever asked for processes of which none could begin to work.

    Args:
        workers: How many were asked for.
        error: What is known of it; the processes themselves tell nothing.
    """
    script = script_without_guard()
    if script:
        return StateError(
            f"workers= starts processes; each of them runs {script} from its start, and fails "
            f"there: {_WHAT_TO_DO}",
            code="NO_MAIN_GUARD",
        )
    return TransportError(
        f"the worker processes ({workers}) did not start ({type(error).__name__}): a Python script "
        f"needs {GUARD} before it starts workers; if one of the workers has run out of "
        "memory, run the same command again, or with fewer --workers (workers=)",
        code="NO_WORKERS",
    )


def script_without_guard() -> str:
    """The script that runs, if it certainly has no guard; else an empty text."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if path is None or getattr(main, "__spec__", None) is not None:  # a notebook, or python -m
        return ""
    try:
        text = Path(path).read_text("utf-8", errors="replace")
    except OSError:  # <stdin>, which is no file
        return ""
    return "" if "__name__" in text else str(path)
