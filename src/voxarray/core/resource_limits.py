"""What this process may use of the machine: memory and processors, and who says so.

A machine of 512 GiB says nothing of a job of 700 MiB: schedulers, containers and dask's workers
each limit in their own way. Whatever is found binds; the least of all counts.
"""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from voxarray.core.cgroups import groups

FRESH_SECONDS = 1.0
"""How long what was found counts: a look costs 0.2 ms, and guards ask before every read."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of this process.

    Attributes:
        value: Bytes of memory, or processors.
        origin: Who says so: a file, a variable, a system call.
    """

    value: int
    origin: str


def memory_limits() -> tuple[Limit, ...]:
    """All limits of this process's memory in bytes, the machine's first; at most a second old."""
    return _MEMORY.get()


def core_limits() -> tuple[Limit, ...]:
    """All limits of this process's processors, the machine's first; at most a second old."""
    return _CORES.get()


def memory() -> Limit:
    """The limit that binds: the least of `memory_limits`."""
    return _MEMORY.least()


def cores() -> Limit:
    """The limit that binds: the least of `core_limits`."""
    return _CORES.least()


def forget() -> None:
    """Look again at the next question, because something has changed."""
    _MEMORY.forget()
    _CORES.forget()


def find_memory(
    environment: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> Iterator[Limit]:
    """Look for limits of memory.

    Args:
        environment: Variables, in which schedulers say what a job was given.
        root: Where ``/proc`` and ``/sys`` are looked for.
    """
    yield _physical_memory()
    for group in groups("memory", root):
        yield from (Limit(value, origin) for value, origin in group.memory())
    yield from _resource_limits()
    yield from _memory_of_job(environment)
    yield from _memory_of_dask()


def find_cores(
    environment: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> Iterator[Limit]:
    """Look for limits of processors; arguments as of `find_memory`."""
    yield Limit(os.cpu_count() or 1, "the machine's processors")
    if hasattr(os, "sched_getaffinity"):
        yield Limit(len(os.sched_getaffinity(0)), "sched_getaffinity")
    for group in groups("cpu", root):
        # Part of a processor is one thread's worth of work, now and then.
        yield from (Limit(max(1, math.ceil(value)), origin) for value, origin in group.cores())
    yield from _cores_of_job(environment)
    yield from _cores_of_dask()


def _physical_memory() -> Limit:
    try:
        count = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a Unix: nothing that asks is limited
        return Limit(sys.maxsize, "unknown: this system does not report its memory")
    return Limit(count, "the machine's memory")


def _resource_limits() -> Iterator[Limit]:
    try:
        import resource
    except ImportError:  # Windows has none
        return
    # LSF passes on what a job may use (bsub -M) as RSS, Grid Engine (h_vmem) as AS.
    for name in ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_RSS"):
        kind = getattr(resource, name, None)
        value = -1 if kind is None else resource.getrlimit(kind)[0]
        if 0 < value < sys.maxsize:
            yield Limit(value, name)


# --- What schedulers say in the environment of a job ----------------------------------------------


def _memory_of_job(environment: Mapping[str, str]) -> Iterator[Limit]:
    if "SLURM_JOB_ID" in environment:
        # Zero means all that the node has.
        node = _size(environment.get("SLURM_MEM_PER_NODE", ""))
        if node:
            yield Limit(node, "SLURM_MEM_PER_NODE")
        for name, counts in (
            ("SLURM_MEM_PER_CPU", ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")),
            ("SLURM_MEM_PER_GPU", ("SLURM_GPUS_ON_NODE",)),
        ):
            each = _size(environment.get(name, ""))
            number = next(
                filter(None, (_count(environment.get(variable, "")) for variable in counts)), 0
            )
            if each:
                yield Limit(each * max(1, number), f"{name} x {max(1, number)}")
    if "PBS_JOBID" in environment:
        granted = environment.get("PBS_RESC_MEM", "")
        if granted.isdigit() and int(granted):
            yield Limit(int(granted), "PBS_RESC_MEM")


def _cores_of_job(environment: Mapping[str, str]) -> Iterator[Limit]:
    for job, names in (
        # Of a task where tasks are told apart, else of what the job has on this node.
        ("SLURM_JOB_ID", ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")),
        ("PBS_JOBID", ("NCPUS", "PBS_NUM_PPN")),
        ("JOB_ID", ("NSLOTS",)),  # Grid Engine
    ):
        present = (name for name in names if _count(environment.get(name, "")))
        name = next(present, None) if job in environment else None
        if name:
            yield Limit(_count(environment[name]), name)
    if "LSB_JOBID" in environment:
        yield from _cores_of_lsf(environment)


def _cores_of_lsf(environment: Mapping[str, str]) -> Iterator[Limit]:
    fields = environment.get("LSB_MCPU_HOSTS", "").split()  # hostA 4 hostB 2
    hostname = platform.node().partition(".")[0]
    for host, count in zip(fields[::2], fields[1::2], strict=False):
        if host.partition(".")[0] == hostname and _count(count):
            yield Limit(_count(count), "LSB_MCPU_HOSTS")
            return
    total = _count(environment.get("LSB_DJOB_NUMPROC", ""))
    if total:
        yield Limit(total, "LSB_DJOB_NUMPROC")


def _size(text: str) -> int:
    """Bytes of what SLURM says in MiB, or with a letter; 0 for all there is, or no number."""
    match = re.fullmatch(r"(\d+)([KMGT]?)", text.strip().upper())
    return int(match[1]) << {"K": 10, "": 20, "M": 20, "G": 30, "T": 40}[match[2]] if match else 0


def _count(text: str) -> int:
    return int(text) if text.isdigit() else 0


# --- What dask says of the worker that this process is --------------------------------------------


_GONE = {"closing", "closed", "stopping", "stopped", "failed"}


def _dask_workers() -> list[object]:
    # Whoever is a worker has imported it, so that looking costs nothing elsewhere.
    module = sys.modules.get("distributed.worker")
    workers = getattr(getattr(module, "Worker", None), "_instances", ())
    # One that was closed stays in memory until the garbage collector comes by.
    return [worker for worker in workers if _status(worker) not in _GONE]


def _status(worker: object) -> str:
    return str(getattr(getattr(worker, "status", None), "name", ""))


def _memory_of_dask() -> Iterator[Limit]:
    """Dask pauses a worker whose process has 0.8 of this, and ends one that has 0.95."""
    for worker in _dask_workers():
        value = getattr(getattr(worker, "memory_manager", None), "memory_limit", None)
        if value:
            yield Limit(int(value), "memory_limit of the dask worker")


def _cores_of_dask() -> Iterator[Limit]:
    for worker in _dask_workers():
        count = getattr(getattr(worker, "state", None), "nthreads", None)
        if count:
            yield Limit(int(count), "nthreads of the dask worker")


@dataclass(slots=True)
class _Fresh:
    """What was found, looked for again when it is old."""

    find: Callable[[], Iterator[Limit]]
    # One tuple, replaced at once: no lock, which a fork could copy while it is held. With the
    # least, which is asked for before every read.
    _cached: tuple[float, tuple[Limit, ...], Limit | None] = (-math.inf, (), None)

    def get(self) -> tuple[Limit, ...]:
        return self._found()[0]

    def least(self) -> Limit:
        return self._found()[1]

    def _found(self) -> tuple[tuple[Limit, ...], Limit]:
        expiry, limits, least = self._cached
        if least is None or time.monotonic() >= expiry:
            limits = tuple(self.find())
            least = min(limits, key=lambda limit: limit.value)
            self._cached = time.monotonic() + FRESH_SECONDS, limits, least
        return limits, least

    def forget(self) -> None:
        self._cached = -math.inf, (), None


_MEMORY = _Fresh(find_memory)
_CORES = _Fresh(find_cores)
