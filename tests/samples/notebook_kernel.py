"""Runs notebooks in Jupyter's kernel, one after the other: a program that a test speaks to.

The kernel runs in the process that asks it. One that is spoken to by sockets sometimes misses a
message where the machine is busy, and the run then waits for its end in vain.

What nearly every notebook imports is imported once; each notebook is then run in a fork, which
nothing of another notebook reaches.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.inprocess.ipkernel import InProcessInteractiveShell, InProcessKernel
from ipykernel.inprocess.manager import InProcessKernelManager
from ipykernel.iostream import IOPubThread
from traitlets import default

SECONDS = 600.0  # for one notebook, then its threads are written to its stderr and it ends


class ZMQInteractiveShell(InProcessInteractiveShell):
    """By this name programs know that they are in a notebook."""


class Kernel(InProcessKernel):
    @default("shell_class")
    def _shell(self) -> type[ZMQInteractiveShell]:
        return ZMQInteractiveShell

    @default("iopub_thread")
    def _without_a_thread(self) -> IOPubThread:
        return IOPubThread(self._underlying_iopub_socket, session=self.session)  # never started


def outputs(path: Path, folder: Path) -> list[dict[str, Any]]:
    """What the cells of a notebook show, run in a folder; the last is an error if one failed."""
    manager = InProcessKernelManager()
    manager.kernel = Kernel(parent=manager, session=manager.session)
    client = manager.client()
    client.start_channels()
    os.chdir(folder)
    found: list[dict[str, Any]] = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        client.execute(cell.source)
        reply = client.get_shell_msg(timeout=0)["content"]
        while client.iopub_channel.msg_ready():
            message = client.get_iopub_msg()
            if message["msg_type"] in ("stream", "display_data", "execute_result", "error"):
                found.append(nbformat.v4.output_from_msg(message))
        if reply["status"] != "ok":
            break
    return found


def run(path: Path, folder: Path) -> None:
    """Run a notebook in ``folder/run``, and write beside it what its cells and processes said."""
    for descriptor, name in enumerate(("stdout", "stderr"), 1):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    (folder / "outputs.json").write_text(json.dumps(outputs(path, folder / "run")), "utf-8")


def main() -> None:
    import dask.array  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import torch._dynamo  # which optimisers import, and monai
    import torch.utils.data  # noqa: F401
    import xarray  # noqa: F401
    import zarr  # noqa: F401

    import voxarray  # noqa: F401

    for line in sys.stdin:
        path, folder = json.loads(line)
        child = os.fork()
        if not child:
            sys.stdin.close()
            run(Path(path), Path(folder))
            sys.exit()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
