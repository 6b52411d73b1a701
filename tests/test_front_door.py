"""What everybody calls: the functions and keywords of `vx`, and what they refuse."""

from __future__ import annotations

import inspect
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import dask
import nibabel as nib
import numpy as np
import pytest

import voxarray as vx

ROOT = Path(__file__).parents[1]
PACKAGES = ("transforms", "patches", "testing", "source")
PUBLIC = {"voxarray", *(f"voxarray.{name}" for name in PACKAGES)}


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    image = vx.testing.sample((20, 18, 16))
    image.save(tmp_path / "t1.nii.gz")
    return tmp_path / "t1.nii.gz"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        vx.testing.sample((20, 18, 16 + number)).save(folder / f"sub-{number}.nii.gz")
    return folder


def voxels(path: Path) -> np.ndarray:
    return vx.ScalarImage(path).numpy()


def test_convert_makes_an_archive_with_what_was_asked_for(scan, tmp_path):
    done = vx.convert(scan, tmp_path / "a.ome.zarr", codec="training", levels=2, chunks=8)
    assert (done.levels, done.path) == (2, str(tmp_path / "a.ome.zarr"))
    np.testing.assert_array_equal(voxels(tmp_path / "a.ome.zarr"), voxels(scan))
    assert vx.verify(tmp_path / "a.ome.zarr", source=scan) == []


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz", ".ozx"])
def test_convert_writes_what_the_suffix_says(scan, tmp_path, suffix):
    vx.convert(scan, tmp_path / "a.ome.zarr")
    done = vx.convert(tmp_path / "a.ome.zarr", tmp_path / f"b{suffix}")
    assert Path(done.path).is_file()
    np.testing.assert_array_equal(voxels(tmp_path / f"b{suffix}"), voxels(scan))


def test_convert_keeps_a_label_map_one(tmp_path):
    labels = vx.LabelMap(tensor=np.ones((1, 8, 8, 8), np.uint8))
    vx.convert(labels, tmp_path / "a.ome.zarr")
    vx.convert(tmp_path / "a.ome.zarr", tmp_path / "b.ome.zarr", codec="raw")
    from voxarray.archive.source import is_label_map

    assert is_label_map(vx.open_source(tmp_path / "b.ome.zarr"))


def test_convert_puts_label_maps_beside_the_image(scan, tmp_path):
    image = vx.ScalarImage(scan)
    labels = vx.LabelMap(tensor=(image.data > 300).byte(), affine=image.affine)
    vx.convert(image, tmp_path / "a.ome.zarr", labels={"brain": labels})
    found = vx.LabelMap(tmp_path / "a.ome.zarr" / "labels" / "brain")
    np.testing.assert_array_equal(found.numpy(), labels.numpy())


@pytest.mark.parametrize(
    "keywords",
    [{"codec": "raw"}, {"levels": 2}, {"chunks": 32}, {"labels": {"a": "b.nii"}}, {"zip": True}],
    ids=lambda keywords: next(iter(keywords)),
)
def test_keywords_without_meaning_are_refused(scan, tmp_path, keywords):
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.convert(scan, tmp_path / "b.nii", **keywords)
    assert caught.value.code == "UNUSED_KEYWORD"
    assert not (tmp_path / "b.nii").exists()


def test_zip_is_refused_for_a_folder(scan, tmp_path):
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.convert(scan, tmp_path / "b.ome.zarr", zip=True)
    assert caught.value.code == "UNUSED_KEYWORD"
    vx.convert(scan, tmp_path / "b.ozx", zip=True)


@pytest.mark.parametrize("name", ["b.nii.gz", "b.ome.zarr"])
def test_convert_replaces_nothing_unless_it_may(scan, tmp_path, name):
    vx.convert(scan, tmp_path / name)
    with pytest.raises(vx.ArchiveExistsError) as caught:
        vx.convert(scan, tmp_path / name)
    assert caught.value.code == "EXISTS"
    vx.convert(scan, tmp_path / name, overwrite=True)


def test_convert_heeds_its_budget(scan, tmp_path):
    with pytest.raises(vx.MemoryBudgetError):
        vx.convert(scan, tmp_path / "b.ome.zarr", memory="1 KiB")
    assert not (tmp_path / "b.ome.zarr").exists()


def test_progress_is_told_up_to_the_end(scan, tmp_path):
    told = []
    vx.convert(
        scan, tmp_path / "a.ome.zarr", progress=lambda done, total: told.append((done, total))
    )
    assert told
    assert told[-1][0] == told[-1][1]


def test_no_progress_is_shown_where_nobody_wants_it(scan, tmp_path, capfd):
    vx.convert(scan, tmp_path / "a.ome.zarr", progress=False)
    assert capfd.readouterr() == ("", "")


def test_convert_cohort_and_a_part_that_returns_what_it_did(scans, tmp_path):
    made = vx.convert_cohort(scans, tmp_path / "cohort", progress=False)
    assert (made.converted, made.failed, made.remaining) == (4, 0, 0)
    assert len(vx.Cohort(tmp_path / "cohort")) == 4
    cohort = vx.Cohort(tmp_path / "cohort")
    parts = [
        cohort.map(vx.ToCanonical()).save(tmp_path / "mapped", partition=(number, 2))
        for number in (1, 2)
    ]
    assert [part.converted for part in parts] == [2, 2]
    assert parts[0].summary is None


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_converts_a_cohort(scans, tmp_path, kind):
    executor = (
        ThreadPoolExecutor(2)
        if kind == "threads"
        else ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    )
    told = []
    with executor:
        made = vx.convert_cohort(
            scans,
            tmp_path / "cohort",
            executor=executor,
            progress=lambda done, total: told.append((done, total)),
        )
    assert (made.converted, made.failed) == (4, 0)
    assert told[-1][0] == told[-1][1]
    assert vx.verify(tmp_path / "cohort") == []


