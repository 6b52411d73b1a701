"""Subjects that two save at once, or that one is interrupted in saving: never a silent mix."""

from __future__ import annotations

import copy
import pickle
import shutil
import threading

import numpy as np
import pytest

import voxarray as vx
from voxarray import saving
from voxarray.core.errors import ArchiveError, StateError
from voxarray.testing.counting import count_reads

NAMES = ("t1", "seg")
AFFINE = np.diag([1.5, 1, 2, 1])


def subject_of(seed, names=NAMES):
    images = {
        name: vx.ScalarImage(tensor=np.full((1, 12, 10, 8), seed, np.int16), affine=AFFINE)
        for name in names
    }
    return vx.Subject(images)


def opened(folder, suffix=".ome.zarr", names=NAMES):
    return vx.Subject({name: vx.ScalarImage(folder / f"{name}{suffix}") for name in names})


def seeds_in(folder, suffix=".ome.zarr", names=NAMES):
    return [int(vx.ScalarImage(folder / f"{name}{suffix}").numpy().mean()) for name in names]


def overtaken(folder, monkeypatch, suffix=".ome.zarr"):
    """Subject 1 is saved, and 2 by somebody else after its first image: t1 of 2, seg of 1."""
    original, done = saving.save, []

    def save(source, path, **options):
        if str(path).endswith(f"seg{suffix}") and not done:
            done.append(path)
            subject_of(2).save(folder, suffix, overwrite=True)
        original(source, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "save", save)
        subject_of(1).save(folder, suffix, overwrite=True)


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    folder = tmp_path / "sub"
    with pytest.raises(ArchiveError):
        overtaken(folder, monkeypatch)
    assert seeds_in(folder) == [2, 1]
    return folder


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx", ".nii.gz", ".mhd"])
def test_who_was_overtaken_is_told(tmp_path, monkeypatch, suffix):
    folder = tmp_path / "sub"
    subject_of(0).save(folder, suffix)
    with pytest.raises(ArchiveError, match="somebody else has replaced or deleted") as caught:
        overtaken(folder, monkeypatch, suffix)
    assert caught.value.code == "OVERTAKEN"
    assert caught.value.path == str(folder / f"t1{suffix}")
    assert seeds_in(folder, suffix) == [2, 1]
    subject_of(3).save(folder, suffix, overwrite=True)
    assert [int(one.numpy().mean()) for one in opened(folder, suffix).get_images()] == [3, 3]


def read_one_by_one(subject):
    t1, seg = subject["t1"], subject["seg"]
    return t1.numpy(), seg.numpy()


READERS = {
    "numpy": read_one_by_one,
    "attributes": lambda subject: (subject.t1.numpy(), subject.seg.numpy()),
    "shapes": lambda subject: [one.shape for one in subject.get_images()],
    "load": lambda subject: subject.load(),
    "grid": lambda subject: subject.same_grid(),
    "slice": lambda subject: subject[2:4],
    "transform": lambda subject: vx.ToCanonical()(subject),
    "copy": lambda subject: read_one_by_one(subject.copy()),
    "deep copy": lambda subject: read_one_by_one(copy.deepcopy(subject)),
    "pickle": lambda subject: read_one_by_one(pickle.loads(pickle.dumps(subject))),
    "patches": lambda subject: vx.PatchDataset([subject], vx.UniformSampler(4))[0],
    "grid of patches": lambda subject: vx.GridSampler(subject, 4)[0],
    "added": lambda subject: read_one_by_one(_added_one_by_one(subject)),
    "pickle of one that is half read": lambda subject: (
        subject["t1"].shape,
        read_one_by_one(pickle.loads(pickle.dumps(subject))),
    ),
}


def _added_one_by_one(subject):
    _ = subject["t1"].numpy()
    other = vx.Subject(t1=subject["t1"])
    other.add_image(subject["seg"], "seg")
    return other


@pytest.mark.parametrize("reader", READERS)
def test_a_mix_is_an_error_however_it_is_read(mixed, reader):
    with pytest.raises(StateError, match="come from two different calls") as caught:
        READERS[reader](opened(mixed))
    assert caught.value.code == "SAVED_APART"


