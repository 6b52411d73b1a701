"""Whose a staging folder is, its lock tells, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from archive_samples import blobs, same_bits, whole

from voxarray.archive import staging
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.archive.verify import verify
from voxarray.core import mounts
from voxarray.core.errors import ArchiveError
from voxarray.source.array import ArraySource
from voxarray.storage import folder_lock
from voxarray.storage.folder_lock import FolderLock, Ownership, ownership

VOXELS = blobs((1, 12, 9, 30))
NEW_NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
SWEEP = "import sys; from voxarray.archive.staging import remove_abandoned as r; r(sys.argv[1])"


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NEW_NAMESPACE, "true"], capture_output=True).returncode == 0


needs_namespaces = pytest.mark.skipif(not can_unshare(), reason="unshare makes no PID namespace")


def convert_array(array: np.ndarray, path: Path, **options: object) -> None:
    convert(ArraySource(array, np.eye(4)), path, options=Options(chunk=4, **options))


def make(folder: Path, name: str = "a.ome.zarr", *, shared: bool = False) -> FolderLock:
    return FolderLock.make(str(folder), lambda: staging.hidden_name(name), shared=shared)


def hidden(folder: Path) -> list[str]:
    return staging.hidden_folders(str(folder))


def run(code: str, *arguments: object, wrap: tuple[str, ...] = ()) -> None:
    command = [*wrap, sys.executable, "-c", code, *map(str, arguments)]
    subprocess.run(command, check=True)


# --- Whose it is ----------------------------------------------------------------------------------


def test_a_folder_is_in_use_while_its_owner_lives(tmp_path):
    own = make(tmp_path)
    assert ownership(own.folder) is Ownership.IN_USE
    staging.remove_abandoned(str(tmp_path))
    run(SWEEP, tmp_path)
    assert own.is_there
    own.release()
    assert ownership(own.folder) is Ownership.ABANDONED
    staging.remove_abandoned(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_owner_is_abandoned_before_it_is_reaped(tmp_path):
    code = f"import time; from test_staging_locks import make; make({str(tmp_path)!r})\n"
    code += "print('made', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as owner:
        assert owner.stdout.readline() == b"made\n"
        (left,) = hidden(tmp_path)
        assert ownership(str(tmp_path / left)) is Ownership.IN_USE
        owner.kill()
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still listed
        staging.remove_abandoned(str(tmp_path))
        assert list(tmp_path.iterdir()) == []


@needs_namespaces
def test_another_pid_namespace_leaves_the_living_alone(tmp_path):
    own = make(tmp_path)
    run(SWEEP, tmp_path, wrap=tuple(NEW_NAMESPACE))
    assert own.is_there
    own.release()
    run(SWEEP, tmp_path, wrap=tuple(NEW_NAMESPACE))
    assert list(tmp_path.iterdir()) == []


def test_names_of_voxarray_0_1_are_left_alone(tmp_path):
    old = tmp_path / ".a.ome.zarr.host-1-0123abcd.staging"
    old.mkdir()
    (old / "lock").touch()
    convert_array(VOXELS, tmp_path / "a.ome.zarr")
    staging.remove_abandoned(str(tmp_path))
    assert old.is_dir()


def test_a_name_that_continues_another_is_another(tmp_path):
    other = make(tmp_path, "a.ome.zarr.b")
    other.release()
    staging.remove_abandoned(str(tmp_path), "a.ome.zarr")
    assert hidden(tmp_path) == [os.path.basename(other.folder)]


STEPS = (
    [(os, name) for name in ("mkdir", "open", "write", "rename", "unlink", "rmdir")]
    + [(fcntl, "flock")]
)  # fmt: skip


def killed_at(step: int, work: Callable[[], None], *, after: bool) -> bool:
    """Whether a process of its own came to this step of ``work``, and was killed there."""
    child = os.fork()
    if child == 0:
        counted = itertools.count()

        def counting(original: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                is_last = next(counted) == step
                if is_last and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                done = original(*arguments, **options)
                if is_last:
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

            return call

        for module, name in STEPS:
            setattr(module, name, counting(getattr(module, name)))
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


KILLED = """
import sys
from pathlib import Path
from test_staging_locks import leaves_nothing_for_good
leaves_nothing_for_good(Path(sys.argv[1]), after=sys.argv[2] == "True")
"""


@pytest.mark.parametrize("after", [False, True])
def test_whoever_is_killed_between_two_steps_leaves_nothing_for_good(tmp_path, after):
    # A hundred forks of a process of its own: those of this one copy the pages of all tests.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(after)]
    subprocess.run(command, env=environment, check=True)


def leaves_nothing_for_good(tmp_path: Path, *, after: bool) -> None:
    def one() -> None:
        lock = make(tmp_path)
        Path(lock.folder, "archive").mkdir()
        lock.remove()

    steps = 0
    while killed_at(steps, one, after=after):
        left = [str(tmp_path / name) for name in hidden(tmp_path)]
        assert len(left) == len(os.listdir(tmp_path)) <= 1
        assert {ownership(path) for path in left} <= {Ownership.ABANDONED}
        # Whoever tidies up may be killed in turn.
        tidied = 0
        sweep = partial(staging.remove_abandoned, str(tmp_path))
        while killed_at(tidied, sweep, after=after):
            tidied += 1
        assert list(tmp_path.iterdir()) == []
        steps += 1
    assert steps > 8
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [False, True])
def test_ctrl_c_between_two_steps_leaves_nothing(tmp_path, monkeypatch, after):
    interrupted = steps = 0
    while interrupted == steps:
        counted = itertools.count()

        def step(original, *arguments, counted=counted, last=steps, **options):
            is_last = next(counted) == last
            if is_last and not after:
                raise KeyboardInterrupt
            done = original(*arguments, **options)
            if is_last:
                raise KeyboardInterrupt
            return done

        with monkeypatch.context() as patch:
            for name in ("mkdir", "open", "write", "rename", "unlink", "rmdir"):
                patch.setattr(os, name, partial(step, getattr(os, name)))
            try:
                with staging.staging(tmp_path / "a.ome.zarr", False):
                    pass
            except KeyboardInterrupt:
                interrupted += 1
        assert list(tmp_path.iterdir()) == []
        steps += 1
    assert steps > 8


def test_an_owner_whose_new_folder_was_removed_makes_another(tmp_path, monkeypatch):
    original = os.open

    def tidied(path: str, *arguments: object, **options: object) -> int:
        monkeypatch.setattr(os, "open", original)
        staging.remove_abandoned(str(tmp_path))
        assert list(tmp_path.iterdir()) == []
        return original(path, *arguments, **options)

    monkeypatch.setattr(os, "open", tidied)
    lock = make(tmp_path)
    assert lock.is_there
    assert hidden(tmp_path) == [os.path.basename(lock.folder)]
    assert ownership(lock.folder) is Ownership.IN_USE


# --- Forks, threads, programs ---------------------------------------------------------------------


def test_two_cleaners_at_once_both_succeed(tmp_path, monkeypatch):
    left = make(tmp_path)
    left.release()
    unlink = os.unlink

    def then_another_comes(path, *more, **options):
        unlink(path, *more, **options)
        if os.path.basename(path) == folder_lock.LOCK:
            assert folder_lock.remove_if_abandoned(os.path.dirname(path)) is Ownership.ABANDONED

    monkeypatch.setattr(os, "unlink", then_another_comes)
    assert folder_lock.remove_if_abandoned(left.folder) is Ownership.ABANDONED
    assert os.listdir(tmp_path) == []


def test_the_child_of_a_fork_holds_no_lock_of_its_parent(tmp_path):
    code = f"""
