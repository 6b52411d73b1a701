"""The event loop of remote requests, at the end of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, sys, time
from voxarray.storage.remote import event_loop

async def request():
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled", event_loop.is_ending(), flush=True)
        if sys.argv[1] == "stubborn":
            await asyncio.sleep(60)
        raise

async def begin():
    asyncio.get_running_loop().request = asyncio.create_task(request())
    await asyncio.sleep(0)

if sys.argv[1] != "idle":
    asyncio.run_coroutine_threadsafe(begin(), event_loop.running_loop()).result()
print("done", event_loop.is_ending(), flush=True)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("idle", ["done False"]),
        ("asked", ["done False", "cancelled True"]),
        ("stubborn", ["done False", "cancelled True"]),
    ],
)
def test_requests_are_cancelled_when_the_process_ends(how, said):
    """An answer that comes later would abort the process, in a thread of obstore."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=40
    )
    assert ended.stdout.splitlines() == said
    assert ended.returncode == 0, ended.stderr