def test_a_label_map_in_an_archive_is_of_its_call(mixed):
    """And its image is not at odds with it."""
    labels = vx.LabelMap(tensor=np.ones((1, 12, 10, 8), np.uint8), affine=AFFINE)
    vx.Archive(mixed / "t1.ome.zarr").add_labels("brain", labels)
    t1 = vx.ScalarImage(mixed / "t1.ome.zarr")
    brain = vx.LabelMap(mixed / "t1.ome.zarr/labels/brain")
    assert vx.Subject(t1=t1, brain=brain).same_grid()
    with pytest.raises(StateError):
        vx.Subject(brain=brain, seg=vx.ScalarImage(mixed / "seg.ome.zarr")).load()


def test_verify_finds_a_mix(mixed):
    (problem,) = vx.verify(mixed)
    assert problem.code == "SAVED_APART"
    assert "seg.ome.zarr and t1.ome.zarr" in problem.message
    assert vx.verify(mixed / "t1.ome.zarr") == []
    subject_of(3).save(mixed, overwrite=True)
    assert vx.verify(mixed) == []


def test_one_image_alone_can_be_read(mixed):
    assert vx.ScalarImage(mixed / "t1.ome.zarr").numpy().mean() == 2
    assert vx.Subject(t1=vx.ScalarImage(mixed / "t1.ome.zarr")).shape == (1, 12, 10, 8)


def test_an_interrupted_call_is_old_new_or_an_error(tmp_path, monkeypatch):
    folder, original = tmp_path / "sub", saving.save
    for number in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        subject_of(1).save(folder)
        left = iter(range(number))

        def save(*given, left=left, **options):
            if next(left, None) is None:
                raise KeyboardInterrupt
            original(*given, **options)

        with monkeypatch.context() as patch:
            patch.setattr(saving, "save", save)
            if number < 2:
                with pytest.raises(KeyboardInterrupt):
                    subject_of(2).save(folder, overwrite=True)
            else:
                subject_of(2).save(folder, overwrite=True)
        if number == 1:
            with pytest.raises(StateError):
                opened(folder).load()
        else:
            opened(folder).load()
            assert seeds_in(folder) == [1 + number // 2] * 2


def test_what_is_replaced_on_purpose_belongs_to_the_rest(tmp_path):
    folder = tmp_path / "sub"
    subject_of(1).save(folder)
    subject_of(2)["seg"].save(folder / "seg.ome.zarr", overwrite=True)  # alone
    opened(folder).load()
    subject_of(1).save(folder, overwrite=True)
    subject_of(2, ["seg"]).save(folder, overwrite=True)
    opened(folder).load()
    subject_of(1).save(folder, overwrite=True)
    subject_of(2, ["seg", "flair"]).save(folder, overwrite=True)  # and not t1
    opened(folder, names=["t1", "seg", "flair"]).load()
    assert vx.verify(folder) == []


def test_images_of_different_folders_or_names_may_be_of_different_calls(tmp_path):
    for number in (1, 2):
        subject_of(number).save(tmp_path / str(number))
    t1, seg = tmp_path / "1/t1.ome.zarr", tmp_path / "2/seg.ome.zarr"
    vx.Subject(t1=vx.ScalarImage(t1), seg=vx.ScalarImage(seg)).load()
    shutil.move(seg, tmp_path / "1/other.ome.zarr")
    vx.Subject(t1=vx.ScalarImage(t1), seg=vx.ScalarImage(tmp_path / "1/other.ome.zarr")).load()


def test_nothing_is_opened_to_compare(tmp_path):
    subject_of(1).save(tmp_path / "sub")
    subject = opened(tmp_path / "sub")
    with count_reads() as reads:
        assert subject["t1"].shape == (1, 12, 10, 8)
        assert subject["seg"]._sliced is None
    assert reads.voxels == 0


@pytest.mark.parametrize("suffix", [".ome.zarr", ".nii.gz"])
def test_writers_at_once_leave_one_subject_or_an_error(tmp_path, suffix):
    folder, names = tmp_path / "sub", ("t1", "t2", "seg")
    subject_of(9, names).save(folder, suffix)
    for _ in range(3):
        start, errors = threading.Barrier(6), list[vx.VoxarrayError]()

        def write(number, start=start, errors=errors):
            subject = subject_of(number, names if number % 2 else names[::-1])
            start.wait()
            try:
                subject.save(folder, suffix, overwrite=True)
            except vx.VoxarrayError as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(set(seeds_in(folder, suffix, names))) == 1:
            opened(folder, suffix, names).load()
            continue
        assert errors
        if suffix == ".ome.zarr":
            with pytest.raises(StateError):
                opened(folder, suffix, names).load()
