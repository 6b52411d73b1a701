"""A pipeline file over a cohort: by the command line, in parts, as a job array, and by history."""

from __future__ import annotations

import json
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, array, run, save, truth

import voxarray as vx
from voxarray.cohort.options import InputSelection
from voxarray.cohort.run.build import build
from voxarray.transforms import Compose

TEXT = """\
- operation: ToCanonical
- operation: Resample
  arguments: {target: 2}
- operation: ZNormalization
  arguments: {masking_method: seg}
- operation: Compose
  arguments:
    transforms:
      - operation: Pad
        arguments: {padding: 1}
"""


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "p.yaml").write_text(TEXT)
    return tmp_path / "p.yaml"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for number in range(4):
        save(folder / f"in/{number}.nii.gz", number)
        mask = (array(number) > 100).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, AFFINE), folder / f"in/{number}_seg.nii.gz")
    choice = InputSelection(label_patterns=(("seg", "*_seg.nii.gz"),))
    build(folder / "in", folder / "out", choice=choice)
    return folder / "out"


def preprocess(cohort, destination, pipeline, *more):
    return run("preprocess", cohort, destination, "--pipeline", pipeline, *more)


def test_a_pipeline_makes_what_its_transforms_make(cohort, pipeline, tmp_path):
    done = preprocess(cohort, tmp_path / "a", pipeline, "--chunk", 16, "--json")
    assert json.loads(done.stdout)["converted"] == 4
    transform = vx.Compose([vx.ToCanonical(), vx.Resample(2), vx.ZNormalization("seg"), vx.Pad(1)])
    vx.Cohort(cohort).map(transform).save(tmp_path / "b", chunks=16)
    assert truth(tmp_path / "a") == truth(tmp_path / "b")
    assert "Pad" in (tmp_path / "a/pipeline.yaml").read_text()
    again = preprocess(cohort, tmp_path / "a", pipeline, "--chunk", 16)
    assert "0 converted, 4 up to date" in again.stdout


def test_what_is_kept_beside_the_cohort_makes_it_again(cohort, pipeline, tmp_path):
    preprocess(cohort, tmp_path / "a", pipeline)
    preprocess(cohort, tmp_path / "b", tmp_path / "a/pipeline.yaml")
    assert truth(tmp_path / "a") == truth(tmp_path / "b")
    done = preprocess(cohort, tmp_path / "a", tmp_path / "a/pipeline.yaml")
    assert "0 converted, 4 up to date" in done.stdout


def test_a_function_leaves_no_pipeline_of_an_older_run(cohort, pipeline, tmp_path):
    preprocess(cohort, tmp_path / "a", pipeline)
    vx.Cohort(cohort).map(vx.Lambda(_negated)).save(tmp_path / "a")
    assert not (tmp_path / "a/pipeline.yaml").exists()


def _negated(voxels):
    return -voxels


def test_parts_and_workers_make_the_same(cohort, pipeline, tmp_path):
    preprocess(cohort, tmp_path / "whole", pipeline)
    preprocess(cohort, tmp_path / "workers", pipeline, "--workers", 1)
    assert truth(tmp_path / "workers") == truth(tmp_path / "whole")
    for part in ("2/3", "3/3", "1/3"):
        assert preprocess(cohort, tmp_path / "parts", pipeline, "--partition", part).exit_code == 0
    assert run("finalise", tmp_path / "parts").exit_code == 0
    assert truth(tmp_path / "parts") == truth(tmp_path / "whole")


