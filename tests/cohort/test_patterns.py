"""Patterns of paths name images, and the subjects that they belong to."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from cohort_samples import AFFINE, array, run

import voxarray as vx
from voxarray.cohort.discover.patterns import compile_pattern, pattern_pairs, subject_of


def subject(pattern, path):
    match = compile_pattern(pattern).fullmatch(path)
    return match and subject_of(match)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**/*_t1.nii", "sub-1/sub-1_t1.nii", "sub-1/sub-1"),
        ("{subject}/*_t1*", "sub-1/sub-1_t1.nii.gz", "sub-1"),
        ("{subject}/*_t1*", "sub-1/a/b_t1.nii", None),
        ("{subject}/**/t1.*", "sub-1/a/b/t1.nrrd", "sub-1"),
        ("**/{subject}_t1*", "site/a/sub-1_t1", "sub-1"),
        ("{subject}/{subject}_t1*", "sub-1/sub-1_t1.nrrd", "sub-1"),
        ("{subject}/{subject}_t1*", "sub-1/sub-2_t1.nrrd", None),
        ("{subject}/t?.nii", "/t1.nii", None),
        ("{site}/*.nii", "{site}/a.nii", "a"),
    ],
)
def test_what_stands_for_the_subject(pattern, path, expected):
    assert subject(pattern, path) == expected


def save(path):
    kind = vx.LabelMap if "_seg" in path.name else vx.ScalarImage
    kind(tensor=array(1)[None].astype(np.uint8), affine=AFFINE).save(path)


def scans(folder):
    """Two subjects, whose images and label maps are in several formats; nothing else."""
    for name in ("1_t1.nii.gz", "1_seg.nrrd", "2_t1.mha", "2_seg.nii"):
        save(folder / f"sub-{name[0]}/sub-{name}")
    return folder


@pytest.mark.parametrize(
    "patterns",
    [
        ({"t1": "{subject}/*_t1*"}, {"seg": "{subject}/*_seg*"}),
        (
            {"t1": ["{subject}/*_t1.nii.gz", "{subject}/*_t1.mha"]},
            {"seg": ("{subject}/*_seg.nrrd", "{subject}/*_seg.nii")},
        ),
    ],
)
def test_a_cohort_of_several_formats(tmp_path, patterns):
    made = vx.convert_cohort(
        scans(tmp_path / "in"),
        tmp_path / "out",
        image_patterns=patterns[0],
        label_patterns=patterns[1],
        progress=False,
    )
    assert (made.converted, made.failed) == (2, 0)
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.names == ["sub-1", "sub-2"]
    assert [one.get_images_names() for one in cohort] == [["t1", "seg"]] * 2


def test_the_command_takes_the_same_pattern(tmp_path):
    result = run(
        *("convert", scans(tmp_path / "in"), tmp_path / "out"),
        *("--image-pattern", "t1={subject}/*_t1*", "--label-pattern", "seg={subject}/*_seg*"),
    )
    assert result.exit_code == 0, result.output
    assert vx.Cohort(tmp_path / "out").names == ["sub-1", "sub-2"]


def test_pairs():
    assert pattern_pairs("*.nii") == (("", "*.nii"),)
    assert pattern_pairs(["a", "b"]) == (("", "a"), ("", "b"))
    assert pattern_pairs({"t1": "a", "t2": ["b", "c"]}) == (("t1", "a"), ("t2", "b"), ("t2", "c"))
    with pytest.raises(TypeError, match=r"\('t1', 'a'\) is not a pattern: .*a mapping such as"):
        pattern_pairs([("t1", "a")])


def test_if_no_file_fits_a_pattern_and_a_file_are_named(tmp_path):
    """Names that a mapping should hold were written as on the command line."""
    with pytest.raises(vx.MissingFileError) as caught:
        vx.convert_cohort(
            scans(tmp_path / "in"), tmp_path / "out", image_patterns=["t1={subject}/*_t1*"]
        )
    assert caught.value.code == "NOTHING_FOUND"
    text = str(caught.value)
    assert "matches t1={subject}/*_t1*. A file that does not match: sub-1/sub-1_seg.nrrd" in text
    assert "image_patterns={'t1': " in text
    assert "taken as images" not in text
    told = run(
        "plan", tmp_path / "in", tmp_path / "out", "--image-pattern", "t2=**/*_t2.nii"
    ).output
    assert "matches t2=**/*_t2.nii. A file that does not match: sub-1/sub-1_seg.nrrd" in told
    assert "In Python" not in told


# --- Patterns that find less than was meant -------------------------------------------------------


def converted(tmp_path, t1, seg):
    return vx.convert_cohort(
        scans(tmp_path / "in"),
        tmp_path / "out",
        image_patterns=t1,
        label_patterns=seg,
        progress=False,
    )


T1, SEG = {"t1": "{subject}/*_t1*"}, {"seg": "{subject}/*_seg*"}


@pytest.mark.parametrize(
    ("t1", "seg", "told"),
    [
        (T1, {"seg": "**/*_mask.nii"}, "no file matches seg=**/*_mask.nii, so there is no label"),
        ({"t1": "**/*_tl*"}, SEG, "no file matches t1=**/*_tl*, so there is no image by"),
        (T1 | {"t2": ["*_t2*", "*_T2*"]}, SEG, r"no file matches t2=*_t2*, t2=*_T2*, so"),
        ({"t1": "{subject}/*_seg*"}, SEG, "takes no file as image: another pattern takes sub-1/1"),
    ],
)
def test_a_pattern_that_takes_no_file_is_named(tmp_path, t1, seg, told):
    with pytest.warns(vx.VoxarrayWarning, match="PATTERN_UNUSED") as caught:
        converted(tmp_path, t1, seg)
    assert len(caught) == 1
    assert told.replace("sub-1/1", "sub-1/sub-1_seg.nrrd") in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("command", ["plan", "convert"])
def test_a_command_names_a_pattern_that_takes_no_file(tmp_path, command):
    """In a process of its own: there warnings go to stderr."""
    patterns = ["--image-pattern", "t1={subject}/*_t1*", "--label-pattern", "seg=**/*_mask*"]
    words = [sys.executable, "-m", "voxarray", command, scans(tmp_path / "in"), tmp_path / "out"]
    done = subprocess.run([*words, *patterns], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr.count("warning: PATTERN_UNUSED: no file matches seg=**/*_mask*") == 1


@pytest.mark.parametrize("t1", ["{subject}/*_[tT]1*", "sub-[0-9]/*"])
def test_brackets_are_no_list_of_characters_and_the_message_says_so(tmp_path, t1):
    with pytest.warns(vx.VoxarrayWarning, match="PATTERN_UNUSED") as caught:
        converted(tmp_path, {"t1": t1, "all": "**/*_t1*"}, SEG)
    assert "Brackets match only themselves here" in str(caught[0].message)
    with pytest.raises(vx.MissingFileError, match="Brackets match only themselves here"):
        vx.convert_cohort(tmp_path / "in", tmp_path / "none", image_patterns={"t1": t1})


def test_files_that_no_pattern_fits_are_named(tmp_path):
    """Label maps first: that their scans are converted without them shows nowhere else."""
    for name in ["a_t1", "b_T1", *(f"{number}_flair" for number in range(5)), "b_SEG", "a_seg"]:
        vx.testing.sample((6, 5, 4)).save(tmp_path / "scans" / f"{name}.nii.gz")
    patterns = ["--image-pattern", "t1=*_t1.nii.gz", "--label-pattern", "seg=*_seg.nii.gz"]
    told = run("plan", tmp_path / "scans", tmp_path / "out", *patterns).output
    assert "ignored: 7 that no pattern fits\n" in told
    some = "b_SEG.nii.gz, 0_flair.nii.gz, 1_flair.nii.gz, 2_flair.nii.gz, 3_flair.nii.gz"
    assert f"  no pattern fits: {some}, and 2 more; --json names them\n" in told
    done = run("convert", tmp_path / "scans", tmp_path / "out", *patterns, "--json")
    names = json.loads(done.stdout)["census"]["fitting_no_pattern"]
    assert len(names) == 7
    assert names[0] == "b_SEG.nii.gz"
    (tmp_path / "scans/b_SEG.nii.gz").unlink()
    with pytest.warns(vx.VoxarrayWarning, match=r"pattern; a_seg\.nii\.gz, for example"):
        vx.convert_cohort(
            tmp_path / "scans",
            tmp_path / "other",
            image_patterns={"t1": "*_t1.nii.gz"},
            label_patterns={"seg": "*_mask.nii.gz"},
        )


def test_one_pattern_of_several_is_enough(tmp_path, recwarn):
    converted(tmp_path, {"t1": ["{subject}/*_t1*", "{subject}/*_T1*"]}, SEG)
    assert not [one for one in recwarn if issubclass(one.category, vx.VoxarrayWarning)]


def test_patterns_without_a_folder_are_named(tmp_path):
    folder = scans(tmp_path / "in")
    (tmp_path / "list.txt").write_text(f"{folder}/sub-1/sub-1_t1.nii.gz\n")
    sources = {
        f"{folder}/*/*_t1*": "a glob pattern",
        f"{folder}/sub-1/sub-1_t1.nii.gz": "a single image",
        str(tmp_path / "list.txt"): "a list of images",
    }
    for number, (source, what) in enumerate(sources.items()):
        told = re.escape(f"apply only to plain folders of files, and {source} is {what}. Give")
        match = f"PATTERN_UNUSED: the patterns have no effect: .*{told}"
        with pytest.warns(vx.VoxarrayWarning, match=match):
            vx.convert_cohort(source, tmp_path / f"out{number}", image_patterns=T1, progress=False)


def test_label_maps_of_no_image_are_named(tmp_path):
    with pytest.warns(vx.VoxarrayWarning, match="LABELS_ALONE") as caught:
        made = converted(tmp_path, {"t1": "**/*1.*"}, {"seg": "**/*_seg.*"})
    told = str(caught[0].message)
    assert "2 label maps belong to no image, such as sub-1/sub-1_seg.nrrd: its subject is" in told
    assert "and subjects with images are 'sub-1/sub-1_t/nii.gz'" in told
    assert made.converted == 4


def test_a_table_whose_label_maps_have_other_subjects_is_named(tmp_path):
    scans(tmp_path / "in")
    table = tmp_path / "in/t.csv"
    table.write_text("subject,t1,seg\na,sub-1/sub-1_t1.nii.gz,\nb,,sub-1/sub-1_seg.nrrd\n")
    with pytest.warns(vx.VoxarrayWarning, match="LABELS_ALONE: 1 label map belongs"):
        vx.convert_cohort(
            table, tmp_path / "out", image_columns=["t1"], label_columns=["seg"], progress=False
        )


def test_images_and_label_maps_are_counted_apart(tmp_path):
    patterns = ("--image-pattern", "t1={subject}/*_t1*", "--label-pattern", "seg={subject}/*_seg*")
    told = run("convert", scans(tmp_path / "in"), tmp_path / "out", *patterns).stdout
    assert "4 files seen: 4 taken as 2 images and 2 label maps, 0 ignored" in told
    (tmp_path / "other").mkdir()
    counts = converted(tmp_path / "other", T1, SEG).census.document()
    assert (counts["taken"], counts["label_maps"]) == (4, 2)


def test_a_label_map_goes_with_the_image_that_was_named_first(tmp_path):
    """Not with the first by the name of its file, which nobody has chosen."""
    for name in ("a_t1.nii.gz", "a_flair.nii.gz", "a_seg.nii.gz"):
        save(tmp_path / "in/sub-1" / name)
    patterns = {"t1": "{subject}/*_t1*", "flair": "{subject}/*_flair*"}
    for order in (("t1", "flair"), ("flair", "t1")):
        out = tmp_path / "-".join(order)
        vx.convert_cohort(
            tmp_path / "in",
            out,
            image_patterns={name: patterns[name] for name in order},
            label_patterns={"seg": "{subject}/*_seg*"},
            progress=False,
        )
        (chosen,) = vx.Cohort(out).query(f"image == {order[0]!r} and 'seg' in labels")
        assert chosen.get_images_names() == [order[0], "seg"]
