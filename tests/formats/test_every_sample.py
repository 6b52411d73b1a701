"""What holds for every format: opening leaves no trace, and what changed afterwards is noticed."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

import voxarray as vx
from header_samples import everything
from in_turns import in_turns
from lying_headers import SAMPLES
from voxarray.core.errors import SourceChangedError, VoxarrayError
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection

BUNDLED = {
    "nibabel": Path(nib.__file__).parent,
    "pydicom": Path(pydicom.__file__).parent / "data",
    "shared": Path(__file__).parents[2] / "../shared/data",
}
LARGEST = 64 << 20


def quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_source(path)


def traces(folder):
    """Everything that a file system tells of what lies in a folder, but when it was read."""
    found = {}
    for place, _, names in os.walk(folder):
        if os.path.basename(place) == "__pycache__":
            continue
        for name in (".", *names):
            status = os.stat(os.path.join(place, name))
            found[os.path.join(place, name)] = (
                status.st_size if name != "." else 0,
                status.st_mtime_ns,
                status.st_mode,
                status.st_ino,
            )
    return found


@pytest.mark.parametrize("origin", BUNDLED)
def test_reading_leaves_every_bundled_file_and_folder_as_it_was(origin):
    """Also for a moment: making a file beside another changes when the folder was changed."""
    root = BUNDLED[origin]
    if not root.exists():
        pytest.skip(f"no scans in {root}")
    before = traces(root)
    opened = 0
    candidates = [*root.rglob("*")] if origin != "nibabel" else [*root.rglob("tests/data/*")]
    for path in candidates:
        if path.suffix in (".py", ".pyc") or path.name == "__pycache__":
            continue
        try:
            source = quietly(path)
            if np.prod(source.shape, dtype=object) * source.dtype.itemsize <= LARGEST:
                everything(source)
            opened += 1
        except VoxarrayError:
            continue
    assert opened >= {"nibabel": 25, "pydicom": 60, "shared": 5}[origin]
    assert traces(root) == before


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Puts a sample into a folder: the file that makes it, and what is opened."""
    originals: dict[str, tuple[Path, Path]] = {}

    def make(name, folder):
        if name not in originals:
            original = tmp_path_factory.mktemp(name)
            originals[name] = original, SAMPLES[name].make(original).relative_to(original)
        original, place = originals[name]
        shutil.copytree(original, folder, copy_function=shutil.copy2, dirs_exist_ok=True)
        return folder / place, folder / (SAMPLES[name].opened or place)

    return make


@pytest.mark.parametrize("name", SAMPLES)
def test_reading_leaves_no_trace(tmp_path, made, name):
    _, opened = made(name, tmp_path)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    tmp_path.chmod(0o555)
    before = traces(tmp_path)
    try:
        source = pickle.loads(pickle.dumps(quietly(opened)))
        voxels = everything(source)
        corner = source.read(Selection.whole(source.shape)[:, :1, ::-1, :])
        np.testing.assert_array_equal(corner, voxels[:, :1, ::-1])
        with source.stream() as stream:
            c, w, h, d = source.shape
            out = np.empty((c, d, h, w), source.dtype)
            for channel in range(c):
                stream.read_into(out[channel : channel + 1])
            stream.finish()
        np.testing.assert_array_equal(out.transpose(0, 3, 2, 1), voxels)
        assert traces(tmp_path) == before
    finally:
        tmp_path.chmod(0o755)
        for path in tmp_path.rglob("*"):
            path.chmod(0o755)


_READS_ALL = """
import sys, warnings
sys.path[:0] = sys.argv[1].split(":")
from header_samples import everything
from voxarray.formats.registry import open_source
warnings.simplefilter("ignore")
for path in sys.argv[3:]:
    everything(open_source(path))
open(sys.argv[2] + "/new", "w")
"""


def test_a_file_system_that_is_mounted_read_only(tmp_path, made):
    """Where `chmod` stops no superuser, a mount does: every format opens, and writing fails."""
    paths = []
    for name in SAMPLES:
        (tmp_path / name).mkdir()
        paths.append(made(name, tmp_path / name)[1])
    mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 77; exec "$@"'
    program = [sys.executable, "-c", _READS_ALL, ":".join(sys.path), tmp_path, *paths]
    try:
        run = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", mounts, tmp_path, *program],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no program unshare")
    if run.returncode == 77 or "unshare failed" in run.stderr:
        pytest.skip(f"this system lets nobody mount: {run.stderr}")
    assert run.stderr.splitlines()[-1].startswith("OSError: [Errno 30]"), run.stderr
    assert str(tmp_path / "new") in run.stderr


@pytest.mark.parametrize("name", SAMPLES)
def test_two_files_of_any_format_along_channels(tmp_path, made, name):
    paths = []
    for folder in (tmp_path / "0", tmp_path / "1"):
        folder.mkdir()
        paths.append(made(name, folder)[1])
    one = everything(quietly(paths[0]))
    both = pickle.loads(pickle.dumps(vx.ScalarImage(paths))).source
    np.testing.assert_array_equal(everything(both), np.concatenate([one, one]))
    channels, *axes = Selection.whole(both.shape)
    last = Selection((channels[-1:], axes[0][:1], *axes[1:]))
    np.testing.assert_array_equal(both.read(last), one[-1:, :1])


def rewritten(path):
    """Other bytes, as many as before."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    later(path)


def truncated(path):
    os.truncate(path, path.stat().st_size // 2)
    later(path)


def replaced(path):
    """Another file of the same bytes and times under the same name."""
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.replace(path)


def later(path):
    """A clock may stand still between two writes."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))


CHANGES = {f.__name__: f for f in (rewritten, truncated, replaced, Path.unlink)}


def watched(name, folder, path):
    """The files that make an image; of a Zarr store those that describe it, not its chunks."""
    if not name.startswith(("zarr", "archive")):
        return [file for file in folder.rglob("*") if file.is_file()]
    if name == "archive_zip" or (name.startswith("zarr") and name != "zarr_nifti"):
        return [path]
    return [folder / "a.ome.zarr/manifest.json"] if name.startswith("archive") else []


@pytest.mark.parametrize(("name", "change", "state"), in_turns(SAMPLES, CHANGES, ["cold", "warm"]))
def test_what_changes_after_opening_is_noticed(tmp_path, made, name, change, state):
    folder = tmp_path / "0"
    folder.mkdir()
    path, _ = made(name, folder)
    for number, file in enumerate(watched(name, folder, path)):
        copy = tmp_path / str(number + 1)
        shutil.copytree(folder, copy, copy_function=shutil.copy2)
        opened = copy / (SAMPLES[name].opened or path.name)
        source = quietly(opened)
        if state == "warm":
            everything(source)
        CHANGES[change](copy / file.relative_to(folder))
        if file.name == "manifest.json" and change == "replaced":
            everything(source)  # by its digests, what an equal manifest names is the same
            continue
        with pytest.raises(SourceChangedError):
            everything(source)