def test_two_engines_are_refused(scans, tmp_path):
    with pytest.raises(vx.FormatError) as caught:
        vx.convert_cohort(scans, tmp_path / "cohort", workers=2, scheduler="tcp://localhost:1")
    assert caught.value.code == "TWO_ENGINES"


def test_verify_names_what_is_wrong(scan, scans, tmp_path):
    vx.convert(scan, tmp_path / "a.ome.zarr")
    image = tmp_path / "a.ome.zarr" / "scale0" / "image"
    chunk = next(f for f in image.rglob("*") if f.is_file() and f.name != "zarr.json")
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)
    assert [problem.code for problem in vx.verify(tmp_path / "a.ome.zarr")]


def test_verify_compares_a_cohort_with_its_sources(scans, tmp_path):
    vx.convert_cohort(scans, tmp_path / "cohort")
    assert vx.verify(tmp_path / "cohort", source=scans) == []
    victim = scans / "sub-0.nii.gz"
    image = nib.load(victim)
    changed = np.asarray(image.dataobj) + 1
    nib.save(nib.Nifti1Image(changed, image.affine), victim)
    assert vx.verify(tmp_path / "cohort", source=scans)


def test_subject_saves_as_it_is_asked(tmp_path):
    subject = vx.Subject(t1=vx.testing.sample((20, 18, 16)))
    subject.save(tmp_path / "out", codec="raw", chunks=8)
    with pytest.raises(vx.UnsupportedError):
        subject.save(tmp_path / "files", ".nii", codec="raw")


def test_old_keywords_of_mapped_save_warn(scans, tmp_path):
    from voxarray.cohort.run.build import ExecutionOptions

    vx.convert_cohort(scans, tmp_path / "cohort")
    mapped = vx.Cohort(tmp_path / "cohort").map(vx.ToCanonical())
    with pytest.warns(DeprecationWarning, match="run="):
        mapped.save(tmp_path / "mapped", run=ExecutionOptions())


def test_public_names_are_all_there_and_nothing_else_is_shown():
    assert set(dir(vx)) == set(vx.__all__)
    for name in vx.__all__:
        assert getattr(vx, name) is not None
    assert not {"Any", "TYPE_CHECKING", "annotations"} & set(dir(vx))


@pytest.mark.parametrize("module", PACKAGES)
def test_public_packages_list_their_names(module):
    package = getattr(vx, module)
    for name in package.__all__:
        assert getattr(package, name) is not None


@pytest.mark.parametrize("name", vx.__all__)
def test_public_names_are_documented(name):
    value = getattr(vx, name)
    if callable(value):
        assert inspect.getdoc(value)


SHOWN = [
    ROOT / "README.md",
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    *sorted((ROOT / "notebooks").rglob("*.md")),
]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_people_are_shown_imports_public_names_only(page):
    text = page.read_text("utf-8")
    found = re.findall(r"(?:from|import) (voxarray(?:\.\w+)*)", text)
    assert set(found) <= PUBLIC


@pytest.mark.parametrize("name", ["a.mhd", "a.img", "a.nii"])
def test_bytes_of_a_converted_image_are_those_of_all_its_files(scan, tmp_path, name):
    (tmp_path / "out").mkdir()
    done = vx.convert(scan, tmp_path / "out" / name)
    assert done.archive_bytes == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())


def test_a_stream_below_operations_is_decoded_once(scan, tmp_path):
    image = vx.ScalarImage(scan).resample(1.7)
    with dask.config.set({"voxarray.gzip-whole-limit": 1000}):
        with vx.testing.count_reads() as saving:
            image.save(tmp_path / "a.ome.zarr")
        with vx.testing.count_reads() as converting:
            vx.convert(image, tmp_path / "b.ome.zarr")
    assert converting.decoded == saving.decoded
    np.testing.assert_array_equal(voxels(tmp_path / "a.ome.zarr"), voxels(tmp_path / "b.ome.zarr"))


def test_threads_of_an_executor_keep_the_budget_together(scans, tmp_path, monkeypatch):
    from voxarray.cohort.run.throttle import MemoryThrottle

    sizes = []
    original = MemoryThrottle.acquire

    def taken(throttle, size):
        sizes.append(size)
        return original(throttle, size)

    monkeypatch.setattr(MemoryThrottle, "acquire", taken)
    with ThreadPoolExecutor(2) as executor:
        vx.convert_cohort(scans, tmp_path / "cohort", executor=executor, progress=False)
    assert len(sizes) == 4


def test_names_and_colours_of_labels_survive_saving(tmp_path):
    from voxarray.archive.convert import convert
    from voxarray.archive.metadata import Label

    labels = vx.LabelMap(tensor=np.ones((1, 8, 8, 8), np.uint8))
    table = (Label(1, "liver", (255, 0, 0, 255)),)
    convert(labels.source, tmp_path / "a.ome.zarr", kind="label", table=table)
    vx.LabelMap(tmp_path / "a.ome.zarr")[2:6].save(tmp_path / "b.ome.zarr")
    vx.convert(tmp_path / "a.ome.zarr", tmp_path / "c.ome.zarr")
    for name in ("b", "c"):
        assert vx.open_source(tmp_path / f"{name}.ome.zarr").label_table == table
