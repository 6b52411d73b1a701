"""What is seen in the sources is taken, ignored by a rule that is told, or named."""

from __future__ import annotations

import bz2
import json
import os

import numpy as np
import pytest
import zarr
from cohort_samples import array, run, save

import dicom_samples
import voxarray as vx
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.files import images
from voxarray.cohort.discover.search import search
from voxarray.cohort.options import InputSelection
from voxarray.cohort.run.build import build


def looked_at(*sources, out="nowhere/out", **kwargs):
    census = Census()
    found = search([str(source) for source in sources], str(out), census=census, **kwargs)
    return [one.source for one in found], census


def rules(census):
    return dict(census.ignored)


def test_every_entry_is_taken_or_ignored_or_named(tmp_path):
    root = tmp_path / "in"
    for number, name in enumerate(("a.nii", "x/b.nii.gz", "c.mha")):
        save(root / name, number)
    for name in ("README", "x/b.json", "x/b.bval.gz", "table.tsv", "fig.png", "t.h5", ".DS_Store"):
        (root / name).write_bytes(b"x")
    (root / ".git").mkdir()
    (root / ".git/d.nii").write_bytes(b"x")
    for name in ("y.xyz", "x/z.dcm.gz", "scan.nii.lz4"):
        (root / name).write_bytes(b"x")
    names, census = looked_at(root)
    assert names == ["a.nii", "c.mha", "x/b.nii.gz"]
    assert rules(census) == {
        "texts, tables and programs": 4,
        "pictures, arrays and transforms, which are only taken if given one by one": 2,
        "names that begin with a dot": 2,
    }
    assert sorted(census.unknown) == ["scan.nii.lz4", "x/z.dcm.gz", "y.xyz"]
    assert (census.seen, census.taken, census.unknowns) == (14, 3, 3)
    for command in ("plan", "convert"):
        told = run(command, root, tmp_path / "out").output
        assert "14 files seen: 3 taken as images, 8 ignored, 3 not recognised" in told
        assert "scan.nii.lz4, x/z.dcm.gz, y.xyz" in told
    assert build(root, tmp_path / "again").census.seen == 14


def test_the_census_counts_one_file_in_the_singular(tmp_path):
    save(tmp_path / "a.nii", 0)
    _, census = looked_at(tmp_path)
    assert str(census) == "1 file seen: 1 taken as an image, 0 ignored, 0 not recognised"


@pytest.mark.parametrize("is_bids", [True, False])
def test_a_table_that_metadata_are_kept_from_is_not_ignored(tmp_path, is_bids):
    save(tmp_path / "in/sub-1/anat/sub-1_T1w.nii.gz")
    name = "sub-1" if is_bids else "sub-1/anat/sub-1_T1w"
    (tmp_path / "in/participants.tsv").write_text(f"participant_id\tage\n{name}\t33\n")
    others = ["dataset_description.json"] if is_bids else []
    for other in others:
        (tmp_path / "in" / other).write_text("{}")
    told = run("plan", tmp_path / "in", tmp_path / "out", "--dry-run", "--keep-metadata", "age")
    seen = f"{2 + len(others)} files seen: 1 taken as an image, metadata kept from 1, "
    assert f"{seen}{len(others)} ignored, 0 not recognised\n" in told.output
    assert ("texts, tables and programs" in told.output) == is_bids
    done = run("convert", tmp_path / "in", tmp_path / "out", "--keep-metadata", "age", "--json")
    counts = json.loads(done.stdout)["census"]
    assert (counts["seen"], counts["tables"]) == (2 + len(others), 1)
    told = run("plan", tmp_path / "in", tmp_path / "out", "--dry-run", "--keep-metadata", "sex")
    assert f"1 taken as an image, {1 + len(others)} ignored" in told.output


