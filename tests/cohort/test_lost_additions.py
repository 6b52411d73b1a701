"""What was added to an archive does not vanish because its source has changed."""

from __future__ import annotations

import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import (
    AFFINE,
    PATTERNS,
    again,
    alter,
    archives,
    converted_by_a_worker,
    label,
    run,
    save,
    touch,
    truth,
    voxels,
)

import voxarray as vx
from voxarray.archive import publication
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run import absent_labels, task
from voxarray.cohort.run.build import build
from voxarray.core.errors import ArchiveExistsError


@pytest.fixture
def made(tmp_path):
    """Two subjects with a label map each, and the archive of the first."""
    for number in range(2):
        save(tmp_path / f"in/{number}/t1.nii", number)
        label(tmp_path / f"in/{number}/seg.nii", 1)
    assert run("convert", tmp_path / "in", tmp_path / "out", *PATTERNS).exit_code == 0
    return vx.Archive(archives(tmp_path / "out")[0])


def add_brain(archive, file):
    archive.add_labels("brain", file)


def add_notes(archive, _):
    archive.add_notes(quality="good")


def correct_seg(archive, file):
    archive.remove_labels("seg")
    archive.add_labels("seg", file)


@pytest.mark.parametrize(
    ("add", "named"),
    [
        (add_brain, "the label map 'brain';"),
        (add_notes, "the note 'quality';"),
        (correct_seg, "the label map 'seg';"),
    ],
)
@pytest.mark.parametrize("changed", ["t1.nii", "seg.nii"])
def test_an_archive_that_got_more_is_not_replaced(made, tmp_path, add, named, changed):
    add(made, label(tmp_path / "by hand.nii", 7))
    before = truth(tmp_path / "out")
    alter(tmp_path / f"in/0/{changed}")
    touch(tmp_path / "in/1/t1.nii")
    result = again(tmp_path)
    assert result.exit_code == 3
    assert "1 converted, 0 up to date, 1 failed" in result.stdout
    assert f"CONTENT_ADDED: {made.path}" in result.stderr
    assert named in result.stderr
    name = f"subjects/{archives(tmp_path / 'out')[0].name}/"
    after = truth(tmp_path / "out")
    assert {k: v for k, v in after.items() if k.startswith(name)} == {
        k: v for k, v in before.items() if k.startswith(name)
    }
    assert again(tmp_path).exit_code == 3  # as often as it is tried
    assert again(tmp_path, "--overwrite").exit_code == 0
    assert list(vx.Archive(made.path).labels) == ["seg"]
    assert vx.Archive(made.path).notes == {}


def test_a_source_of_other_metadata_alone_is_named_as_another_source(made, tmp_path):
    """The voxels are the same, but the new archive would have another header."""
    add_notes(made, None)
    file = tmp_path / "in/0/t1.nii"
    image = nib.load(file)
    image.header["descrip"] = b"another text"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), file)
    result = again(tmp_path)
    assert result.exit_code == 3
    assert f"CONTENT_ADDED: {made.path} was made from another source" in result.stderr
    assert "the note 'quality'; save this" in result.stderr
    assert vx.Archive(made.path).notes == {"quality": "good"}


def test_what_was_added_where_the_source_is_gone_stops_no_run(made, tmp_path):
    add_brain(made, label(tmp_path / "by hand.nii", 7))
    add_notes(made, None)
    shutil.rmtree(tmp_path / "in/0")
    for more in ([], ["--overwrite"]):
        result = again(tmp_path, *more)
        assert (result.exit_code, "CONTENT_ADDED" in result.stderr) == (0, False)
        assert "ADDITIONS_DELETED" not in result.stderr
        assert sorted(vx.Archive(made.path).labels) == ["brain", "seg"]
        assert vx.Archive(made.path).notes == {"quality": "good"}
    touch(tmp_path / "in/1/t1.nii")
    assert again(tmp_path).exit_code == 0


def test_overwriting_says_first_what_it_deletes(made, tmp_path):
    for path in archives(tmp_path / "out"):
        vx.Archive(path).add_labels("brain", label(tmp_path / "by hand.nii", 7))
    add_notes(made, None)
    result = again(tmp_path, "--overwrite")
    assert result.exit_code == 0
    told = result.stderr.replace("\n", " ")
    assert "ADDITIONS_DELETED: overwriting makes 2 archives again without what was added" in told
    assert "the label map 'brain' of 2 archives, the note 'quality' of 1 archive. To" in told
    assert "ADDITIONS_DELETED" not in again(tmp_path, "--overwrite").stderr  # nothing is added now