import os, time
from test_staging_locks import make
lock = make({str(tmp_path)!r})
if os.fork() == 0:
    lock.remove()  # not its own: nothing happens
    print('child', flush=True)
    time.sleep(60)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    ) as parent:
        try:
            assert parent.stdout.readline() == b"child\n"
            (left,) = hidden(tmp_path)
            assert ownership(str(tmp_path / left)) is Ownership.IN_USE
            parent.kill()
            parent.wait()
            assert ownership(str(tmp_path / left)) is Ownership.ABANDONED
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_programs_that_are_started_inherit_no_lock(tmp_path):
    own = make(tmp_path)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as other:
        own.release()
        assert ownership(own.folder) is Ownership.ABANDONED
        other.kill()


def test_a_child_that_leaves_the_context_of_its_parent_takes_nothing_away(tmp_path):
    child = -1
    try:
        with staging.staging(tmp_path / "a.ome.zarr", False) as area:
            child = os.fork()
            if child == 0:
                raise SystemExit  # as an error in the child would
            assert os.waitpid(child, 0)[1] == 0
            assert os.path.isdir(area.root)
    except SystemExit:
        os._exit(0)
    assert list(tmp_path.iterdir()) == []


def test_threads_that_make_and_sweep_at_once_lose_nothing(tmp_path):
    stop, failed = threading.Event(), list[BaseException]()

    def sweep() -> None:
        while not stop.is_set():
            staging.remove_abandoned(str(tmp_path))

    def work() -> None:
        try:
            for _ in range(150):
                lock = make(tmp_path)
                assert lock.is_there
                lock.remove()
        except BaseException as error:
            failed.append(error)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    workers = [threading.Thread(target=work) for _ in range(3)]
    for thread in sweepers + workers:
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    for thread in sweepers:
        thread.join()
    assert not failed
    staging.remove_abandoned(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- Where locks are missing, or are seen by one machine only -------------------------------------


@pytest.fixture(params=[errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def without_locks(request, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refused)


def test_without_locks_everything_works_and_nothing_of_others_is_removed(tmp_path, without_locks):
    left = make(tmp_path)
    assert os.listdir(left.folder) == []  # no lock file that would say what is not so
    left.release()
    convert_array(VOXELS, tmp_path / "a.ome.zarr")
    convert_array(VOXELS[:, :5], tmp_path / "a.ome.zarr", overwrite=True)
    assert ownership(left.folder) is Ownership.UNKNOWN
    assert sorted(os.listdir(tmp_path)) == sorted([os.path.basename(left.folder), "a.ome.zarr"])
    assert same_bits(whole(tmp_path / "a.ome.zarr"), VOXELS[:, :5])


def test_a_folder_without_a_lock_file_is_left_alone(tmp_path):
    lock = make(tmp_path)
    os.unlink(Path(lock.folder, "lock"))
    lock.release()
    staging.remove_abandoned(str(tmp_path))
    assert hidden(tmp_path) == [os.path.basename(lock.folder)]


@pytest.mark.parametrize("content", ["", "another-machine\n"])
def test_a_lock_of_another_machine_counts_where_all_see_it(tmp_path, monkeypatch, content):
    lock = make(tmp_path)
    Path(lock.folder, "lock").write_text(content)
    lock.release()
    monkeypatch.setattr(folder_lock, "locks_are_seen_by_all", lambda _: False)
    staging.remove_abandoned(str(tmp_path))
    assert ownership(lock.folder) is Ownership.UNKNOWN
    monkeypatch.setattr(folder_lock, "locks_are_seen_by_all", lambda _: True)
    staging.remove_abandoned(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /nfs rw shared:2 - nfs4 server:/a rw,vers=4.2,local_lock=none
31 21 0:41 / /nfs\\040local rw - nfs server:/b rw,vers=3,nolock,local_lock=all
32 21 0:42 / /scratch rw - lustre mgs:/l rw,flock,lazystatfs
33 21 0:43 / /scratch2 rw - lustre mgs:/l rw,localflock
34 21 0:44 / /beegfs rw - beegfs beegfs_nodev rw
35 21 0:45 / /home/me/s3 rw - fuse.s3fs s3fs rw
36 35 0:46 / /home/me/s3/disk rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/a", True),
        ("/nfs/a", True),
        ("/nfsother", True),  # on /
        ("/nfs local/a", False),
        ("/scratch/a", True),
        ("/scratch2", False),
        ("/beegfs/a", False),
        ("/home/me/s3/a", False),
        ("/home/me/s3/disk/a", True),
    ],
)
def test_file_systems_whose_locks_are_seen_by_all(tmp_path, monkeypatch, path, expected):
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(mounts, "MOUNTS", str(tmp_path / "mounts"))
    assert mounts.locks_are_seen_by_all(path) is expected


def test_without_a_table_of_mounts_no_lock_of_another_machine_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(mounts, "MOUNTS", str(tmp_path / "none"))
    assert not mounts.locks_are_seen_by_all("/data")


def test_locks_are_taken_on_files_opened_for_writing(tmp_path, monkeypatch):
    """Else network file systems cannot make of them what other machines see."""
    modes, original = [], fcntl.flock

    def flock(fd: int, operation: int) -> None:
        modes.append(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE)
        original(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    make(tmp_path).release()
    staging.remove_abandoned(str(tmp_path))
    assert modes == [os.O_RDWR] * 2


# --- Removed all the same -------------------------------------------------------------------------


def test_a_conversion_whose_folder_is_removed_fails_by_name(tmp_path):
    path = tmp_path / "a.ome.zarr"

    def remove(*_: object) -> None:
        for name in hidden(tmp_path):
            folder_lock.remove_aside(str(tmp_path / name))

    with pytest.raises(ArchiveError) as caught:
        convert(ArraySource(VOXELS, np.eye(4)), path, options=Options(chunk=4), progress=remove)
    assert caught.value.code == "STAGING_LOST"
    assert list(tmp_path.iterdir()) == []


def test_the_next_cleaner_removes_what_a_killed_cleaner_left(tmp_path, monkeypatch):
    lock = make(tmp_path)
    Path(lock.folder, "archive").mkdir()
    lock.release()

    def died(*_: object) -> None:
        raise OSError(errno.EIO, "died")

    with monkeypatch.context() as patch:
        patch.setattr(folder_lock, "remove_tree", died)
        staging.remove_abandoned(str(tmp_path))
    assert len(hidden(tmp_path)) == 1
    assert hidden(tmp_path) != [os.path.basename(lock.folder)]
    staging.remove_abandoned(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- Folders that several write into --------------------------------------------------------------


def test_a_shared_folder_is_in_use_until_the_last_has_left(tmp_path):
    planner = make(tmp_path, shared=True)
    first, second = FolderLock.join(planner.folder), FolderLock.join(planner.folder)
    planner.release()
    first.release()
    assert ownership(planner.folder) is Ownership.IN_USE
    second.release()
    assert ownership(planner.folder) is Ownership.ABANDONED


def test_who_planned_a_shared_folder_removes_it_unless_others_write(tmp_path):
    planner = make(tmp_path, shared=True)
    writer = FolderLock.join(planner.folder)
    planner.remove()
    assert writer.is_there
    writer.release()
    staging.remove_abandoned(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    planner = make(tmp_path, shared=True)
    planner.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_that_is_gone_cannot_be_joined(tmp_path):
    planner = make(tmp_path, shared=True)
    planner.remove()
    with pytest.raises(FileNotFoundError):
        FolderLock.join(planner.folder)
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_can_be_joined_where_there_are_no_locks(tmp_path, without_locks):
    planner = make(tmp_path, shared=True)
    FolderLock.join(planner.folder).release()
    planner.remove()
    assert list(tmp_path.iterdir()) == []


# --- For long -------------------------------------------------------------------------------------

_CONVERTS = """
import random, sys, numpy as np
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.core.errors import ArchiveExistsError
from voxarray.source.array import ArraySource
source = ArraySource(np.load(sys.argv[1]), np.eye(4))
numbers = list(range(300))
if sys.argv[3] == "at random":
    random.shuffle(numbers)
for number in numbers:
    try:
        convert(source, f"{sys.argv[2]}/{number}.ome.zarr", options=Options(chunk=4))
    except ArchiveExistsError:
        pass
    print(number, flush=True)
"""
_TIDIES = """
import random, sys, time
from voxarray.archive.staging import remove_abandoned
while True:
    remove_abandoned(sys.argv[1])
    time.sleep(random.random() * 0.01)
"""


@needs_namespaces
@pytest.mark.slow
def test_three_hundred_conversions_beside_other_namespaces_have_no_holes(tmp_path):
    """Others convert to the same names, are killed, and tidy up, all of them somewhere else."""
    out = tmp_path / "out"
    out.mkdir()
    np.save(tmp_path / "voxels.npy", VOXELS)
    arguments = [str(tmp_path / "voxels.npy"), str(out)]
    start = lambda wrap, code, *more: subprocess.Popen(  # noqa: E731
        [*wrap, sys.executable, "-c", code, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    others = [start(NEW_NAMESPACE, _TIDIES, str(out)), start([], _TIDIES, str(out))]
    moments, rivals = random.Random(1), [start(NEW_NAMESPACE, _CONVERTS, *arguments, "at random")]
    command = [sys.executable, "-c", _CONVERTS, *arguments, "in order"]
    done = 0
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as main:
            for line in main.stdout:
                assert verify(out / f"{int(line)}.ome.zarr") == [], line
                done += 1
                if moments.random() < 0.1:
                    os.killpg(rivals[-1].pid, signal.SIGKILL)
                    time.sleep(moments.random() * 0.05)
                    rivals.append(start(NEW_NAMESPACE, _CONVERTS, *arguments, "at random"))
        assert (main.returncode, done) == (0, 300)
    finally:
        for process in (*others, *rivals):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    staging.remove_abandoned(str(out))
    assert hidden(out) == []
    assert [path for path in out.iterdir() if verify(path)] == []