def test_the_parts_of_an_image_count_with_it(tmp_path):
    (tmp_path / "series").mkdir()
    for name in ("a.hdr", "a.img", "d+orig.HEAD", "d+orig.BRIK.gz", "c.PAR", "c.REC"):
        (tmp_path / name).touch()
    image = vx.ScalarImage(tensor=np.zeros((1, 3, 4, 5), np.int16))
    image.save(tmp_path / "g.mhd")
    dicom_samples.write_series(tmp_path / "series") if hasattr(
        dicom_samples, "write_series"
    ) else None
    names, census = looked_at(tmp_path)
    assert [n for n in names if "series" not in n] == ["a.hdr", "c.PAR", "d+orig.HEAD", "g.mhd"]
    assert census.unknown == []
    assert not census.ignored
    assert census.taken >= 8


def test_the_census_names_twenty_unknown_files_and_counts_all(tmp_path):
    save(tmp_path / "a.nii")
    for number in range(30):
        (tmp_path / f"b{number:02}.xyz").touch()
    _, census = looked_at(tmp_path)
    assert census.unknowns == 30
    assert str(census).endswith("b19.xyz, and 10 more")


def test_the_census_escapes_control_characters_in_names(tmp_path):
    save(tmp_path / "a.nii")
    (tmp_path / "b\x1b[31m.xyz").touch()
    _, census = looked_at(tmp_path)
    assert "\x1b" not in str(census)


# --- Results of cohorts ---------------------------------------------------------------------------


def test_a_folder_converted_into_itself_does_not_double(tmp_path):
    for number in range(2):
        save(tmp_path / f"data/place/{number}.nii.gz", number)
    build(tmp_path / "data/place", tmp_path / "data/place")
    for source, prefix in ((tmp_path / "data/place", ""), (tmp_path / "data", "place/")):
        names, census = looked_at(source, out=tmp_path / "other")
        assert names == [f"{prefix}0.nii.gz", f"{prefix}1.nii.gz"]
        assert rules(census)["results of a cohort"] >= 4
    again = build(tmp_path / "data/place", tmp_path / "data/place")
    assert (again.converted, again.present) == (0, 2)


def test_a_folder_of_subjects_converted_into_itself_keeps_its_scans(tmp_path):
    save(tmp_path / "subjects/one/t1.nii", 1)
    build(tmp_path, tmp_path)
    names, _ = looked_at(tmp_path, out=tmp_path / "other")
    assert names == ["subjects/one/t1.nii"]


def test_a_dataset_converted_into_itself_keeps_its_description(tmp_path):
    for folder in (tmp_path, tmp_path / "inner"):
        folder.mkdir(exist_ok=True)
        (folder / "dataset_description.json").write_text(json.dumps({"Name": "mine"}))
    save(tmp_path / "inner/sub-1/anat/sub-1_T1w.nii.gz")
    build(tmp_path / "inner", tmp_path / "inner")
    assert json.loads((tmp_path / "inner/dataset_description.json").read_text())["Name"] == "mine"


def test_a_cohort_alone_is_a_source_and_among_others_its_archives_are_results(tmp_path):
    save(tmp_path / "in/a.nii")
    build(tmp_path / "in", tmp_path / "cohort")
    names, _ = looked_at(tmp_path / "cohort")
    assert len(names) == 1
    for sources in (
        (tmp_path / "in", tmp_path / "cohort"),
        (f"{tmp_path}/*",),
        (tmp_path,),
    ):
        names, _ = looked_at(*sources)
        assert len(names) == 1, names
        assert names[0].endswith("a.nii")


def test_what_others_call_a_plan_is_no_cohort(tmp_path):
    save(tmp_path / "subjects/a.nii")
    (tmp_path / "plan.json").write_text('{"treatment": "plan"}')
    names, _ = looked_at(tmp_path)
    assert names == ["subjects/a.nii"]


# --- What looks like a scan -----------------------------------------------------------------------


