"""Requests for parts of objects that are under way in this process, counted in its event loop.

What somebody waits for goes before what is fetched ahead of its reading, and both together stay
within the setting ``voxarray.remote-requests``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

RESERVED = 2
"""Of the requests that may be under way, those that are not made ahead: indices of shards are read
by requests that are not counted here."""


class Slots:
    """The requests that are under way. Used by the thread of the event loop alone.

    Attributes:
        all: How many there are.
        ahead: How many of them were made ahead.
        freed: Called when one has ended and nobody waits for its place.
    """

    def __init__(self) -> None:
        self.all = self.ahead = 0
        self.freed: Callable[[], None] = lambda: None
        self._waiting = 0
        self._turns: list[asyncio.Future[None]] = []

    async def enter(self, most: int) -> None:
        """Begin a request that somebody waits for: at once, unless those ahead take its place.

        Args:
            most: Requests that may be under way. Reads in several threads do not wait for each
                other.
        """
        import asyncio

        self._waiting += 1
        try:
            while self.ahead and self.all >= most:
                turn = asyncio.get_running_loop().create_future()
                self._turns.append(turn)
                await turn
        finally:
            self._waiting -= 1
        self.all += 1

    def leave(self) -> None:
        """End a request."""
        self.all -= 1
        # All of them look again: one that is woken may have been cancelled meanwhile.
        turns, self._turns = self._turns, []
        for turn in turns:
            if not turn.done():
                turn.set_result(None)
        if not self._waiting:
            self.freed()

    def begin_ahead(self, most: int, is_wanted: bool) -> bool:
        """Begin a request ahead of its reading, if there is room for it; False if not.

        Args:
            most: As for `enter`.
            is_wanted: Whether somebody waits for it by now.
        """
        if is_wanted:
            has_room = not self.ahead or self.all < most
        else:
            has_room = not self._waiting and self.all < most - RESERVED
        if has_room:
            self.all += 1
            self.ahead += 1
        return has_room

    def end_ahead(self) -> None:
        """End a request that was begun ahead."""
        self.ahead -= 1
        self.leave()


_slots = Slots()


def slots() -> Slots:
    """Those of this process."""
    return _slots


def _forget_in_child() -> None:
    global _slots
    _slots = Slots()  # the event loop stayed in the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
