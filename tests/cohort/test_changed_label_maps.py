"""What is made of a cohort follows label maps that were corrected in it, added or removed."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, array, run, save

import voxarray as vx
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.described import described
from voxarray.cohort.plan.plan import Plan, key_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two subjects with two scans on one grid, and a label map in the archive of ``t1``."""
    folder = tmp_path_factory.mktemp("made")
    for number, name in enumerate(("a", "b")):
        for image in ("t1", "t2"):
            save(folder / f"in/{name}/{image}.nii", number)
        mask = nib.Nifti1Image((array(number) > 100).astype(np.uint8), AFFINE)
        nib.save(mask, folder / f"in/{name}/seg.nii")
    vx.convert_cohort(
        folder / "in",
        folder / "cohort",
        image_patterns={image: f"{{subject}}/{image}.nii" for image in ("t1", "t2")},
        label_patterns={"seg": "{subject}/seg.nii"},
        progress=False,
    )
    return folder / "cohort"


@pytest.fixture
def cohort(made, tmp_path):
    return shutil.copytree(made, tmp_path / "cohort")


def archive(cohort, image="t1"):
    return vx.Archive(vx.Cohort(cohort)["a"][image].path)


def correct(cohort, name="seg"):
    """Replace a label map, as a person does who corrects it."""
    changed = archive(cohort)
    changed.remove_labels(name)
    changed.add_labels(name, everywhere(cohort, 7))


def everywhere(cohort, value):
    scan = vx.Cohort(cohort)["a"].t1
    return vx.LabelMap(tensor=np.full(scan.shape, value, np.uint8), affine=scan.affine)


def masked(subject):
    """The label map decides on voxels, and is not among what is made."""
    return vx.Subject(t2=vx.Mask("seg")(subject).t2)


def in_memory(subject):
    """Nothing tells which label map the voxels depend on."""
    voxels = subject.t2.numpy() * (subject.seg.numpy() > 0)
    return vx.Subject(t2=vx.ScalarImage(tensor=voxels, affine=subject.t2.affine))


def same(subject):
    return subject


@pytest.mark.parametrize(
    "transform", [None, same, vx.Crop((1, 0, 0)), vx.Mask("seg"), masked, in_memory]
)
def test_what_is_made_follows_a_corrected_label_map(cohort, tmp_path, transform):
    """It counted as up to date, and held the label map of before."""

    def result():
        opened = vx.Cohort(cohort)
        return opened if transform is None else opened.map(transform)

    result().save(tmp_path / "made", progress=False)
    correct(cohort)
    result().save(tmp_path / "made", progress=False)
    expected, found = result()[0], vx.Cohort(tmp_path / "made")["a"]
    assert {*expected.get_images_dict(intensity_only=False)} <= {*found}
    for name, image in expected.get_images_dict(intensity_only=False).items():
        assert np.array_equal(found[name].numpy(), image.numpy()), name


def converted(done):
    counts = done.stdout.partition(": ")[2]
    return tuple(int(part.split()[0]) for part in counts.split(", ")[:2])


def test_only_copies_of_what_was_changed_are_made_again(cohort, tmp_path):
    command = ["convert", cohort, tmp_path / "copy"]
    assert converted(run(*command)) == (4, 0)
    archive(cohort).add_notes(quality="good")
    assert converted(run(*command)) == (0, 4)
    archive(cohort, "t2").add_labels("brain", everywhere(cohort, 1))
    assert converted(run(*command)) == (1, 3)
    correct(cohort)
    assert converted(run(*command)) == (1, 3)
    assert converted(run(*command)) == (0, 4)
    correct(cohort)  # to the same
    assert converted(run(*command)) == (0, 4)
    archive(cohort).remove_labels("seg")
    assert converted(run(*command)) == (1, 3)
    assert set(vx.Cohort(tmp_path / "copy")["a"]) == {"subject", "t1", "t2", "brain"}


def unlike_without(subject):
    return vx.Subject(t2=masked(subject).t2 if "seg" in subject else subject.t2)


def test_what_a_removed_label_map_decided_on_is_made_again(cohort, tmp_path):
    vx.Cohort(cohort).map(unlike_without).save(tmp_path / "made", progress=False)
    archive(cohort).remove_labels("seg")
    vx.Cohort(cohort).map(unlike_without).save(tmp_path / "made", progress=False)
    found = vx.Cohort(tmp_path / "made")["a"].t2.numpy()
    assert np.array_equal(found, vx.Cohort(cohort)["a"].t2.numpy())


def test_parts_of_a_failure_are_planned_again_with_the_label_map_that_lacked(cohort, tmp_path):
    """Parts told of the failure for ever, since the plan counted as that of now."""
    mapped = vx.Cohort(cohort).map(vx.Mask("brain"))
    mapped.plan(tmp_path / "made")
    with pytest.raises(vx.VoxarrayError, match="4 images failed"):
        mapped.save(tmp_path / "made", partition=(1, 1), progress=False)
    for name in ("a", "b"):
        scan = vx.Cohort(cohort)[name].t1
        vx.Archive(scan.path).add_labels("brain", everywhere(cohort, 1))
    mapped = vx.Cohort(cohort).map(vx.Mask("brain"))
    with pytest.raises(vx.FormatError, match=r"STALE_PLAN.*label maps") as stale:
        mapped.save(tmp_path / "made", partition=(1, 1), progress=False)
    for advice in ("plan()", "Without --partition", "--slurm"):
        assert advice in str(stale.value)
    mapped.plan(tmp_path / "made")
    assert mapped.save(tmp_path / "made", partition=(1, 1), progress=False).failed == 0


@pytest.mark.parametrize("transform", [same, vx.Crop((1, 0, 0))])
def test_parts_are_of_the_label_maps_that_were_planned(cohort, tmp_path, transform):
    correct(cohort)
    mapped = vx.Cohort(cohort).map(transform)
    mapped.plan(tmp_path / "made")
    mapped.save(tmp_path / "made", partition=(1, 2), progress=False)
    mapped.save(tmp_path / "made", partition=(2, 2), progress=False)
    changed = archive(cohort)
    changed.remove_labels("seg")
    changed.add_labels("seg", everywhere(cohort, 3))
    with pytest.raises(vx.FormatError, match="STALE_PLAN"):
        mapped.save(tmp_path / "made", partition=(1, 1), progress=False)


def test_keys_are_those_of_before_while_no_label_map_was_changed(cohort, tmp_path):
    """Otherwise all archives of all mapped cohorts would be made again."""
    archive(cohort).add_notes(quality="good")
    transform, options = vx.Crop((1, 0, 0)), ArchiveOptions()
    vx.Cohort(cohort).map(transform).plan(tmp_path / "made")
    items = Plan.read(CohortLayout(str(tmp_path / "made")).plan).items
    for item in items:
        member = vx.Cohort(cohort).member(item.subject)
        keys = {one.origin.source: one.origin.header for one in items}
        archives = [[part.archive, keys[part.archive]] for part in member.parts]
        layers = [layer.name for layer in item.layers]
        of = [archives, described(transform), options.digest()]
        assert item.key == key_of([item.subject, item.image, layers, *of])
