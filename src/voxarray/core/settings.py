"""What can be configured: keys under ``voxarray.`` in dask's configuration.

Every key can be set in the environment (``VOXARRAY`` keys follow dask's rule, for example
``DASK_VOXARRAY__MEMORY_BUDGET="4 GiB"``), in dask's YAML files, or for a while in code::

    with dask.config.set({"voxarray.memory-budget": "4 GiB"}):
        image.load()
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from voxarray.core import resource_limits

DEFAULTS: dict[str, Any] = {
    # Bytes that one operation may use; None is half of what the process may use at all.
    "memory-budget": None,
    # Bytes of decoded blocks (whole small .nii.gz files, slabs of large ones) kept per process.
    "block-cache": 1 << 30,
    # A .nii.gz that decodes to no more than this is decoded and cached as one block.
    "gzip-whole-limit": 512 << 20,
    # Threads that encode and decode; None is the number of usable cores, at most eight.
    "threads": None,
    # Whether loops over voxels and chunks are compiled where numba is installed (110 MiB once per
    # process).
    "compiled-loops": True,
    # Images of a cohort that are stored so that any part can be read (no compressed streams) and
    # have this many bytes of voxels are divided among workers, if one alone would be waited for.
    "split-from": 2 << 30,
    # Seconds for which a worker of dask may finish nothing and compute nothing, before its images
    # are given to others.
    "worker-patience": 300.0,
    # Largest size that one chunk of an archive may decode to, against decompression bombs.
    "chunk-limit": 256 << 20,
    # How often a request over a network is made before it counts as failed, and the seconds that
    # each may take.
    "remote-attempts": 6,
    "remote-timeout": 30.0,
    # Requests under way at once: a network is waited for, not worked.
    "remote-requests": 16,
    # What obstore and fsspec are told beside the URL, per scheme, for example
    # {"s3": {"skip_signature": True, "region": "eu-west-1"}}. Both also heed the environment.
    "remote-options": {},
    "fsspec-options": {},
    # Chunks of remote archives that are kept on this machine's disk, for training over a network:
    # how many bytes of them (0 keeps none), and where; None is a folder for this user among the
    # temporary files. All processes share them. They stay for the next run.
    "remote-cache": "0 B",
    "remote-cache-directory": None,
    # Local copies of remote files that cannot be read in parts: how much of them a process keeps,
    # and where; None is the system's folder for temporary files. They are gone when it ends.
    "download-cache": 16 << 30,
    "download-directory": None,
}


_from_tasks: list[Mapping[str, Any]] = []
"""What came with the tasks that run in this process now, the newest last."""


def get(key: str) -> Any:
    """Value of ``voxarray.<key>`` as it came with a task, or as configured, or its default."""
    if key not in DEFAULTS:
        raise KeyError(f"voxarray has no setting {key!r}; its settings are {sorted(DEFAULTS)}")
    for values in _from_tasks[-1:]:  # a copy: another task may end meanwhile
        if key in values:
            return values[key]
    if "dask" not in sys.modules and not _may_be_configured():
        return DEFAULTS[key]  # dask takes 0.3 s to load, most of a `voxarray info`
    import dask.config

    value = dask.config.get(f"voxarray.{key}", default=None)
    return DEFAULTS[key] if value is None else value


@cache
def _may_be_configured() -> bool:
    """Whether dask, which is not loaded yet, would find a key of ours where it looks.

    That is in the environment, and in the YAML files of some folders, as `dask.config` lists them.
    Only a text that is in none of them is certain; what it means, dask says. Asked once, as dask
    reads them once.
    """
    if any(name.startswith("DASK") for name in os.environ):
        return True
    return any(
        _names_us(os.path.join(folder, name)) for folder in config_folders() for name in _in(folder)
    )


def config_folders() -> set[str]:
    """Folders whose YAML files dask reads, where no variable names others."""
    return {
        "/etc/dask",
        *(os.path.join(prefix, "etc", "dask") for prefix in (sys.prefix, *site.PREFIXES)),
        os.path.join(os.path.expanduser("~"), ".config", "dask"),
    }


def _in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError:
        return [""]  # which cannot be read either: dask decides


def _names_us(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"voxarray" in file.read()
    except OSError:
        return True


def get_bytes(key: str) -> int:
    """Value of a size setting in bytes; texts such as ``"4 GiB"`` are understood."""
    value = get(key)
    if isinstance(value, int):
        return value
    return _parsed(value)


@lru_cache(maxsize=64)
def _parsed(text: Any) -> int:
    from dask.utils import parse_bytes

    return int(parse_bytes(text))


def threads() -> int:
    """Number of threads for encoding and decoding."""
    configured = get("threads")
    if configured is not None:
        return max(1, int(configured))
    return min(8, resource_limits.cores().value)


# --- Settings of whoever gives tasks to other processes -------------------------------------------


def configured() -> dict[str, Any]:
    """What is set here and differs from the defaults: what tasks for other processes take along."""
    values = {key: get(key) for key in DEFAULTS}
    return {key: value for key, value in values.items() if value != DEFAULTS[key]}


@contextmanager
def of_task(values: Mapping[str, Any]) -> Iterator[None]:
    """Let what came with a task count while it runs, before what is configured in this process.

    It counts for the whole process, because a task's work is done by several threads. Where tasks
    of several users run in one worker at once, the newest counts for all.

    Args:
        values: Of `configured`, where the task was made.
    """
    if not values:
        yield
        return
    copied = dict(values)
    _from_tasks.append(copied)
    try:
        yield
    finally:
        _from_tasks[:] = [other for other in _from_tasks if other is not copied]


def came_with_task(key: str) -> bool:
    """Whether a task that runs here has brought its own value of a setting."""
    return any(key in values for values in _from_tasks[-1:])