def test_a_damaged_archive_is_made_again_alone(made, tmp_path):
    """As the advice of `verify` says; the others keep what was added to them."""
    damaged, other = archives(tmp_path / "out")
    vx.Archive(other).add_labels("brain", label(tmp_path / "by hand.nii", 7))
    shard = max((one for one in damaged.rglob("scale0/image/c/**/*") if one.is_file()), key=str)
    shard.write_bytes(b"x" + shard.read_bytes()[1:])
    (problem,) = vx.verify(tmp_path / "out")
    assert problem.code == "BAD_CHECKSUM"
    assert "--overwrite makes ALL archives of the cohort again" in problem.message
    assert "delete this archive, and repeat the command" in problem.message
    shutil.rmtree(damaged)
    assert "1 converted, 1 up to date" in again(tmp_path).stdout
    assert vx.verify(tmp_path / "out") == []
    assert sorted(vx.Archive(other).labels) == ["brain", "seg"]


def test_the_plan_says_so_before_anything_is_converted(made, tmp_path):
    def planned(*more):
        return run("plan", tmp_path / "in", tmp_path / "out", *PATTERNS, *more)

    add_notes(made, None)
    assert "CONTENT_ADDED" not in planned().stderr  # it is up to date
    alter(tmp_path / "in/0/t1.nii")
    touch(tmp_path / "in/1/t1.nii")  # of which the archive has nothing more
    for more in (["--dry-run"], [], []):
        result = planned(*more)
        assert result.exit_code == 0
        name = archives(tmp_path / "out")[0].name
        assert (
            "warning: CONTENT_ADDED: label maps or notes were added to archives that this plan "
            f"would replace: {name}. Convert will not replace these archives" in result.stderr
        )
    assert again(tmp_path).exit_code == 3


def test_what_is_added_while_an_archive_is_made_again_stays(made, tmp_path, monkeypatch):
    alter(tmp_path / "in/0/t1.nii")
    refuse = task.refuse_to_lose

    def look(path):
        refuse(path)
        monkeypatch.undo()
        made.add_notes(quality="good")

    monkeypatch.setattr(task, "refuse_to_lose", look)
    result = again(tmp_path)
    assert result.exit_code == 3
    assert f"CONTENT_ADDED: {made.path}" in result.stderr
    assert vx.Archive(made.path).notes == {"quality": "good"}
    assert not (tmp_path / "out/staging").exists()


def test_content_added_during_an_overwriting_run_is_reported(made, tmp_path, monkeypatch):
    """The archive is up to date, but was to be overwritten, and is not."""
    publish = publication.publish

    def late(staged, destination, *args, **kwargs):
        # The other image may be ready first, before that of `made` is begun.
        if os.path.samefile(destination, made.path):
            monkeypatch.undo()
            made.add_notes(quality="good")
        return publish(staged, destination, *args, **kwargs)

    monkeypatch.setattr(publication, "publish", late)
    result = again(tmp_path, "--overwrite")
    assert result.exit_code == 3
    assert f"CONTENT_ADDED: something was added to {made.path} while a new archive was made" in (
        result.stderr
    )
    assert vx.Archive(made.path).notes == {"quality": "good"}


def test_what_was_only_removed_holds_nothing_up(made, tmp_path):
    made.add_labels("brain", label(tmp_path / "by hand.nii", 7))
    made.remove_labels("brain")
    touch(tmp_path / "in/0/t1.nii")
    result = again(tmp_path)
    assert (result.exit_code, "1 converted, 1 up to date" in result.stdout) == (0, True)
    made.remove_labels("seg")
    touch(tmp_path / "in/0/t1.nii")
    assert again(tmp_path).exit_code == 0
    assert list(vx.Archive(made.path).labels) == ["seg"]


def test_a_damaged_archive_is_made_again_whatever_it_held(made, tmp_path):
    add_brain(made, label(tmp_path / "by hand.nii", 7))
    path = archives(tmp_path / "out")[0]
    (path / "manifest.json").unlink()
    assert again(tmp_path).exit_code == 0
    assert voxels(path).shape == (12, 10, 8)


