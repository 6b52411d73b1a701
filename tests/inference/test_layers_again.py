"""Layers of predictions that are made again, in part, or under a budget."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import dask
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import voxarray as vx
from voxarray import archive_object
from voxarray.cli.main import main
from voxarray.core import memory


def bright(patch):
    return torch.cat([0.5 - patch[:, :1], patch[:, :1] - 0.5], 1)


def telling(patch):
    raise RuntimeError(f"the budget is {memory.budget()}, this is process {os.getpid()}")


def write(folder, seed, name):
    voxels = np.random.default_rng(seed).random((1, 12, 11, 10), np.float32)
    vx.ScalarImage(tensor=voxels).save(folder / name, overwrite=True)


def convert(folder, **options):
    vx.convert_cohort(folder / "scans", folder / "cohort", progress=False, **options)
    return vx.Cohort(folder / "cohort")


@pytest.fixture
def cohort(tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(3):
        write(tmp_path / "scans", number, f"sub-{number}.nii.gz")
    return convert(tmp_path)


@pytest.mark.parametrize("preprocess", [None, vx.Clamp(0, 1)])
def test_a_channel_that_was_replaced_is_noticed(tmp_path, preprocess):
    (tmp_path / "scans").mkdir()
    for number, name in enumerate(("t1", "t2")):
        write(tmp_path / "scans", number, f"a_{name}.nii.gz")
    patterns = {"image_patterns": {"t1": "*_t1.nii.gz", "t2": "*_t2.nii.gz"}}
    cohort = convert(tmp_path, **patterns)
    given = {"patch_size": 8, "progress": False, "preprocess": preprocess}
    for _ in range(2):  # the second finds what the first made
        vx.infer(bright, cohort, channels=["t1", "t2"], **given)
    write(tmp_path / "scans", 5, "a_t2.nii.gz")
    cohort = convert(tmp_path, **patterns)
    with pytest.raises(vx.VoxarrayError, match=r"NAME_TAKEN.*other images"):
        vx.infer(bright, cohort, channels=["t1", "t2"], **given)


def test_a_layer_of_other_colours_is_not_the_same(cohort):
    """It was kept, with the colours that were asked for the first time."""
    given = {"patch_size": 8, "progress": False}
    red, green = ({0: "air", 1: ("bone", colour)} for colour in ((255, 0, 0), (0, 255, 0)))
    for _ in range(2):  # the second finds what the first made
        vx.infer(bright, cohort, classes=red, **given)
    for other in (green, {0: "air", 1: "bone"}):
        with pytest.raises(vx.VoxarrayError, match=r"NAME_TAKEN.*other settings"):
            vx.infer(bright, cohort, classes=other, **given)


@pytest.mark.parametrize("alike", [True, False])
def test_two_processes_that_make_one_layer_at_once(cohort, alike):
    """The later one said that the name was taken, by the very same prediction."""
    both = threading.Barrier(2)

    def racing(patch):
        if not patch.any():  # what tells the number of classes, after nobody found a layer
            both.wait(60)
        return bright(patch)

    def run(overlap):
        return vx.infer(racing, cohort[:1], patch_size=8, overlap=overlap, progress=False)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, overlap) for overlap in (0.5, 0.5 if alike else 0.25)]
    errors = [str(error) for error in (run.exception() for run in runs) if error is not None]
    if alike:
        assert errors == []
    else:
        assert len(errors) == 1
        assert "other settings" in errors[0]
    layer = vx.Cohort(cohort.path)[0]["prediction"]
    np.testing.assert_array_equal(layer.numpy(), cohort[0]["image"].numpy() > 0.5)


def test_a_subject_is_planned_once(cohort):
    planned = []

    def preprocess(subject):
        planned.append(subject)
        return subject

    vx.infer(bright, cohort, patch_size=8, preprocess=preprocess, progress=False)
    assert len(planned) == 3


def test_an_error_of_any_class_ends_one_subject_alone(cohort):
    seen = []

    def preprocess(subject):
        seen.append(1)
        if len(seen) == 2:
            raise ZeroDivisionError("nothing to divide")
        return subject

    with pytest.raises(vx.VoxarrayError, match="ZeroDivisionError: nothing to divide") as caught:
        vx.infer(bright, cohort, patch_size=8, preprocess=preprocess, progress=False)
    assert caught.value.code == "SOME_FAILED"
    made = [list(names) for names in vx.Cohort(cohort.path).table["labels"]]
    assert sorted(made) == [[], ["prediction"], ["prediction"]]


def test_workers_that_make_layers_keep_the_budget(cohort):
    budget = {"voxarray.memory-budget": 600 << 20}
    with dask.config.set(budget), pytest.raises(vx.VoxarrayError) as caught:
        vx.infer(telling, cohort[:1], patch_size=8, classes=2, workers=1, progress=False)
    assert f"the budget is {600 << 20}" in str(caught.value)
    assert f"this is process {os.getpid()}" not in str(caught.value)


class Stopped(Executor):
    """Whoever waits for the first is interrupted; the others have not begun."""

    def __init__(self):
        self.futures = []

    def submit(self, *_, **__):
        self.futures.append(Future())
        if len(self.futures) == 1:
            self.futures[0].set_exception(KeyboardInterrupt())
        return self.futures[-1]


def test_who_is_stopped_leaves_nothing_waiting(cohort):
    executor = Stopped()
    with pytest.raises(KeyboardInterrupt):
        vx.infer(bright, cohort, patch_size=8, executor=executor, progress=False)
    assert [future.cancelled() for future in executor.futures] == [False, True, True]


def stop_after(monkeypatch, function, at=1):
    """Interrupt whoever has called a function of `voxarray.archive_object` so many times."""
    calls, unstopped = [], getattr(archive_object, function)

    def stopping(*arguments, **named):
        calls.append(1)
        if function != "tell_cohorts":
            unstopped(*arguments, **named)
        if len(calls) == at:
            raise KeyboardInterrupt
        return unstopped(*arguments, **named) if function == "tell_cohorts" else None

    monkeypatch.setattr(archive_object, function, stopping)


def listed_and_there(cohort):
    """Whether the layer is listed, and whether it is there, of each archive."""
    table = vx.Cohort(cohort.path).table
    paths = [os.path.join(cohort.path, archive) for archive in table["archive"]]
    there = ["prediction" in vx.Archive(path).labels for path in paths]
    return ["prediction" in names for names in table["labels"]], there


@pytest.mark.parametrize("function", ["add_layer", "tell_cohorts"])
def test_who_is_stopped_lists_what_is_there(cohort, monkeypatch, function):
    """The layer was published, and the stop came before the catalogue had it."""
    stop_after(monkeypatch, function, at=2)
    with pytest.raises(KeyboardInterrupt):
        vx.infer(bright, cohort, patch_size=8, progress=False)
    listed, there = listed_and_there(cohort)
    assert sum(there) == 2
    assert listed == there


class StoppedBeforeItTells(Executor):
    """A worker to which the signal was sent, too, and which could tell nobody of its layer."""

    def __init__(self):
        self.begun = False

    def submit(self, function, *arguments):
        future = Future()
        if not self.begun:
            self.begun = True
            future.set_running_or_notify_cancel()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(archive_object, "tell_cohorts", lambda _: None)
                function(*arguments)
            future.set_exception(KeyboardInterrupt())
        return future


def test_who_is_stopped_lists_what_stopped_workers_have_added(cohort):
    with pytest.raises(KeyboardInterrupt):
        vx.infer(bright, cohort, patch_size=8, executor=StoppedBeforeItTells(), progress=False)
    listed, there = listed_and_there(cohort)
    assert sum(there) == 1
    assert listed == there


@pytest.mark.parametrize("function", ["remove_layer", "tell_cohorts"])
def test_who_is_stopped_lists_no_layer_that_is_gone(cohort, monkeypatch, function):
    vx.infer(bright, cohort, patch_size=8, progress=False)
    stop_after(monkeypatch, function)
    with pytest.raises(KeyboardInterrupt):
        vx.Archive(cohort[0].get_first_image().source.path).remove_labels("prediction")
    listed, there = listed_and_there(cohort)
    assert sum(there) == 2
    assert listed == there


@pytest.mark.filterwarnings("ignore")
def test_the_command_line_leaves_a_layer_that_is_there(cohort, tmp_path):
    torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(tmp_path / "net.pt"))
    archive = cohort[0].get_first_image().source.path
    words = ["infer", str(tmp_path / "net.pt"), archive, "--patch-size", "8"]
    generations = []
    for _ in range(2):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        generations.append(vx.Archive(archive).generation)
    assert generations[0] == generations[1]
    other = CliRunner().invoke(main, [*words, "--overlap", "0"])
    assert other.exit_code == 1
    assert "NAME_TAKEN" in other.output


@pytest.mark.filterwarnings("ignore")
def test_a_layer_that_is_taken_is_told_with_what_differs(cohort, tmp_path):
    """It was said that 1 of 3 subjects have the layer, beside messages that 2 of them have it."""
    for seed, name in enumerate(("net.pt", "other.pt")):
        torch.manual_seed(seed)
        torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(tmp_path / name))

    def infer(model, *more):
        words = ["infer", str(tmp_path / model), cohort.path, "--patch-size", "8", *more]
        return CliRunner().invoke(main, words)

    done = infer("net.pt", "--query", "subject != 'sub-0'")
    assert "2 of 2 subjects have the label map prediction of this model and" in done.output
    done = infer("net.pt", "--classes", "air,bone", "--overlap", "0.25")
    assert done.exit_code == 3
    assert "1 of 3 subjects have the label map prediction of this model and" in done.output
    told = (
        "has a label map 'prediction' that was made with other settings (classes, overlap): "
        "remove it first"
    )
    assert done.output.count(told) == 2
    done = infer("other.pt", "--overlap", "0.25")
    assert (
        done.output.count("that was made with another model and with other settings (overlap)") == 2
    )
    assert (
        done.output.count("that was made with another model and with other settings (classes)") == 1
    )
    scan = cohort[0].get_first_image()
    drawn = vx.LabelMap(tensor=scan.numpy().round().astype(np.uint8), affine=scan.affine)
    vx.Archive(cohort[0].get_first_image().source.path).add_labels("drawn", drawn)
    done = infer("net.pt", "--layer", "drawn")
    assert (
        done.output.count("a label map 'drawn' that was made by a person or another program") == 1
    )


# --- What a network needs -------------------------------------------------------------------------


def test_a_network_is_measured_with_as_many_patches_as_it_will_be_given(tmp_path):
    sizes = []

    def model(batch):
        sizes.append(len(batch))
        return bright(batch)

    vx.infer(model, vx.testing.sample((9, 9, 9)), tmp_path / "a.nii", patch_size=8, batch_size=3)
    assert sizes[0] == 3


def test_what_another_thread_takes_for_a_while_is_not_the_networks(tmp_path, caplog):
    calls = []

    def other():
        held = np.ones(200 << 20, np.uint8)
        time.sleep(0.02)
        return held[0]

    def model(batch):
        calls.append(1)
        if len(calls) == 1:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        return bright(batch)

    budget = {"voxarray.memory-budget": 1 << 30}
    with caplog.at_level("INFO", "voxarray.inference"), dask.config.set(budget):
        vx.infer(model, vx.testing.sample((9, 9, 9)), tmp_path / "a.nii", patch_size=8)
    assert caplog.records[-1].args[1].network < 60 << 20


@pytest.mark.parametrize("suffix", [".tif", ".h5", ".mnc"])
def test_formats_that_are_not_written_in_order_hold_labels_too(tmp_path, suffix):
    scan = vx.ScalarImage(tensor=vx.testing.sample((12, 11, 10)).numpy() / 600)
    made = [
        vx.infer(bright, scan, tmp_path / f"a{one}", patch_size=8, progress=False)
        for one in (".nii", suffix)
    ]
    np.testing.assert_array_equal(*(one.numpy() for one in made))


def test_a_patch_beyond_the_budget_is_refused_before_it_is_made(tmp_path):
    with pytest.raises(vx.MemoryBudgetError, match="patch_size"):
        vx.infer(bright, vx.testing.sample((9, 9, 9)), tmp_path / "a.nii", patch_size=1 << 14)


# --- What a picture reads -------------------------------------------------------------------------


def test_a_picture_reads_the_planes_that_it_shows(tmp_path):
    shape = (1, 32, 32, 64)
    labels = np.zeros(shape, np.uint8)
    labels[0, 4:9, 4:9, 40] = 1
    vx.ScalarImage(tensor=np.ones(shape, np.uint8)).save(tmp_path / "scan.nii")
    found = vx.LabelMap(tensor=labels)
    scan = vx.ScalarImage(tmp_path / "scan.nii")
    with vx.testing.count_reads() as reads:
        vx.evaluate(found, found, images=scan, montage=tmp_path / "a.png")
    counted = 2 * labels.size  # each of both label maps is read once, for Dice
    assert 32 * 32 <= reads.voxels - counted <= 4 * 32 * 32
