"""The command line as people expect it: destinations, options, pipes, Ctrl-C, JSON, quiet."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.cli import main
from voxarray.formats.registry import written_suffixes

VOXELS = (np.arange(12 * 10 * 8) % 200).astype("uint8").reshape(1, 12, 10, 8)


def run(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words])


def shell(*words: object, **options):
    command = [sys.executable, "-W", "ignore", "-m", "voxarray", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def scan(tmp_path) -> Path:
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def archive(tmp_path, scan) -> Path:
    vx.convert(scan, tmp_path / "scan.ome.zarr")
    return tmp_path / "scan.ome.zarr"


# --- Destinations ---------------------------------------------------------------------------------

PICTURES = {".png", ".jpg", ".jpeg", ".bmp"}


@pytest.mark.parametrize("suffix", sorted(set(written_suffixes()) - PICTURES - {".txt"}))
@pytest.mark.filterwarnings("ignore")
def test_convert_makes_what_the_suffix_says(tmp_path, archive, suffix):
    target = tmp_path / f"out{suffix}"
    result = run("convert", archive, target)
    if result.exit_code == 1 and ("cannot hold" in result.stderr or "NOT_HELD" in result.stderr):
        assert not target.exists()
        return
    assert result.exit_code == 0, result.output
    assert np.array_equal(vx.ScalarImage(target).numpy(), VOXELS)
    assert str(target) in result.output
    assert not (target / "subjects").exists()


def test_a_suffix_that_is_only_read_never_becomes_a_folder(tmp_path, scan):
    for suffix in (".dcm", ".PAR", ".HEAD"):
        target = tmp_path / f"out{suffix}"
        result = run("convert", scan, target)
        assert result.exit_code == 1
        assert "UNKNOWN_SUFFIX" in result.stderr
        assert not target.exists()


def test_several_images_are_no_file(tmp_path, scan):
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "more.nii.gz")
    result = run("convert", scan, tmp_path / "more.nii.gz", tmp_path / "out.nrrd")
    assert result.exit_code == 2
    assert "2 images" in result.stderr


def test_a_file_is_replaced_by_request_only(tmp_path, archive):
    assert run("convert", archive, tmp_path / "a.nrrd").exit_code == 0
    again = run("convert", archive, tmp_path / "a.nrrd")
    assert again.exit_code == 1
    assert "EXISTS" in again.stderr
    assert run("convert", archive, tmp_path / "a.nrrd", "--overwrite").exit_code == 0


@pytest.mark.parametrize("name", ["two.ome.zarr", "two.ozx", "two.nii.gz", "two.dcm"])
@pytest.mark.parametrize("command", ["plan", "finalise"])
def test_plan_and_finalise_know_what_convert_makes(tmp_path, scan, name, command):
    target = tmp_path / name
    result = run(command, *([scan] if command == "plan" else []), target)
    assert result.exit_code in (1, 2)
    assert not target.exists()


COHORT_OPTIONS = [
    ("--workers", "2"),
    ("--partition", "2/3"),
    ("--max-failures", "1"),
    ("--retry",),
    ("--image-pattern", "*.nii"),
    ("--label-pattern", "*.nii"),
    ("--image-column", "a"),
    ("--label-column", "a"),
    ("--subject-column", "a"),
    ("--keep-metadata", "descrip"),
    ("--scheduler", "tcp://localhost:1"),
]

ARCHIVE_OPTIONS = [("--levels", "2"), ("--chunk", "32"), ("--codec", "raw"), ("--zip",)]


@pytest.mark.parametrize("name", ["one.ome.zarr", "one.nrrd"])
@pytest.mark.parametrize("option", [*COHORT_OPTIONS, *ARCHIVE_OPTIONS])
def test_options_that_would_have_no_effect_are_refused(tmp_path, scan, name, option):
    meaningful = name.endswith(".zarr") and option in ARCHIVE_OPTIONS and option != ("--zip",)
    result = run("convert", scan, tmp_path / name, *option)
    assert result.exit_code == (0 if meaningful else 2)
    assert (tmp_path / name).exists() == meaningful
    if not meaningful:
        assert option[0] in result.stderr


# --- What is said ---------------------------------------------------------------------------------


def test_json_of_one_conversion(tmp_path, scan):
    said = json.loads(run("convert", scan, tmp_path / "a.ome.zarr", "--json").stdout)
    assert said["path"] == str(tmp_path / "a.ome.zarr")
    assert said["source_bytes"] == VOXELS.nbytes
    assert said["seconds"] >= 0
    refused = run("convert", scan, tmp_path / "a.ome.zarr", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["failed"][0]["code"] == "EXISTS"


def test_json_of_a_cohort_and_its_plan(tmp_path, scan):
    (tmp_path / "in").mkdir()
    os.rename(scan, tmp_path / "in/a.nii.gz")
    (tmp_path / "in/b.nii.gz").write_bytes(b"nonsense")
    planned = json.loads(run("plan", tmp_path / "in", tmp_path / "out", "--json").stdout)
    assert [one.get("shape") for one in planned["images"]] == [[1, 12, 10, 8], None]
    result = run("convert", tmp_path / "in", tmp_path / "out", "--json")
    said = json.loads(result.stdout)
    assert result.exit_code == 3
    assert (said["converted"], said["failed"], said["up_to_date"]) == (1, 1, 0)
    assert said["destination"] == str(tmp_path / "out")
    assert said["voxel_bytes"] == VOXELS.nbytes
    assert said["failures"][0]["code"]


def test_json_of_info_and_verify(tmp_path, scan, archive):
    said = json.loads(run("info", scan, archive, "--json").stdout)["images"]
    assert [one["shape"] for one in said] == [[1, 12, 10, 8]] * 2
    assert said[1]["codec"]
    assert said[1]["chunk"]
    assert said[0]["affine"] == np.eye(4).tolist()
    good = json.loads(run("verify", archive, "--json").stdout)
    assert (good["checked"], good["damaged"]) == (1, 0)
    next(path for path in archive.rglob("c/0/0/0/0") if path.is_file()).write_bytes(b"")
    bad = run("verify", archive, "--json")
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["archives"][0]["problems"][0]["code"]


def test_quiet_says_nothing_but_errors(tmp_path, scan, archive):
    for words in (
        ("convert", scan, tmp_path / "q.ome.zarr"),
        ("convert", scan, tmp_path / "cohort"),
        ("plan", scan, tmp_path / "planned"),
        ("verify", archive),
        ("info", archive),
        ("finalise", tmp_path / "cohort"),
    ):
        result = run(*words, "--quiet")
        assert (result.exit_code, result.output) == (0, ""), words
    assert run("info", tmp_path / "absent.nii", "--quiet").stderr
    assert run("info", archive, "--quiet", "--verbose").exit_code == 2


def test_verbose_shows_log_records_of_voxarray(tmp_path, scan):
    done = shell("convert", scan, tmp_path / "v.ome.zarr", "--verbose")
    assert done.returncode == 0
    assert "voxarray" in done.stderr
    assert "published" in done.stderr
    assert not shell("convert", scan, tmp_path / "w.ome.zarr").stderr


def test_verbose_ends_with_the_command(tmp_path, scan):
    """Else whoever runs it without a process of its own goes on writing records to stderr."""
    logger = logging.getLogger("voxarray")
    before = logger.level, list(logger.handlers)
    for path, code in ((scan, 0), (tmp_path / "absent.nii", 1)):
        assert run("info", path, "--verbose").exit_code == code
        assert (logger.level, logger.handlers) == before


def test_the_summary_of_a_conversion_names_path_bytes_and_seconds(tmp_path, scan):
    one = run("convert", scan, tmp_path / "a.ome.zarr").stdout
    many = run("convert", scan, tmp_path / "cohort").stdout
    for text, place in ((one, "a.ome.zarr"), (many, "cohort")):
        assert str(tmp_path / place) in text
        assert "B of voxels" in text
        assert " s\n" in text
    assert "1 up to date" in run("convert", scan, tmp_path / "cohort").stdout


# --- Ends -----------------------------------------------------------------------------------------


def test_a_closed_pipe_is_nobodys_failure(tmp_path, scan, archive):
    for words in (["verify", *[str(archive)] * 1, str(scan.parent)], ["info", *[str(scan)] * 50]):
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-W", "ignore", "-m", "voxarray", *words]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        assert done.stderr == ""
        assert done.returncode == 141


@pytest.mark.parametrize("encoding", [pytest.param("latin-1", marks=pytest.mark.slow), "ascii"])
def test_letters_that_the_output_cannot_hold_are_written_out(tmp_path, scan, encoding):
    """As in a pipe of a system whose language is not in UTF-8; the work was done all the same."""
    (tmp_path / "in").mkdir()
    shutil.copy(scan, tmp_path / "in/\u65e5\u672c.nii.gz")
    cohort = tmp_path / "\u65e5"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for words in (("convert", tmp_path / "in"), ("catalogue",), ("catalogue", "--csv")):
        command = [sys.executable, "-m", "voxarray", *map(str, words), str(cohort)]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert rb"\u65e5" in done.stdout


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(tmp_path, scan, closed):
    """Whoever starts a program may close them: no file of ours may come in their place."""
    look = (
        "import os, sys; from voxarray.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "for one in (0, 1, 2): os.fstat(one)\n"
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", look, "convert", str(scan), str(tmp_path / "cohort")]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], check=False)
    assert done.returncode == 0
    assert len(vx.Cohort(tmp_path / "cohort")) == 1


def interrupted(*words: object, after: Path, group: bool = True) -> subprocess.CompletedProcess:
    """A command that Ctrl-C ends once a path is there."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "voxarray", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not after.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_ctrl_c_ends_a_cohort_without_a_traceback(tmp_path, workers):
    (tmp_path / "in").mkdir()
    voxels = np.random.default_rng(0).integers(0, 1000, (200, 200, 100)).astype("int16")
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "in/0.nii.gz")
    for number in range(1, 30):
        os.link(tmp_path / "in/0.nii.gz", tmp_path / f"in/{number}.nii.gz")
    words = ("convert", tmp_path / "in", tmp_path / "out")
    done = interrupted(*words, "--workers", workers, after=tmp_path / "out/plan.json")
    assert "Traceback" not in done.stderr, done.stderr
    assert "run the same command again to resume" in done.stderr
    assert done.returncode in (3, 75)


