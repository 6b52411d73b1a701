"""Calls that Windows or macOS lack, taken away one by one and all at once: everything still works.

The calls go before voxarray is imported, and after everything else is, so that it alone must do
without them. Nothing here was run on those systems themselves.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

CHILD = """
import ctypes, importlib, os, sys
import dask, nibabel, numpy, torch, xarray, zarr

def refuse_folders():
    import shutil
    shutil._use_fd_functions = False  # as where folders cannot be opened
    opened = os.open
    def refusing(path, *more, **named):
        if isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return opened(path, *more, **named)
    os.open = refusing

def refuse_own_library():
    class Library(ctypes.CDLL):
        def __init__(self, name, *more, **named):
            if name is None:
                raise TypeError("bad argument type for built-in operation")
            super().__init__(name, *more, **named)
    ctypes.CDLL = Library

def hide_proc():
    import builtins, io, pathlib
    for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "listdir")):
        def hiding(path, *more, _known=getattr(module, name), **named):
            if str(path).startswith(("/proc/self", "/proc/mounts", "/sys/")):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return _known(path, *more, **named)
        setattr(module, name, hiding)

for name in sys.argv[1].split():
    if name == "folders":
        refuse_folders()
    elif name == "library":
        refuse_own_library()
    elif name == "proc":
        hide_proc()
    elif name.startswith("import:"):
        sys.modules[name.removeprefix("import:")] = None
    else:
        module, _, attribute = name.rpartition(".")
        delattr(importlib.import_module(module), attribute)

import voxarray as vx
from click.testing import CliRunner
from voxarray.cli import main

voxels = (numpy.arange(40 * 30 * 20) % 256).astype("uint8").reshape(1, 40, 30, 20)
image = vx.ScalarImage(tensor=voxels)
for suffix in (".nii", ".nii.gz", ".mha", ".nrrd", ".mgz", ".ome.zarr", ".ozx"):
    image.save("a" + suffix)
    image.save("a" + suffix, overwrite=True)
    opened = vx.ScalarImage("a" + suffix)
    assert numpy.array_equal(opened[3:9, ::-1].numpy(), voxels[:, 3:9, ::-1]), suffix
    assert numpy.array_equal(opened.numpy(), voxels), suffix
    assert opened.dtype == voxels.dtype or suffix == ".mgz"
vx.ScalarImage("a.nii").plot(show=False)
vx.ScalarImage("a.nii").get_center(), vx.ScalarImage("a.nii").memory_report()
try:
    vx.ScalarImage("a.nii").save("a.nii")
except vx.ArchiveExistsError:
    pass
os.mkdir("scans")
for name in "xy":
    vx.ScalarImage(tensor=voxels).save(f"scans/{name}.nii.gz")
for words in (
    ["convert", "scans", "cohort"],
    ["convert", "scans", "cohort"],
    ["convert", "scans/x.nii.gz", "one.ome.zarr"],
    ["verify", "cohort"],
    ["verify", "one.ome.zarr"],
    ["info", "scans"],
    ["info", "--limits"],
):
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, (words, done.output, done.exception)
assert len(vx.Cohort("cohort")) == 2
"""

TAKEN = {
    "the size of memory": "os.sysconf os.sysconf_names",
    "affinity": "os.sched_getaffinity",
    "reading at offsets": "os.pread os.preadv os.pwrite os.pwritev",
    "flags of open": "os.O_CLOEXEC os.O_NOFOLLOW os.O_NONBLOCK os.O_DIRECTORY",
    "fork": "os.register_at_fork",
    "users": "os.geteuid os.getuid",
    "locks and leases": "import:fcntl",
    "limits": "import:resource",
    "opening of folders": "folders",
    "the C library": "library",
    "advice on maps": "mmap.MADV_DONTNEED",
    "quotas": "errno.EDQUOT",
    "proc": "proc",
}

EVERYTHING = " ".join(TAKEN.values())

ALONE = ["reading at offsets", "locks and leases", "opening of folders", "the C library"]
"""What is also taken alone, for another way may depend on what is taken with it."""


@pytest.mark.parametrize(
    "taken",
    [
        EVERYTHING,
        *(pytest.param(TAKEN[name], marks=pytest.mark.slow) for name in ALONE),
    ],
    ids=["everything", *ALONE],
)
def test_what_another_system_lacks_is_not_needed(tmp_path, taken):
    command = [sys.executable, "-W", "ignore", "-c", CHILD, taken]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
