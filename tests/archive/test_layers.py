"""Label maps come to archives that are there, and go again; nothing else in them moves."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import shutil
import threading
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
import zarr
from archive_samples import OBLIQUE, archive, blobs
from layer_samples import SHAPE, base_of, codes, everything, labels

import voxarray as vx
from voxarray.archive import handle_cache, source
from voxarray.archive.generations import KEPT, REPLACED, replaced_manifests
from voxarray.archive.layers import remove_layer
from voxarray.geometry.selection import Selection


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return archive(tmp_path_factory.mktemp("made") / "a.ome.zarr", blobs(SHAPE), chunk=8)


@pytest.fixture
def path(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a.ome.zarr"))


def test_conversions_name_the_label_maps_that_they_leave(path, tmp_path):
    vx.Archive(path).add_labels("organ", labels(), names=dict.fromkeys(range(1, 5), "part"))
    for name in ("b.ome.zarr", "b.ozx", "b.nii"):
        with pytest.warns(vx.VoxarrayWarning, match=r"LABELS_LEFT: .*\['organ'\]") as found:
            vx.convert(path, tmp_path / name)
        assert found[0].filename == __file__
    vx.convert(path, tmp_path / "none.ome.zarr", labels={})
    vx.convert(path, tmp_path / "all.ome.zarr", labels=vx.Archive(path).labels)
    again = vx.Archive(tmp_path / "all.ome.zarr").labels["organ"]
    np.testing.assert_array_equal(again.numpy(), labels().numpy())
    assert again.source.label_table == vx.Archive(path).labels["organ"].source.label_table
    vx.convert_cohort([path], tmp_path / "cohort")
    journals = (tmp_path / "cohort" / "journal").glob("*")
    assert any("LABELS_LEFT" in one.read_text() for one in journals)


# --- What is there after --------------------------------------------------------------------------


def test_a_label_map_comes_and_goes(path):
    before, opened = base_of(path), vx.Archive(path)
    identity = opened.identity
    given = labels()
    added = opened.add_labels("tumour", given, names=dict.fromkeys(range(1, 5), "part"))
    assert list(opened.labels) == ["tumour"]
    assert opened.generation == 1
    np.testing.assert_array_equal(added.numpy(), given.numpy())
    np.testing.assert_allclose(added.affine, OBLIQUE, atol=1e-9)
    assert base_of(path) == before
    assert codes(path) == codes(path, quick=True) == []
    opened.remove_labels("tumour")
    assert dict(opened.labels) == {}
    assert opened.generation == 2
    assert base_of(path) == before
    assert not (path / "labels").exists()
    assert codes(path) == codes(path, quick=True) == []
    assert opened.identity == identity
    assert os.listdir(path.parent) == [path.name]


def test_a_label_map_that_is_not_there_is_named_with_those_that_are(path):
    opened = vx.Archive(path)
    with pytest.raises(KeyError, match=r"no label map 'nope' in .*; its label maps: none"):
        opened.labels["nope"]
    opened.add_labels("tumour", labels())
    with pytest.raises(KeyError, match=r"no label map 'nope' in .*; its label maps: 'tumour'"):
        opened.labels["nope"]
    assert opened.labels.get("nope") is None


def test_a_label_map_is_the_one_that_convert_would_have_made(tmp_path):
    values = {"one": blobs(SHAPE, "u1", 1), "two": blobs(SHAPE, "i2", 2)}
    together = archive(tmp_path / "together.ome.zarr", blobs(SHAPE), labels=values)
    apart = vx.Archive(archive(tmp_path / "apart.ome.zarr", blobs(SHAPE)))
    for name, array in values.items():
        image = vx.LabelMap(tensor=array, affine=OBLIQUE)
        apart.add_labels(name, image, names={1: "one", 2: "2", 3: "3", 4: "4"})
    wanted = {k: v for k, v in everything(together).items() if "/label_counts/" in k or "/c/" in k}
    assert wanted.items() <= everything(tmp_path / "apart.ome.zarr").items()
    assert (together / "labels/zarr.json").read_bytes() == (
        tmp_path / "apart.ome.zarr/labels/zarr.json"
    ).read_bytes()


def test_names_and_colours_are_ome_zarrs(path):
    names = {1: "core", 2: "rim", 3: "oedema", 4: "air"}
    colours = {1: (255, 0, 0), 2: "#00ff0080", 3: np.array([1, 2, 3, 4], "u1")}
    added = vx.Archive(path).add_labels("tumour", labels(), names=names, colours=colours)
    assert zarr.open_group(path / "labels").attrs["ome"]["labels"] == ["tumour"]
    told = zarr.open_group(path / "labels/tumour").attrs["ome"]["image-label"]
    assert told["source"] == {"image": "../../"}
    assert {one["label-value"]: one["name"] for one in told["properties"]} == names
    assert {one["label-value"]: one["rgba"] for one in told["colors"]} == {
        1: [255, 0, 0, 255],
        2: [0, 255, 0, 128],
        3: [1, 2, 3, 4],
    }
    other = vx.Archive(path).add_labels("again", added)
    assert other.source.label_table == added.source.label_table


def test_levels_are_those_of_the_image(tmp_path):
    shape = (1, 160, 150, 140)
    path = archive(tmp_path / "a.ome.zarr", blobs(shape, "u1"))
    opened = vx.Archive(path)
    added = opened.add_labels("parts", labels(shape=shape))
    levels = [one.source.levels for one in (added, opened.image)]
    assert levels == [3, 3]
    assert codes(path) == []


def test_notes_are_added_once_and_removed(path):
    opened = vx.Archive(path)
    opened.add_notes(quality="good", rater={"id": 7, "scores": [1, 2.5, None]})
    opened.add_notes(quality="good")
    assert opened.notes == {"quality": "good", "rater": {"id": 7, "scores": [1, 2.5, None]}}
    assert codes(path) == []
    for bad in ({"quality": "bad"}, {"a": object()}, {"a": float("nan")}, {"a": "x" * 70_000}):
        before = everything(path)
        with pytest.raises(vx.VoxarrayError) as caught:
            opened.add_notes(**bad)
        assert caught.value.code in ("NAME_TAKEN", "BAD_METADATA")
        assert everything(path) == before
    opened.remove_notes("rater")
    assert opened.notes == {"quality": "good"}
    with pytest.raises(vx.MissingFileError, match="NO_NOTE"):
        opened.remove_notes("rater")


def test_old_manifests_are_swept_but_the_first(path):
    opened = vx.Archive(path)
    for number in range(KEPT + 4):
        opened.add_notes(**{f"n{number}": number})
    last = KEPT + 4
    assert sorted(replaced_manifests(str(path))) == [0, *range(last - KEPT, last)]
    assert codes(path) == []


# --- Refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".hidden", "a/b", "a\\b", "zarr.json", "a\nb", " a", "x" * 300, 7, None),
        *("a.zarr", "a.OZX", "a.zarr.zip"),  # behind a URL, there an archive begins
    ],
)
def test_what_cannot_name_a_folder_is_no_name(path, name):
    _refused(path, "BAD_NAME", name=name)


def test_another_grid_is_refused(path):
    shifted = vx.LabelMap(tensor=labels().numpy(), affine=OBLIQUE + np.eye(4) * 0.1 * (1, 1, 1, 0))
    _refused(path, "GRID_MISMATCH", label_map=shifted)
    _refused(path, "GRID_MISMATCH", label_map=labels(shape=(1, 12, 9, 31)))


def test_what_is_said_of_another_grid_works(path):
    affine = OBLIQUE.copy()
    affine[0, 3] += 0.003
    near = vx.LabelMap(tensor=labels().numpy(), affine=affine)
    _refused(
        path, "GRID_MISMATCH", match=r"up to 0\.00\d+ voxels apart, but only 0\.001", label_map=near
    )
    _refused(path, "GRID_MISMATCH", match=r"vx\.Resample\(image\)\(label_map\)", label_map=near)
    archive = vx.Archive(path)
    archive.add_labels("near", vx.Resample(archive.image)(near))
    assert archive.labels["near"].data.tolist() == labels().data.tolist()


def test_taken_names_are_refused(path):
    vx.Archive(path).add_labels("Tumour", labels())
    _refused(path, "NAME_TAKEN", name="Tumour")
    _refused(
        path, "NAME_TAKEN", match="voxarray remove-labels", name="tumour"
    )  # one folder on macOS and Windows


def test_values_without_names_are_refused(path):
    _refused(path, "UNNAMED_VALUES", names={1: "one", 2: "two"}, match="3, 4")
    huge = vx.LabelMap(tensor=labels().numpy() * 2.0**60, affine=OBLIQUE)
    _refused(path, "UNNAMED_VALUES", label_map=huge, names={1: "one"})


@pytest.mark.parametrize(
    "words",
    [
        {"names": {1.5: "a"}},
        {"names": {True: "a"}},
        {"names": {1: ""}},
        {"names": {1: 2}},
        {"colours": {1: (256, 0, 0)}},
        {"colours": {1: (1, 2)}},
        {"colours": {1: "red-ish"}},
        {"colours": {1: 7}},
        {"names": ["a", "b"]},
        {"colours": "red"},
    ],
    ids=str,
)
def test_names_and_colours_that_are_none_are_refused(path, words):
    _refused(path, "BAD_LABELS", **words)


def test_the_error_of_a_missing_label_map_names_those_there(path):
    vx.Archive(path).add_labels("seg", labels())
    with pytest.raises(
        vx.MissingFileError, match=r"no label map 'sag'; its label maps are \['seg'\]"
    ):
        _ = vx.LabelMap(path / "labels" / "sag").shape


def test_what_another_process_removes_at_once_is_missing(path, monkeypatch):
    monkeypatch.setattr(
        "voxarray.archive_object.tell_cohorts", lambda paths: remove_layer(paths[0], "a")
    )
    with pytest.raises(vx.MissingFileError, match="NOT_FOUND"):
        vx.Archive(path).add_labels("a", labels())


def test_label_maps_may_go_while_files_are_listed(path, monkeypatch):
    vx.Archive(path).add_labels("a", labels())
    scandir, gone = os.scandir, []

    def late(folder):
        if str(folder).rstrip("/").endswith("labels/a") and not gone:
            gone.append(folder)
            vx.Archive(path).remove_labels("a")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", late)
    assert codes(path) == []
    assert gone


def test_measurements_are_no_label_map(path):
    scan = vx.ScalarImage(tensor=blobs(SHAPE), affine=OBLIQUE)
    _refused(path, "NO_LABEL_MAP", label_map=scan)


@pytest.mark.parametrize("value", [1.5, np.nan, np.inf, 1 + 1j], ids=str)
def test_labels_are_whole_numbers(path, value, tmp_path):
    voxels = labels().numpy().astype("c8" if isinstance(value, complex) else "f4")
    voxels[0, -1, -1, -1] = value
    fractions = vx.LabelMap(tensor=voxels, affine=OBLIQUE)
    _refused(path, "FRACTIONAL_LABELS", match="'tumour' holds", label_map=fractions)
    with pytest.raises(vx.FormatError, match="FRACTIONAL_LABELS"):
        vx.convert(path, tmp_path / "b.ome.zarr", labels={"tumour": fractions})
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(("slope", "is_whole"), [(0.5, False), (2.0, True)])
def test_labels_of_a_scaled_file_are_those_that_it_means(path, slope, is_whole, tmp_path):
    file = nib.Nifti1Image(labels().numpy()[0], OBLIQUE)
    file.header.set_slope_inter(slope, 0)
    (tmp_path / "masks").mkdir()
    file.to_filename(scaled := tmp_path / "masks" / "scaled.nii")
    if is_whole:
        added = vx.Archive(path).add_labels("a", scaled)
        np.testing.assert_array_equal(added.numpy(), slope * labels().numpy())
    else:
        with pytest.raises(vx.FormatError, match="FRACTIONAL_LABELS"):
            vx.Archive(path).add_labels("a", scaled)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_that_are_whole_are_labels(path, dtype):
    given = vx.LabelMap(tensor=labels().numpy().astype(dtype), affine=OBLIQUE)
    added = vx.Archive(path).add_labels("a", given, names=dict.fromkeys(range(1, 5), "part"))
    np.testing.assert_array_equal(added.numpy(), given.numpy())


def test_what_cannot_be_added_to_says_so(tmp_path):
    sealed = archive(tmp_path / "a.ozx", blobs(SHAPE))
    with pytest.raises(vx.UnsupportedError, match="SEALED"):
        vx.Archive(sealed).add_labels("a", labels())
    with pytest.raises(vx.UnsupportedError, match="SEALED"):
        vx.Archive(sealed).add_notes(a=1)
    old = Path(__file__).with_name("version_1") / "intensity.ozx.gz"
    copy = tmp_path / "old.ome.zarr"
    with zipfile.ZipFile(io.BytesIO(gzip.decompress(old.read_bytes()))) as members:
        members.extractall(copy)
    image = vx.Archive(copy).image
    ones = vx.LabelMap(tensor=np.ones((1, *image.spatial_shape), "u1"), affine=image.affine)
    with pytest.raises(vx.UnsupportedError, match="OLD_VERSION"):
        vx.Archive(copy).add_labels("a", ones)


def test_removing_an_absent_label_map_is_refused(path):
    with pytest.raises(vx.MissingFileError, match="NO_LABELS"):
        vx.Archive(path).remove_labels("nothing")
    assert not (path / REPLACED).exists()


def test_an_archive_that_may_not_be_written_is_refused(path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    _refused(path, "READ_ONLY")


@pytest.mark.parametrize("step", ["link", "replace", "rename", "fsync", "write"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_full_disk_leaves_all_as_it_was(path, step, nth, monkeypatch):
    opened = vx.Archive(path)
    opened.add_labels("first", labels())
    before, count = everything(path), 0
    whole = getattr(os, step)

    def full(*arguments: object, **words: object) -> object:
        nonlocal count
        if threading.current_thread() is threading.main_thread() or step == "fsync":
            count += 1
            if count == nth:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(*arguments, **words)

    monkeypatch.setattr(os, step, full)
    outcome = ""
    try:
        opened.add_labels("second", labels(2))
    except vx.ArchiveError as error:
        outcome = error.code
    monkeypatch.undo()
    assert outcome in ("", "NO_SPACE", "NOT_SYNCED")
    if outcome == "NO_SPACE":
        assert everything(path) == before
    assert codes(path) == []
    assert os.listdir(path.parent) == [path.name]


def _refused(path: Path, code: str, match: str = "", **words: object) -> None:
    before = everything(path)
    given = {"name": "tumour", "label_map": labels(), **words}
    with pytest.raises(vx.VoxarrayError, match=match or code) as caught:
        vx.Archive(path).add_labels(given.pop("name"), given.pop("label_map"), **given)
    assert caught.value.code == code
    assert everything(path) == before
    assert os.listdir(path.parent) == [path.name]


# --- Readers that are open ------------------------------------------------------------------------


def test_open_images_go_on_and_those_of_removed_labels_say_so(path):
    opened = vx.Archive(path)
    opened.add_labels("a", labels(1))
    scan, layer = vx.ScalarImage(path), opened.labels["a"]
    wanted = blobs(SHAPE), blobs(SHAPE, "u1", 1)
    np.testing.assert_array_equal(layer[:3].numpy(), wanted[1][:, :3])
    np.testing.assert_array_equal(scan[:3].numpy(), wanted[0][:, :3])
    opened.add_labels("b", labels(2))
    np.testing.assert_array_equal(scan[:5].numpy(), wanted[0][:, :5])
    np.testing.assert_array_equal(layer[:5].numpy(), wanted[1][:, :5])
    assert layer.count_labels()
    opened.remove_labels("a")
    np.testing.assert_array_equal(scan[5:].numpy(), wanted[0][:, 5:])
    with pytest.raises(vx.SourceChangedError):
        layer[5:].numpy()
    opened.add_labels("a", labels(3))  # of the same name, and another one
    with pytest.raises(vx.SourceChangedError):
        layer[:3].numpy()


def test_images_go_on_in_processes_that_never_saw_the_archive(path):
    source = vx.ScalarImage(path).source
    opened = vx.Archive(path)
    opened.add_labels("a", labels())
    opened.add_labels("b", labels())
    handle_cache._manifests.clear()
    whole = Selection(tuple(map(range, SHAPE)))
    np.testing.assert_array_equal(source.read(whole), blobs(SHAPE))
    for number in range(KEPT + 1):
        opened.add_notes(**{f"n{number}": number})
    source.read(whole)
    handle_cache._manifests.clear()
    handle_cache._agreements.clear()
    handle_cache._shards.clear()
    opened.remove_notes("n0")
    source.read(whole)  # of the first generation, which is never swept


def forget():
    source._open_level.cache_clear()
    source._image.cache_clear()
    handle_cache._manifests.clear()
    handle_cache._agreements.clear()


def test_archives_that_others_change_while_they_are_opened_are_opened(path, monkeypatch):
    vx.Archive(path).add_labels("a", labels())  # the first manifest is never swept
    manifest, changes = handle_cache.manifest, iter(range(2))

    def changed_before(store, opened):
        for change in changes:
            for number in range(KEPT + 1):
                vx.Archive(path).add_labels(f"layer-{change}-{number}", labels())
            forget()
            break
        return manifest(store, opened)

    forget()
    monkeypatch.setattr(handle_cache, "manifest", changed_before)
    image = vx.LabelMap(f"{path}/labels/a")
    np.testing.assert_array_equal(image.numpy(), labels().numpy())


def test_open_images_go_on_while_one_manifest_replaces_another(path, monkeypatch):
    scan = vx.ScalarImage(path)
    assert scan.shape == SHAPE
    vx.Archive(path).add_labels("a", labels())
    parsed, changes = handle_cache._parsed, iter(range(3))

    def replaced_before(store, opened):
        for number in changes:
            vx.Archive(path).add_labels(f"layer-{number}", labels())
            handle_cache._agreements.clear()
            handle_cache._manifests.pop(handle_cache.identity(store), None)
            break
        return parsed(store, opened)

    monkeypatch.setattr(handle_cache, "_parsed", replaced_before)
    monkeypatch.setattr(handle_cache, "_from_replaced", lambda *_: None)
    np.testing.assert_array_equal(scan.numpy(), blobs(SHAPE))


def test_reading_after_the_archive_was_replaced_raises_source_changed(path):
    scan = vx.ScalarImage(path)
    scan[:3].numpy()
    vx.Archive(path).add_labels("a", labels())
    archive(path, blobs(SHAPE, seed=5), chunk=8, overwrite=True)
    with pytest.raises(vx.SourceChangedError):
        scan[:3].numpy()


# --- The cohort and the command line --------------------------------------------------------------


def test_the_catalogue_follows(tmp_path, path):
    (tmp_path / "in").mkdir()
    vx.ScalarImage(path).save(tmp_path / "in" / "sub-01_T1w.nii.gz")
    vx.ScalarImage(path).save(tmp_path / "in" / "sub-02_T1w.nii.gz")
    vx.convert_cohort([tmp_path / "in"], tmp_path / "out")
    cohort = vx.Cohort(tmp_path / "out")
    before = cohort.table
    place = tmp_path / "out" / before.archive[0]
    scan = vx.ScalarImage(place)
    ones = vx.LabelMap(tensor=np.ones(scan.shape, "u1"), affine=scan.affine)
    vx.Archive(place).add_labels("mask", ones)
    after = vx.Cohort(tmp_path / "out").table
    assert [list(one) for one in after.labels] == [["mask"], []]
    assert after.bytes[0] > before.bytes[0]
    unchanged = [name for name in before if name not in ("labels", "bytes")]
    assert after[unchanged].equals(before[unchanged])
    assert set(vx.Cohort(tmp_path / "out")[0].get_images_names()) >= {"mask"}
    assert vx.verify(tmp_path / "out") == []
    file = (tmp_path / "out/catalogue.parquet").read_bytes()
    from voxarray.cohort.catalogue.finalise import finalise

    finalise(tmp_path / "out")
    assert (tmp_path / "out/catalogue.parquet").read_bytes() == file


def test_labels_that_come_while_a_cohort_is_finalised_stay_in_its_catalogue(
    tmp_path, path, monkeypatch
):
    from voxarray.cohort.catalogue import manifest_entries
    from voxarray.cohort.catalogue.finalise import finalise

    vx.convert_cohort([path], tmp_path / "out")
    place = tmp_path / "out" / vx.Cohort(tmp_path / "out").table.archive[0]
    scan = vx.ScalarImage(place)
    ones = vx.LabelMap(tensor=np.ones(scan.shape, "u1"), affine=scan.affine)
    read, calls = manifest_entries.entries_of, []

    def entries(folder):
        found = read(folder)
        if not calls:
            vx.Archive(place).add_labels("mask", ones)
        calls.append(folder)
        return found

    monkeypatch.setattr(manifest_entries, "entries_of", entries)
    finalise(tmp_path / "out")
    assert list(vx.Cohort(tmp_path / "out").table.labels[0]) == ["mask"]
    assert len(calls) == 2


def test_commands_add_and_remove(path, tmp_path):
    from click.testing import CliRunner

    from voxarray.cli.main import main

    labels().save(tmp_path / "mask.nii.gz")

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, list(map(str, words)))
        return result.exit_code, result.output

    named = [f"--name={value}=part {value}" for value in range(1, 5)]
    code, output = run("add-labels", path, "mask", tmp_path / "mask.nii.gz", *named, "--json")
    assert code == 0, output
    told = json.loads(output)
    assert told["labels"] == ["mask"]
    assert told["generation"] == 1
    layer = vx.Archive(path).labels["mask"]
    assert "part 1" in {one.name for one in layer.source.label_table}
    code, output = run("add-labels", path, "mask", tmp_path / "mask.nii.gz")
    assert code == 1
    assert "NAME_TAKEN" in output
    assert run("add-labels", path, "b", tmp_path / "mask.nii.gz", "--name", "one")[0] == 2
    assert run("remove-labels", path, "mask")[0] == 0
    assert not vx.Archive(path).labels


# --- Other readers --------------------------------------------------------------------------------


def test_a_label_map_is_opened_by_its_path_and_not_as_a_group(path):
    vx.Archive(path).add_labels("tumour", labels())
    with pytest.raises(vx.VoxarrayError, match="NO_LEVEL") as caught:
        xr.open_dataset(path, engine="voxarray", group="labels/tumour")
    assert f"by its path, {path}/labels/tumour, " in str(caught.value)
    opened = xr.open_dataset(f"{path}/labels/tumour", engine="voxarray")["image"]
    assert np.array_equal(opened, labels().numpy())


def test_the_page_names_all_of_which_zarr_warns(path):
    page = (Path(__file__).parents[2] / "notebooks/zarr-and-urls.md").read_text()
    vx.Archive(path).add_labels("tumour", labels())
    with pytest.warns(zarr.errors.ZarrUserWarning) as told:
        zarr.open_group(path, mode="r").tree()
    names = {re.match(r"Object at (\S+) is not", str(one.message))[1] for one in told}
    assert names == {"manifest.json", "generations"}
    _, _, section = page.partition("## Why zarr-python warns")
    assert all(f"`{name}`" in section.partition("\n## ")[0] for name in names)