def test_ctrl_c_while_one_image_is_converted_leaves_no_file(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 1000, (400, 400, 300)).astype("int16")
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "out").mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-m", "voxarray", "convert"),
            *(str(tmp_path / "a.nii"), str(tmp_path / "out/a.ome.zarr")),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((tmp_path / "out").iterdir()) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("it was done before it could be interrupted")
    assert process.returncode == 75
    assert "Traceback" not in err
    assert "not made" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_unexpected_errors_end_without_a_traceback(monkeypatch, scan):
    def broken(*_, **__):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("voxarray.cli.info.open_source", broken)
    result = run("info", scan)
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.output
    assert "Traceback" in run("info", scan, "--verbose").stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_demo_in_a_read_only_folder_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)
    result = run("demo", "--folder", tmp_path / "demo")
    assert result.exit_code == 1
    assert "Permission" in result.stderr


def test_a_demo_folder_below_a_file_ends_without_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("demo", "--folder", tmp_path / "file/demo")
    assert result.exit_code == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["convert", "plan"])
def test_a_forgotten_destination_is_what_is_missing(command):
    """Of one word nothing is left for SOURCES, which is not what its author forgot."""
    forgotten = run(command, "t1.nii.gz")
    assert forgotten.exit_code == 2
    assert "Missing argument 'DESTINATION'. 't1.nii.gz' is taken as SOURCES" in forgotten.stderr
    both = run(command)
    assert both.exit_code == 2
    assert "Missing argument 'SOURCES...'" in both.stderr
    assert "SOURCES... DESTINATION" in run(command, "--help").stdout