def test_dot_names_are_no_scans(tmp_path):
    save(tmp_path / "a.nii")
    (tmp_path / "._a.nii").write_bytes(b"\0\5\x16\7" + bytes(38))
    save(tmp_path / ".heudiconv/sub/a.nii")
    result = run("convert", tmp_path, tmp_path / "out")
    assert result.exit_code == 0
    assert "2 names that begin with a dot" in result.output
    assert images(str(tmp_path / ".heudiconv"))  # what is named is meant


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["group", "array"])
def test_zarr_folders_without_suffix_are_found(tmp_path, version, kind):
    names = {"dimension_names": ["z", "y", "x"]} if version == 3 else {}
    if kind == "array":
        made = zarr.create_array(
            str(tmp_path / "in/b"), shape=(4, 4, 4), dtype="i2", zarr_format=version, **names
        )
        made[...] = 1
        made.attrs["_ARRAY_DIMENSIONS"] = ["z", "y", "x"]
    else:
        axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
        scale = [{"type": "scale", "scale": [1, 1, 1]}]
        group = zarr.open_group(str(tmp_path / "in/b"), mode="w", zarr_format=version)
        group.create_array("0", shape=(4, 4, 4), dtype="i2", **names)[...] = 1
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        image = {"version": "0.4", "axes": axes, "datasets": datasets}
        if version == 2:
            group.attrs["multiscales"] = [image]
        else:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    assert looked_at(tmp_path / "in")[0] == ["b"]
    one = run("convert", tmp_path / "in/b", tmp_path / "x.ome.zarr")
    assert one.exit_code == 0, one.output
    many = build(tmp_path / "in", tmp_path / "out")
    assert (many.converted, many.failed) == (1, 0)


# --- One bad name stops one image -----------------------------------------------------------------


