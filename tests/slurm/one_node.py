"""A SLURM of one node on loopback, of Debian's packages, in a folder of its own.

Its own munge, controller and node daemon run as root from that folder and on ports of their own;
nothing of a SLURM that is set up on this machine is touched. Memory is enforced by control groups
where their tree can be written (``task/cgroup``, the kernel kills), else by polling
(``jobacct_gather/linux`` with ``OverMemoryKill``, the daemon looks every two seconds and cancels);
``VOXARRAY_SLURM_MEMORY=polling`` asks for the latter.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
PACKAGES = ("slurm-wlm", "munge")
_TREE = Path("/sys/fs/cgroup")

_CONF = """\
ClusterName=voxarray
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/socket
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.log
{enforcement}
JobAcctGatherFrequency=task=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000
MpiDefault=none
PropagatePrioProcess=1
MailProg=/bin/true
ReturnToService=2
KillWait=3
OverTimeLimit=0
MinJobAge=600
MaxArraySize=1001
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=8 RealMemory={megabytes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

_BY_GROUPS = """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/cgroup"""

_BY_POLLING = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill"""


class CannotRun(Exception):
    """Why there is no SLURM here."""


def installed() -> None:
    """Install what is missing, with apt.

    Raises:
        CannotRun: It cannot be.
    """
    if os.geteuid() != 0:
        raise CannotRun("SLURM's daemons need root")
    if all(shutil.which(name, path=_path()) for name in PROGRAMS):
        return
    if shutil.which("apt-get") is None:
        raise CannotRun(f"no {', '.join(PROGRAMS)}, and no apt-get to install {PACKAGES}")
    quiet: dict[str, Any] = {"capture_output": True, "text": True}
    subprocess.run(["apt-get", "update"], **quiet)
    done = subprocess.run(
        ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        **quiet,
    )
    if done.returncode:
        raise CannotRun(f"apt-get install {' '.join(PACKAGES)}: {done.stderr.strip()[-300:]}")


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def group_version() -> int:
    """Of the control groups whose memory can be limited here; 0 for none."""
    if os.environ.get("VOXARRAY_SLURM_MEMORY") == "polling":
        return 0
    if os.access(_TREE / "memory" / "cgroup.procs", os.W_OK):
        return 1
    if "memory" in _text(_TREE / "cgroup.subtree_control").split():
        return 2
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _end_with_parent() -> None:
    """Daemons end when the tests are killed, too (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class OneNode:
    """The daemons.

    Args:
        root: An empty folder.
        megabytes: Of memory that jobs may have together.
    """

    def __init__(self, root: Path, megabytes: int = 6000) -> None:
        self.root = root
        self.groups = group_version()
        self._started: list[subprocess.Popen[bytes]] = []
        for name in ("munge", "state", "spool", "log"):
            (root / name).mkdir(parents=True)
        (root / "munge").chmod(0o711)
        (root / "munge/key").write_bytes(os.urandom(1024))
        (root / "munge/key").chmod(0o400)
        (root / "slurm.conf").write_text(
            _CONF.format(
                root=root,
                controller=_free_port(),
                node=_free_port(),
                enforcement=_BY_GROUPS if self.groups else _BY_POLLING,
                megabytes=megabytes,
            )
        )
        (root / "cgroup.conf").write_text(
            f"CgroupPlugin=cgroup/v{self.groups or 1}\nCgroupAutomount=no\n"
            "ConstrainRAMSpace=yes\nConstrainCores=no\n"
        )
        self.environment = os.environ | {"SLURM_CONF": str(root / "slurm.conf"), "PATH": _path()}

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs.

        Raises:
            CannotRun: One of them does not run.
        """
        munge = self.root / "munge"
        named = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *named)
        self._wait(lambda: (munge / "socket").exists())
        self._daemon("slurmctld", "-D", "-c")
        self._wait(lambda: "UP" in self.run("scontrol", "ping", check=False))
        self._daemon("slurmd", "-D", "-N", "localhost")
        self._wait(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t", check=False))

    def _daemon(self, *command: str) -> None:
        with (self.root / "log" / f"{command[0]}.out").open("wb") as out:
            self._started.append(
                subprocess.Popen(
                    command,
                    env=self.environment,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
            )

    def _wait(self, happens: Any, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not happens():
            dead = [one for one in self._started if one.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise CannotRun(f"{dead[0].args if dead else 'SLURM'}: {self.told()[-2000:]}")
            time.sleep(0.2)

    def told(self) -> str:
        """What the daemons printed."""
        return "\n".join(_text(file) for file in sorted((self.root / "log").glob("*.out")))

    def run(self, *command: str, check: bool = True, **more: Any) -> str:
        """What one of SLURM's programs says."""
        more = {"env": self.environment} | more
        done = subprocess.run(command, capture_output=True, text=True, **more)
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
        return done.stdout

    def queued(self) -> dict[str, str]:
        """State of each job that is not over, by its number; tasks of arrays one by one."""
        rows = self.run("squeue", "-h", "-r", "-o", "%i %T").split("\n")
        return dict(row.split() for row in rows if row)

    def wait_for(self, happens: Any, seconds: float, what: str, every: float = 0.3) -> None:
        """Wait until something is so, which is looked at after so many seconds each time."""
        deadline = time.monotonic() + seconds
        while not happens():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}; queue: {self.queued()}")
            time.sleep(every)

    def wait_until_empty(self, seconds: float) -> None:
        """Wait until all jobs are over, those included that jobs submit."""
        self.wait_for(lambda: not self.queued(), seconds, "jobs are still in the queue")

    def states(self) -> dict[str, str]:
        """How jobs ended that the controller still knows."""
        found = {}
        for row in self.run("scontrol", "-o", "show", "jobs").split("\n"):
            facts = dict(word.split("=", 1) for word in row.split() if "=" in word)
            if "JobId" in facts:
                array = facts.get("ArrayJobId")
                name = f"{array}_{facts.get('ArrayTaskId')}" if array else facts["JobId"]
                found[name] = facts["JobState"]
        return found

    def stop(self) -> None:
        """End jobs and daemons, and remove the control groups."""
        self.run("scancel", "--user=root", "--full", check=False)
        deadline = time.monotonic() + 15
        while self.queued_or_none() and time.monotonic() < deadline:
            time.sleep(0.3)
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for controller in ("memory", "freezer", "cpuset", "cpuacct", "cpu", "devices"):
            for folder in sorted((_TREE / controller).glob("slurm_localhost/**/"), reverse=True):
                try:
                    folder.rmdir()
                except OSError:
                    continue

    def queued_or_none(self) -> dict[str, str]:
        """As `queued`; nothing where no controller answers."""
        try:
            return self.queued()
        except (RuntimeError, ValueError):
            return {}