def test_a_forgotten_destination_of_one_cohort_is_named():
    assert "Missing argument 'DESTINATION'" in run("preprocess", "cohort").stderr
    assert "Missing argument 'SOURCE'" in run("infer", "net.pt").stderr


def scan_at(path):
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.eye(4)), path)
    return path


@pytest.mark.parametrize("name", ["t1.xyz", "t1.nii.gx", "t1.ome.zar", "T1.NFI"])
@pytest.mark.parametrize("command", ["convert", "plan"])
def test_a_mistyped_suffix_makes_no_folder_of_one_image(command, name, tmp_path):
    scan = scan_at(tmp_path / "t1.nii.gz")
    refused = run(command, scan, tmp_path / name)
    assert refused.exit_code == 1
    message = f"UNKNOWN_SUFFIX: '{tmp_path / name}' does not end in a suffix of a format"
    assert message in refused.stderr
    assert ".nii.gz" in refused.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["t1.nii.gz"]


def test_a_folder_of_one_image_may_have_dots(tmp_path):
    scan = scan_at(tmp_path / "in/t1.nii.gz")
    (tmp_path / "made.xyz").mkdir()
    for name in ("study", "study.v2", "study.2024", ".hidden", "made.xyz"):
        for _ in range(2):  # the second finds a cohort there
            assert run("convert", scan, tmp_path / name).exit_code == 0
    assert run("convert", tmp_path / "in", tmp_path / "many.xyz").exit_code == 0
    assert run("convert", tmp_path / "in/*.nii.gz", tmp_path / "glob.xyz").exit_code == 0


def test_infer_says_what_its_option_for_transforms_is_called():
    result = run("infer", "net.onnx", "scan.nii.gz", "--preprocess", "p.yaml")
    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert "--preprocess" in result.stderr
    assert "Did you mean '--pipeline'" in result.stderr
    assert "Did you mean" not in run("infer", "a", "b", "--zzz").stderr


def test_the_program_runs_by_its_name(scan):
    program = Path(sys.executable).with_name("voxarray")
    if not program.exists():
        pytest.skip("voxarray is not installed beside this interpreter")
    done = subprocess.run([program, "info", scan], capture_output=True, text=True, check=True)
    assert "(1, 12, 10, 8)" in done.stdout
    listed = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    commands = ("catalogue", "clean", "convert", "demo", "finalise", "info", "plan", "verify")
    assert all(name in listed.stdout for name in commands)