def test_preprocessed_archives_keep_what_was_added_to_them(tmp_path):
    save(tmp_path / "in/a.nii", 1)
    build(tmp_path / "in", tmp_path / "out")
    flipped = vx.Cohort(tmp_path / "out").map(vx.Flip(0))
    flipped.save(tmp_path / "flipped")
    archive = vx.Archive(archives(tmp_path / "flipped")[0])
    archive.add_notes(quality="good")
    touch(tmp_path / "in/a.nii")
    build(tmp_path / "in", tmp_path / "out")
    flipped = vx.Cohort(tmp_path / "out").map(vx.Flip(0))
    with pytest.raises(vx.VoxarrayError, match="CONTENT_ADDED"):
        flipped.save(tmp_path / "flipped")
    assert vx.Archive(archive.path).notes == {"quality": "good"}
    with pytest.warns(vx.VoxarrayWarning, match=r"ADDITIONS_DELETED: .* 'quality' of 1 archive\."):
        flipped.save(tmp_path / "flipped", overwrite=True)
    assert vx.Archive(archive.path).notes == {}


def test_workers_refuse_too(made, tmp_path):
    add_brain(made, label(tmp_path / "by hand.nii", 7))
    alter(tmp_path / "in/0/t1.nii")
    done = converted_by_a_worker(tmp_path)
    assert [one.code for one in done.failures] == ["CONTENT_ADDED"]
    assert sorted(vx.Archive(made.path).labels) == ["brain", "seg"]


def without_file(folder):
    (folder / "0/seg.nii").unlink()


def with_a_damaged_file(folder):
    (folder / "0/seg.nii").write_bytes(b"no image")


@pytest.mark.parametrize("lose", [without_file, with_a_damaged_file])
def test_the_last_copy_of_a_label_map_stays(made, tmp_path, lose):
    lose(tmp_path / "in")
    touch(tmp_path / "in/0/t1.nii")
    result = again(tmp_path)
    assert result.exit_code == 3
    kept = f"LABELS_ABSENT: {made.path} was not made again, since that would delete its label map"
    assert f"{kept} 'seg', perhaps the last copy." in result.stderr
    planned = run("plan", tmp_path / "in", tmp_path / "out", *PATTERNS, "--dry-run")
    name = archives(tmp_path / "out")[0].name
    assert "LABELS_ABSENT: some archives hold label maps that no source has now" in planned.stderr
    assert f"leave them as they are: 'seg' of {name}. Bring" in planned.stderr
    assert list(vx.Archive(made.path).labels) == ["seg"]
    assert again(tmp_path).exit_code == 3  # as often as it is tried
    label(tmp_path / "in/0/seg.nii", 2)
    assert again(tmp_path).exit_code == 0
    lose(tmp_path / "in")
    vx.Archive(made.path).remove_labels("seg")
    again(tmp_path)
    assert list(vx.Archive(made.path).labels) == []


def test_patterns_that_leave_label_maps_out(made, tmp_path):
    result = run("convert", tmp_path / "in", tmp_path / "out", *PATTERNS[:2])
    assert (result.exit_code, result.stderr.count("LABELS_ABSENT")) == (1, 2)
    assert list(vx.Archive(made.path).labels) == ["seg"]
    result = run("convert", tmp_path / "in", tmp_path / "out", *PATTERNS[:2], "--overwrite")
    assert result.exit_code == 0
    assert list(vx.Archive(made.path).labels) == []


def test_a_label_map_that_becomes_an_archive_of_its_own(made, tmp_path):
    marks = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), AFFINE)
    nib.save(marks, tmp_path / "in/0/seg.nii")
    planned = run("plan", tmp_path / "in", tmp_path / "out", *PATTERNS, "--dry-run")
    assert "LABELS_ABSENT" not in planned.stderr
    again(tmp_path)
    assert again(tmp_path).exit_code == 0  # at the latest, when the label map has its archive
    assert list(vx.Archive(made.path).labels) == []
    assert vx.Cohort(tmp_path / "out")["0"].seg.spatial_shape == (4, 4, 4)


