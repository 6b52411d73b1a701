"""Forks a process for each line of its input, which converts as the line says; to be killed.

A line is JSON: source, destination, overwrite, and the setting of s3. Prints the process's number,
and its status when it has ended.
"""

from __future__ import annotations

import json
import os
import sys

import dask.config

import voxarray as vx
from voxarray.storage.remote import retries


def main() -> None:
    retries.pause = lambda _: None
    os.fsync = lambda _: None  # the machine stays up
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            with dask.config.set({"voxarray.remote-options": {"s3": task["s3"]}}):
                try:
                    vx.convert(task["source"], task["destination"], overwrite=task["overwrite"])
                except Exception as error:
                    print(f"failed {error!r}", file=sys.stderr, flush=True)
                    os._exit(1)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
