"""Trying again: a bounded number of times, with pauses that grow and differ between readers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from voxarray.core import settings

Result = TypeVar("Result")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 8.0

_random = random.SystemRandom()  # forked readers must not pause in step


def repeat(request: Callable[[], Result], is_transient: Callable[[Exception], bool]) -> Result:
    """The result of a request, asked for as often as the setting ``remote-attempts`` says.

    Raises:
        Exception: The request's last one, or the first that is not transient.
    """
    attempts = max(1, int(settings.get("remote-attempts")))
    for number in range(1, attempts):
        try:
            return request()
        except Exception as error:
            if not is_transient(error):
                raise
        pause(number)
    return request()


def pause(number: int) -> None:
    """Wait after attempt ``number``: between half and all of a time that doubles."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (number - 1))
    time.sleep(_random.uniform(0.5, 1.0) * longest)