def test_a_job_array_reads_the_pipeline_as_it_was(cohort, pipeline, tmp_path):
    """Its script runs from any folder, and after the file that was given has changed."""
    options = ("--levels", "2,4", "--zip", "--codec", "fast")
    preprocess(cohort, tmp_path / "whole", pipeline, *options)
    done = preprocess(cohort, tmp_path / "my array", pipeline, *options, "--slurm", 1)
    assert done.exit_code == 0, done.output
    pipeline.unlink()
    environment = {"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "1"}
    ran = subprocess.run(
        ["bash", "-s"], input=done.stdout, cwd="/", env=environment, text=True, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr
    assert run("finalise", tmp_path / "my array").exit_code == 0
    assert truth(tmp_path / "my array") == truth(tmp_path / "whole")


def test_a_part_of_another_pipeline_is_refused(cohort, pipeline, tmp_path):
    preprocess(cohort, tmp_path / "a", pipeline, "--slurm", 2)
    pipeline.write_text(TEXT.replace("padding: 1", "padding: 2"))
    done = preprocess(cohort, tmp_path / "a", pipeline, "--partition", "1/2")
    assert done.exit_code == 1
    assert "STALE_PLAN" in done.stderr


def test_the_history_of_an_archive_is_a_pipeline(cohort, tmp_path):
    """Done to the cohort again, it makes the same archives."""
    vx.Cohort(cohort).map(vx.Compose([vx.ToCanonical(), vx.Blur(1), vx.Pad(1)])).save(
        tmp_path / "first"
    )
    (archive,) = (tmp_path / "first/subjects").glob("0*.ome.zarr")
    done = run("history", archive)
    assert done.exit_code == 0
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert preprocess(cohort, tmp_path / "second", tmp_path / "again.yaml").exit_code == 0
    assert truth(tmp_path / "first") == truth(tmp_path / "second")


def test_a_history_is_no_pipeline_for_others_and_says_so(cohort, tmp_path):
    """CropOrPad is there as the Crop that this scan needed: others would have other shapes."""
    vx.Cohort(cohort).map(vx.Compose([vx.CropOrPad(6)])).save(tmp_path / "first")
    (archive,) = (tmp_path / "first/subjects").glob("0*.ome.zarr")
    history = run("history", archive).stdout
    assert "CropOrPad" not in history
    (tmp_path / "h.yaml").write_text(history)
    told = preprocess(cohort, tmp_path / "second", tmp_path / "h.yaml")
    assert told.exit_code == 0
    assert told.stderr.count("HISTORY_OF_ONE_SCAN") == 1
    assert f"{tmp_path / 'h.yaml'} is the history of one scan" in told.stderr
    with pytest.warns(vx.VoxarrayWarning, match="HISTORY_OF_ONE_SCAN") as caught:
        Compose.from_yaml(tmp_path / "h.yaml")
    assert [one.filename for one in caught] == [__file__]
    kept = preprocess(cohort, tmp_path / "third", tmp_path / "first/pipeline.yaml")
    assert "HISTORY_OF_ONE_SCAN" not in kept.stderr
    assert truth(tmp_path / "first") == truth(tmp_path / "third")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("- operation: Magic", "UNKNOWN_TRANSFORM"),
        ("- operation: Pad\n  arguments: {pading: 1}", "BAD_ARGUMENT"),
        ("- !!python/object/apply:os.system ['touch hacked']", "BAD_PIPELINE"),
    ],
)
def test_a_bad_pipeline_is_refused_before_anything_is_made(cohort, tmp_path, text, code):
    (tmp_path / "bad.yaml").write_text(text)
    done = preprocess(cohort, tmp_path / "a", tmp_path / "bad.yaml")
    assert done.exit_code == 1
    assert code in done.stderr
    assert not (tmp_path / "a").exists()


def test_a_subject_that_a_transform_does_not_fit_is_named(cohort, tmp_path):
    """What our own transforms say is said; what a user's function says may quote a header."""
    (tmp_path / "p.yaml").write_text(
        "- operation: ZNormalization\n  arguments: {masking_method: brain}\n"
    )
    done = preprocess(cohort, tmp_path / "a", tmp_path / "p.yaml")
    assert done.exit_code == 1
    assert "CANNOT_TRANSFORM" in done.stderr
    assert "label map in the subject ('seg')" in done.stderr
    with pytest.raises(vx.VoxarrayError) as caught:
        vx.Cohort(cohort).map(_secretive).save(tmp_path / "b")
    assert "secret" not in str(caught.value)


def _secretive(subject):
    raise ValueError("secret")


@pytest.mark.parametrize("option", [("--workers", 2), ("--overwrite",), ("--partition", "1/2")])
def test_options_that_a_job_array_would_not_use_are_refused(cohort, pipeline, tmp_path, option):
    done = preprocess(cohort, tmp_path / "a", pipeline, "--slurm", 2, *option)
    assert done.exit_code == 2
    assert option[0] in done.stderr


