"""Parts of a plan as tasks of a job array, and the script of a SLURM one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cohort_samples import run, save, truth

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run import slurm
from voxarray.cohort.run.array_index import part_of_array
from voxarray.cohort.run.build import build
from voxarray.cohort.run.slurm_submit import RESUBMISSIONS
from voxarray.core.errors import FormatError
from voxarray.core.safe_yaml import loads

VARIABLES = {
    "SLURM_ARRAY_TASK_ID": 1,
    "PBS_ARRAY_INDEX": 1,
    "PBS_ARRAYID": 1,
    "LSB_JOBINDEX": 1,
    "SGE_TASK_ID": 1,
    "JOB_COMPLETION_INDEX": 0,
    "AWS_BATCH_JOB_ARRAY_INDEX": 0,
}


@pytest.fixture(autouse=True)
def no_array(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", VARIABLES)
def test_the_part_is_the_task_of_the_array(monkeypatch, name):
    first = VARIABLES[name]
    monkeypatch.setenv(name, str(first))
    assert part_of_array(16) == (1, 16)
    monkeypatch.setenv(name, str(first + 15))
    assert part_of_array(16) == (16, 16)
    monkeypatch.setenv(name, str(first + 16))
    with pytest.raises(FormatError, match=name) as caught:
        part_of_array(16)
    assert caught.value.code == "BAD_ARRAY_INDEX"


@pytest.mark.parametrize(
    ("name", "text"), [("SGE_TASK_ID", "undefined"), ("LSB_JOBINDEX", "0"), ("PBS_ARRAYID", "")]
)
def test_a_job_that_is_no_array_has_no_part(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(FormatError) as caught:
        part_of_array(3)
    assert caught.value.code == "NO_ARRAY_INDEX"


def test_an_array_that_begins_with_zero_is_refused_where_ours_begin_with_one(monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    with pytest.raises(FormatError, match="from 1 to 3") as caught:
        part_of_array(3)
    assert caught.value.code == "BAD_ARRAY_INDEX"


def test_variables_that_disagree_are_refused(monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    assert part_of_array(3) == (2, 3)
    monkeypatch.setenv("SGE_TASK_ID", "3")
    with pytest.raises(FormatError) as caught:
        part_of_array(3)
    assert caught.value.code == "AMBIGUOUS_ARRAY_INDEX"


def test_convert_takes_its_part_from_the_array(tmp_path, monkeypatch):
    for number in range(4):
        save(tmp_path / f"in/{number}.nii", number)
    build(tmp_path / "in", tmp_path / "whole")
    assert run("plan", tmp_path / "in", tmp_path / "out").exit_code == 0
    assert run("convert", tmp_path / "in", tmp_path / "out", "--partition", "auto/2").exit_code == 2
    for number in "12":
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", number)
        done = run("convert", tmp_path / "in", tmp_path / "out", "--partition", "auto/2")
        assert "2 converted" in done.output
    assert run("finalise", tmp_path / "out").exit_code == 0
    assert truth(tmp_path / "out") == truth(tmp_path / "whole")


PAGES = Path(__file__).parents[2] / "notebooks/pages/how-to/cluster"


def container() -> dict:
    """Of the job for Kubernetes."""
    job = loads((PAGES / "kubernetes.yaml").read_text("utf-8"))["spec"]
    return job["template"]["spec"]["containers"][0]


def test_the_job_for_kubernetes_has_as_many_indices_as_parts():
    job = loads((PAGES / "kubernetes.yaml").read_text("utf-8"))["spec"]
    assert job["completionMode"] == "Indexed"
    assert f"--partition auto/{job['completions']} " in container()["args"][0]


def nextflow_part() -> str:
    """What bash is given for a part."""
    (line,) = (
        line for line in (PAGES / "voxarray.nf").read_text().split("\n") if "--partition" in line
    )
    # https://www.nextflow.io/docs/latest/process.html: ${} is Nextflow's, \$ the shell's.
    return re.sub(r"(?<!\\)\$\{[^}]*\}", "1", line).replace("\\$", "$")


SHELLS = {
    "kubernetes": lambda: [*container()["command"], *container()["args"]],
    "nextflow": lambda: ["bash", "-ue", "-c", nextflow_part()],
}


def as_voxarray(folder: Path, script: str) -> dict[str, str]:
    """An environment in which ``voxarray`` is a script."""
    (folder / "voxarray").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "voxarray").chmod(0o755)
    return {"PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}


@pytest.mark.parametrize("engine", SHELLS)
@pytest.mark.parametrize(("code", "seen"), [(0, 0), (3, 0), (1, 1), (75, 75), (137, 137)])
def test_engines_see_the_exit_code_that_they_act_on(tmp_path, engine, code, seen):
    environment = as_voxarray(tmp_path, f"exit {code}")
    assert subprocess.run(SHELLS[engine](), env=environment).returncode == seen


def test_kubernetes_ends_voxarray_and_sees_that_it_was_asked_to(tmp_path):
    ask = "trap 'sleep 0.1; exit 75' TERM; echo here; while :; do sleep 0.02; done"
    environment = as_voxarray(tmp_path, ask)
    with subprocess.Popen(SHELLS["kubernetes"](), env=environment, stdout=-1) as pod:
        assert pod.stdout.readline() == b"here\n"
        pod.terminate()
    assert pod.returncode == 75


# --- The script -----------------------------------------------------------------------------------


def script_of(folder: Path, jobs: int, *more: object) -> str:
    done = run("plan", folder / "in", folder / "my cohort", "--slurm", jobs, *more)
    assert done.exit_code == 0, done.output
    return done.stdout


def tools(folder: Path) -> Path:
    """An `sbatch` and a `scontrol` that write down what they were told."""
    folder.mkdir()
    for name in ("sbatch", "scontrol"):
        file = folder / name
        file.write_text(
            f'#!/bin/bash\nprintf "%s\\n" "$*" >> {folder}/{name}.log\n'
            f"cat >> {folder}/{name}.in\necho 77\n"
        )
        file.chmod(0o755)
    return folder


def bare(number: int, path: Path | None = None) -> dict[str, str]:
    """The environment of a job that was submitted with --export=NONE."""
    places = [str(path)] if path else []
    return {
        "PATH": os.pathsep.join([*places, "/usr/bin", "/bin"]),
        "SLURM_ARRAY_TASK_ID": str(number),
        "SLURM_ARRAY_JOB_ID": "77",
    }


def test_the_script_runs_from_any_folder_and_shell(tmp_path):
    for number in range(5):
        save(tmp_path / f"in/{number}.nii", number)
    build(tmp_path / "in", tmp_path / "whole")
    text = script_of(tmp_path, 2)
    for number in (2, 1):
        done = subprocess.run(
            ["bash", "-s"], input=text, cwd="/", env=bare(number), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert run("finalise", tmp_path / "my cohort").exit_code == 0
    assert truth(tmp_path / "my cohort") == truth(tmp_path / "whole")


def test_the_script_says_what_slurm_asks_for(tmp_path):
    for number in range(5):
        save(tmp_path / f"in/{number}.nii", number)
    lines = script_of(tmp_path, 3, "--chunk", 32, "--levels", "2,4").splitlines()
    assert "#SBATCH --array=1-3" in lines
    assert "#SBATCH --signal=B:TERM@120" in lines
    assert "#SBATCH --time=00:10:00" in lines  # of what the plan holds, not of a guess
    assert f"#SBATCH --chdir='{tmp_path}/my cohort'" in lines
    assert f"#SBATCH --output='{tmp_path}/my cohort/logs/%A_%a.log'" in lines
    assert (tmp_path / "my cohort/logs").is_dir()
    assert "##SBATCH --account=ACCOUNT" in lines
    (convert,) = [line for line in lines if "--partition" in line and not line.startswith("#")]
    assert convert.startswith(f"{sys.executable} -m voxarray convert {tmp_path}/in ")
    assert "--levels 2,4" in convert
    assert "--chunk 32" in convert
    assert "auto/3" in convert


def test_logs_of_a_cohort_in_a_bucket_are_local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = slurm.script(Plan((), "", "", False), ["convert"], "s3://bucket/my cohort", 2)
    assert f"#SBATCH --chdir='{tmp_path}/voxarray-my cohort-logs'" in text
    assert f"#SBATCH --output='{tmp_path}/voxarray-my cohort-logs/%A_%a.log'" in text
    assert CohortLayout.of("s3://bucket/my cohort").logs == f"{tmp_path}/voxarray-my cohort-logs"
    assert "finalise '\"'\"'s3://bucket/my cohort'\"'\"'" in text


def test_a_part_that_fails_says_so_in_its_own_log(tmp_path):
    save(tmp_path / "in/good.nii", 1)
    (tmp_path / "in/bad.nii").write_bytes(b"nothing")
    done = run("plan", tmp_path / "in", tmp_path / "my cohort", "--slurm", 1)
    ran = subprocess.run(
        ["bash", "-s"], input=done.stdout, cwd="/", env=bare(1), capture_output=True, text=True
    )
    assert ran.returncode == 3
    assert "bad.nii: " in ran.stderr


@pytest.mark.parametrize(
    ("restarts", "requeued"), [("0", True), pytest.param("10", False, marks=pytest.mark.slow)]
)
def test_a_task_that_is_told_of_its_end_stops_and_is_queued_again(
    tmp_path, monkeypatch, restarts, requeued
):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii.gz", number, (220, 220, 200))
    path = tools(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "job.sh").write_text(script_of(tmp_path, 1))
    (path / "scontrol.log").unlink()  # planning asks how large arrays may be
    cohort = CohortLayout.of(tmp_path / "my cohort")
    environment = bare(1, path) | {"SLURM_RESTART_COUNT": restarts}
    with subprocess.Popen(
        ["bash", str(tmp_path / "job.sh")], env=environment, stderr=subprocess.PIPE
    ) as job:
        while not list(Path(cohort.root).glob("staging/.*.staging")):
            assert job.poll() is None
            time.sleep(0.005)
        job.send_signal(signal.SIGTERM)  # to the shell alone, as B: does
        _, told = job.communicate(timeout=100)
    assert job.returncode == 75, told
    assert (path / "scontrol.log").exists() == requeued
    if requeued:
        assert (path / "scontrol.log").read_text() == "requeue 77_1\n"
    assert not list(Path(cohort.root).glob("staging/.*"))


def test_submit_queues_the_array_and_the_catalogue_after_it(tmp_path, monkeypatch):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii", number)
    path = tools(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    done = run("plan", tmp_path / "in", tmp_path / "my cohort", "--slurm", 2, "--submit")
    assert done.exit_code == 0, done.output
    assert "77" in done.stdout
    first, second = (path / "sbatch.log").read_text().splitlines()
    (script,) = (tmp_path / "my cohort/logs").glob("array-*.sh")
    assert first == f"--parsable {script}"
    assert "#SBATCH --array=1-2" in script.read_text()
    assert "--dependency=afterany:77" in second
    finalise = f"voxarray finalise '{tmp_path}/my cohort' --resubmit '{script}' --attempt 1"
    assert second.endswith(finalise)


def test_parts_that_were_not_done_are_submitted_again_with_more_memory(tmp_path, monkeypatch):
    for number in range(5):
        save(tmp_path / f"in/{number}.nii", number)
    (tmp_path / "in/bad.nii").write_bytes(b"nothing")  # fails for good, in a part of its own
    path = tools(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    cohort = tmp_path / "my cohort"
    run("plan", tmp_path / "in", cohort, "--slurm", 6, "--submit")
    for part in (1, 4, 6):  # 6 is bad.nii; 2, 3 and 5 never ran
        run("convert", tmp_path / "in", cohort, "--partition", f"{part}/6")
    (path / "sbatch.log").unlink()
    (script,) = (cohort / "logs").glob("array-*.sh")
    monkeypatch.setenv("SLURM_JOB_PARTITION", "long")
    done = run("finalise", cohort, "--resubmit", script, "--attempt", 2)
    assert done.exit_code == 0, done.output
    first, second = (path / "sbatch.log").read_text().splitlines()
    megabytes = int(re.search(r"--mem=(\d+)M", script.read_text())[1])
    assert first == f"--parsable --partition=long --array=2,3,5 --mem={4 * megabytes}M {script}"
    assert second.endswith("--attempt 3")
    assert "--partition=long" in second


def test_enough_is_enough(tmp_path, monkeypatch):
    save(tmp_path / "in/a.nii", 1)
    path = tools(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    cohort = tmp_path / "my cohort"
    run("plan", tmp_path / "in", cohort, "--slurm", 1, "--submit")
    (path / "sbatch.log").unlink()
    (script,) = (cohort / "logs").glob("array-*.sh")
    done = run("finalise", cohort, "--resubmit", script, "--attempt", RESUBMISSIONS + 1)
    assert done.exit_code == 1
    run("convert", tmp_path / "in", cohort)
    done = run("finalise", cohort, "--resubmit", script)
    assert done.exit_code == 0
    assert not (path / "sbatch.log").exists()


def test_only_a_script_of_ours_is_submitted_again(tmp_path):
    save(tmp_path / "in/a.nii", 1)
    run("plan", tmp_path / "in", tmp_path / "out")
    other = tmp_path / "other.sh"
    done = run("finalise", tmp_path / "out", "--resubmit", other)
    assert done.exit_code == 1
    assert "NOT_FOUND" in done.stderr
    other.write_text("#!/bin/bash\n#SBATCH --array=1-4\nhostname\n")
    done = run("finalise", tmp_path / "out", "--resubmit", other)
    assert done.exit_code == 1
    assert "NOT_OUR_SCRIPT" in done.stderr


def test_jobs_that_come_after_inherit_no_limit_of_the_job_that_submits(tmp_path, monkeypatch):
    save(tmp_path / "in/a.nii", 1)
    path = tools(tmp_path / "bin")
    (path / "sbatch").write_text(f"#!/bin/bash\nenv > {path}/environment\necho 77\n")
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4096")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    run("plan", tmp_path / "in", tmp_path / "my cohort", "--slurm", 1, "--submit")
    told = (path / "environment").read_text()
    assert "SLURM_CONF=" in told
    assert "SLURM_MEM_PER_NODE" not in told


def test_submit_without_sbatch_is_refused_by_name(tmp_path, monkeypatch):
    save(tmp_path / "in/a.nii", 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("plan", tmp_path / "in", tmp_path / "my cohort", "--slurm", 2, "--submit")
    assert done.exit_code == 1
    assert "NO_SBATCH" in done.stderr