def test_a_label_map_that_goes_to_another_image_of_the_subject(tmp_path):
    """The scan was made again on another grid, and the label map still fits the other scan."""
    patterns = [("t1", "t1.nii"), ("t2", "t2.nii")]
    more = [f"--image-pattern={name}={{subject}}/{file}" for name, file in patterns]
    more.append("--label-pattern=seg={subject}/seg.nii")
    for number, name in enumerate(("t1", "t2")):
        save(tmp_path / f"in/0/{name}.nii", number)
    label(tmp_path / "in/0/seg.nii", 1)
    assert run("convert", tmp_path / "in", tmp_path / "out", *more).exit_code == 0
    assert [list(one) for one in vx.Cohort(tmp_path / "out").table.labels] == [["seg"], []]
    scan = nib.Nifti1Image(np.ones((4, 4, 4), np.int16), AFFINE)
    nib.save(scan, tmp_path / "in/0/t1.nii")
    planned = run("plan", tmp_path / "in", tmp_path / "out", *more, "--dry-run")
    assert "LABELS_ABSENT" not in planned.stderr
    run("convert", tmp_path / "in", tmp_path / "out", *more)
    assert run("convert", tmp_path / "in", tmp_path / "out", *more).exit_code == 0
    assert [list(one) for one in vx.Cohort(tmp_path / "out").table.labels] == [[], ["seg"]]
    assert vx.verify(tmp_path / "out") == []


def test_the_plan_is_read_once_however_many_archives_lose_a_label_map(made, tmp_path, monkeypatch):
    assert run("plan", tmp_path / "in", tmp_path / "out", *PATTERNS[:2]).exit_code == 0
    folder = CohortLayout.of(tmp_path / "out")
    plan, asked, read = Plan.read(folder.plan), [], Plan.read
    assert len(plan.items) == 2
    monkeypatch.setattr(Plan, "read", lambda path: asked.append(path) or read(path))
    for item in plan.items:
        archive = folder.archive(item.slug, plan.zipped)
        with pytest.raises(ArchiveExistsError, match="'seg'"):
            absent_labels.refuse_to_leave_out(archive, item, folder, zipped=plan.zipped)
    assert asked == [folder.plan]
    os.utime(folder.plan, ns=(1, 1))  # another plan
    with pytest.raises(ArchiveExistsError, match="'seg'"):
        absent_labels.refuse_to_leave_out(archive, item, folder, zipped=plan.zipped)
    assert asked == [folder.plan] * 2


def test_a_label_map_of_another_name_is_renamed(made, tmp_path):
    more = (*PATTERNS[:3], "lesion={subject}/seg.nii")
    assert run("plan", tmp_path / "in", tmp_path / "out", *more).exit_code == 0
    assert "OUTDATED" in run("verify", tmp_path / "out").stderr
    assert "0 of 2 images are converted" in run("finalise", tmp_path / "out").stdout
    result = run("convert", tmp_path / "in", tmp_path / "out", *more)
    assert "2 converted, 0 up to date" in result.stdout
    assert list(vx.Archive(made.path).labels) == ["lesion"]
    assert (
        "0 converted, 2 up to date"
        in run("convert", tmp_path / "in", tmp_path / "out", *more).stdout
    )


def test_a_cohort_follows_another_that_lost_a_label_map(made, tmp_path):
    copy = str(tmp_path / "copy")
    vx.Cohort(tmp_path / "out").save(copy)
    made.remove_labels("seg")
    vx.Cohort(tmp_path / "out").save(copy)
    assert [list(one) for one in vx.Cohort(copy).table.labels] == [[], ["seg"]]


def test_labels_go_from_archives_that_the_catalogue_does_not_list(made, tmp_path):
    made.add_labels("brain", label(tmp_path / "by hand.nii", 7))
    alter(tmp_path / "in/0/t1.nii")
    assert again(tmp_path).exit_code == 3  # CONTENT_ADDED: the row of the image says that it failed
    result = run("remove-labels", tmp_path / "out", "seg")
    assert (result.exit_code, "removed seg from 2 archives" in result.stdout) == (0, True)
    assert list(vx.Archive(made.path).labels) == ["brain"]
    result = run("remove-labels", tmp_path / "out", "brain")
    assert (result.exit_code, "removed brain from 1 archive\n" in result.stdout) == (0, True)
    assert again(tmp_path).exit_code == 0