def test_the_cohort_itself_is_no_destination(cohort, pipeline):
    for more in ((), ("--slurm", 2)):
        before = truth(cohort)
        done = preprocess(cohort, cohort, pipeline, *more)
        assert done.exit_code == 1
        assert "OTHER_SOURCE" in done.stderr
        assert truth(cohort) == before


def test_a_name_of_one_archive_is_no_cohort(cohort, pipeline, tmp_path):
    assert preprocess(cohort, tmp_path / "a.ome.zarr", pipeline).exit_code == 2


def test_compose_writes_what_preprocess_reads(cohort, tmp_path):
    given = Compose([vx.Clamp(0, 100), vx.Flip("Left")])
    given.to_yaml(tmp_path / "p.yaml")
    preprocess(cohort, tmp_path / "a", tmp_path / "p.yaml")
    vx.Cohort(cohort).map(given).save(tmp_path / "b")
    assert truth(tmp_path / "a") == truth(tmp_path / "b")


def test_a_subject_that_fails_as_a_whole_is_told_of_once(tmp_path):
    """Each of its images is missing, for one and the same reason, which has several lines."""
    shape, coarse = (1, 8, 8, 8), (1, 4, 4, 4)
    vx.ScalarImage(tensor=np.ones(shape, np.float32)).save(tmp_path / "in/a_t1.nii.gz")
    vx.LabelMap(tensor=np.ones(coarse, np.uint8)).save(tmp_path / "in/a_seg.nii.gz")
    vx.ScalarImage(tensor=np.ones(shape, np.float32)).save(tmp_path / "in/b_t1.nii.gz")
    vx.convert_cohort(
        tmp_path / "in",
        tmp_path / "cohort",
        image_patterns={"t1": "*_t1.nii.gz"},
        label_patterns={"seg": "*_seg.nii.gz"},
        progress=False,
    )
    (tmp_path / "p.yaml").write_text("- operation: CropOrPad\n  arguments: {target_shape: 6}\n")
    done = preprocess(tmp_path / "cohort", tmp_path / "out", tmp_path / "p.yaml")
    assert done.exit_code == 3
    assert done.stderr.count("GRIDS_DIFFER") == 1
    report = (tmp_path / "out/report.txt").read_text()
    assert report.count("a\n    GRIDS_DIFFER: ") == 1
    assert "\\n" not in report
    assert "\n    t1: Grid(" in report
    pipeline = Compose.from_yaml(tmp_path / "p.yaml")
    with pytest.raises(vx.VoxarrayError, match=r"ones: a: GRIDS_DIFFER\n") as caught:
        vx.Cohort(tmp_path / "cohort").map(pipeline).save(tmp_path / "again", progress=False)
    assert "2 images failed" in str(caught.value)


def test_one_mistake_in_a_pipeline_is_told_once_for_all_images(tmp_path):
    for name in "abcde":
        vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), np.float32)).save(
            tmp_path / f"in/{name}.nii.gz"
        )
    vx.convert_cohort(tmp_path / "in", tmp_path / "cohort", progress=False)
    (tmp_path / "p.yaml").write_text("- operation: Crop\n  arguments: {cropping: 5}\n")
    done = preprocess(tmp_path / "cohort", tmp_path / "out", tmp_path / "p.yaml")
    assert done.exit_code == 1
    reasons = done.stderr.splitlines()[:-1]
    assert len(reasons) == 1, done.stderr
    assert reasons[0].startswith("5 of 5 images: ")
    assert reasons[0].endswith("; the first are a, b, c")
    report = (tmp_path / "out/report.txt").read_text()
    assert [name for name in "abcde" if f"\n{name}\n" in f"\n{report}"] == list("abcde")


class Counting:
    """A pipeline of a user's, with a method whose name means nothing to us."""

    def __call__(self, subject):
        return vx.ZNormalization()(subject)

    def makes(self):
        return 3


def test_a_method_of_a_users_pipeline_names_no_images(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "in")
    part = vx.Cohort(tmp_path / "in").member("1").parts[0]
    (tmp_path / "in" / part.archive / "manifest.json").unlink()
    with pytest.raises(vx.VoxarrayError) as caught:
        vx.Cohort(tmp_path / "in").map(Counting()).save(tmp_path / "out", progress=False)
    assert caught.value.code == "SOME_FAILED"
    assert set(vx.Cohort(tmp_path / "out").names) == {"0", "2", "3"}
