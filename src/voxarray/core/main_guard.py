"""Scripts that start processes, and what these run of them."""

from __future__ import annotations

from multiprocessing import current_process

from voxarray.core.errors import StateError


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
            "workers= starts processes, and each runs this script from its start: put what it does "
            'into a function, and call that under if __name__ == "__main__":',
            code="NO_MAIN_GUARD",
        )