def test_names_that_collide_fail_alone(tmp_path):
    save(tmp_path / "in/a.nii", 1)
    save(tmp_path / "in/a.nii.gz", 2)
    save(tmp_path / "in/b.nii", 3)
    made = build(tmp_path / "in", tmp_path / "out")
    assert (made.converted, made.failed) == (1, 2)
    codes = {one.failure.file: one.code for one in made.summary.failed}
    assert codes == {"a.nii": "NAME_COLLISION", "a.nii.gz": "NAME_COLLISION"}
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.names == ["b"]
    np.testing.assert_array_equal(cohort["b"]["image"].numpy()[0], array(3))
    result = run("convert", tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 3
    assert "a.nii and a.nii.gz would both be the image 'image'" in result.output
    (tmp_path / "in/a.nii").unlink()
    mended = build(tmp_path / "in", tmp_path / "out")
    assert (mended.converted, mended.present, mended.failed) == (1, 1, 0)


def test_bad_lines_of_a_list_fail_alone(tmp_path):
    save(tmp_path / "a.nii")
    lines = [
        *("a.nii", "http://[::1/b.nii?key=secret", "file://elsewhere/c.nii", "d\0.nii"),
        *("e" * 300 + ".nii", "gone.nii", "s3://bucket"),
    ]
    path = tmp_path / "list.txt"
    path.write_bytes("\n".join([*lines, "f\udcff.nii"]).encode("utf-8", "surrogateescape"))
    made = build(path, tmp_path / "out")
    assert made.converted == 1
    codes = sorted(one.code for one in made.summary.failed)
    assert len(codes) == 7
    assert "BAD_URL" in codes
    report = (tmp_path / "out/report.txt").read_text("utf-8")
    assert "secret" not in report + (tmp_path / "out/plan.json").read_text("utf-8")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_fails_alone(tmp_path):
    save(tmp_path / "in/a.nii")
    (tmp_path / "in/closed").mkdir(mode=0)
    made = build(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/closed").chmod(0o700)
    assert (made.converted, made.failed) == (1, 1)
    assert made.summary.failed[0].code == "ACCESS_DENIED"


def test_masks_of_defacing_are_label_maps(tmp_path):
    save(tmp_path / "in/sub-1/anat/sub-1_T1w.nii.gz", 1)
    save(tmp_path / "in/sub-1/anat/sub-1_mod-T1w_defacemask.nii.gz", 2)
    (tmp_path / "in/dataset_description.json").write_text("{}")
    build(tmp_path / "in", tmp_path / "out")
    subject = vx.Cohort(tmp_path / "out")[0]
    assert isinstance(subject["mod-T1w_defacemask"], vx.LabelMap)


@pytest.mark.parametrize(
    ("path", "datatype", "modality"),
    [
        ("sub-1/micr/sub-1_sample-A_SEM.nii.gz", "micr", None),
        ("sub-1/beh/sub-1_task-x_beh.nii.gz", "beh", None),
        ("sub-1/motion/sub-1_task-x_motion.nii", "motion", None),
        ("sub-1/mrs/sub-1_svs.nii.gz", "mrs", "MR"),
        ("sub-1/pet/sub-1_pet.nii.gz", "pet", "PT"),
        ("sub-1/other/sub-1_pet.nii.gz", None, None),
    ],
)
def test_datatypes_of_bids_are_kept(path, datatype, modality):
    from voxarray.cohort.discover.bids import entities

    found = entities(path)
    assert (found.get("datatype"), found.get("modality")) == (datatype, modality)


def test_a_compressed_scan_is_never_left_out_silently(tmp_path):
    save(tmp_path / "in/a.nii")
    packed = bz2.compress((tmp_path / "in/a.nii").read_bytes())
    for name in ("b.nii.bz2", "c.nii.lzma", "d.mha.gz"):
        (tmp_path / "in" / name).write_bytes(packed)
    told = run("convert", tmp_path / "in", tmp_path / "out").output
    for name in ("c.nii.lzma", "d.mha.gz"):
        assert name in told


def test_label_maps_that_are_taken_for_images_are_told(tmp_path):
    for name in ("a_t1", "a_seg", "b-MASK", "mask_of_c", "d_labels", "label.e", "unmask"):
        vx.testing.sample((6, 5, 4)).save(tmp_path / "scans" / f"{name}.nii.gz")
    census = Census()
    search([str(tmp_path / "scans")], "", census=census)
    assert census.likely_labels == ["a_seg.nii.gz", "b-MASK.nii.gz", "d_labels.nii.gz"]
    assert "a_seg.nii.gz, b-MASK.nii.gz, d_labels.nii.gz; --label-pattern" in str(census)
    assert census.document()["likely_labels"] == census.likely_labels


def test_label_maps_found_by_label_patterns_are_not_reported(tmp_path):
    for name in ("a_t1", "a_seg"):
        vx.testing.sample((6, 5, 4)).save(tmp_path / "scans" / f"{name}.nii.gz")
    choice = InputSelection(
        image_patterns=(("t1", "**/*_t1.nii.gz"),), label_patterns=(("seg", "**/*_seg.nii.gz"),)
    )
    census = Census()
    search([str(tmp_path / "scans")], "", choice, census=census)
    assert census.likely_labels == []
    assert "named like label maps" not in str(census)
    assert "2 taken as 1 image and 1 label map" in str(census)


def test_dicom_files_at_the_top_are_called_the_source_itself(tmp_path):
    dicom_samples.series(tmp_path / "in")
    other = dicom_samples.volume(rows=9)
    dicom_samples.series(tmp_path / "x", other)  # of another size: no image
    for number, path in enumerate((tmp_path / "x").iterdir()):
        path.rename(tmp_path / f"in/other{number}.dcm")
    told = run("plan", tmp_path / "in", tmp_path / "out", "--dry-run").stdout
    assert "the source itself: MIXED_SIZE: " in told
    told = run("convert", tmp_path / "in", tmp_path / "out")
    assert "the source itself: MIXED_SIZE: " in told.stderr
    report = (tmp_path / "out/report.txt").read_text()
    assert "\nthe source itself\n    MIXED_SIZE: " in report
    pattern = ("--image-pattern", "t1={subject}/*_t1.nii")
    told = run("convert", tmp_path / "in", tmp_path / "not", *pattern)
    assert ". A file that does not match: the source itself" in told.stderr
    save(tmp_path / "in/a/a_t1.nii")
    told = run("convert", tmp_path / "in", tmp_path / "other", *pattern).stdout
    assert told.endswith("  no pattern fits: the source itself\n")
