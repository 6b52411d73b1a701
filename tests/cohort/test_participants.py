"""``participants.tsv``: its rows reach their subjects, and what cannot be read is refused."""

from __future__ import annotations

import warnings

import pytest
from cohort_samples import run, save

import voxarray as vx

KEEP = ("--keep-metadata", "age")


def dataset(folder, text):
    for number in (1, 2):
        save(folder / f"sub-0{number}/anat/sub-0{number}_T1w.nii", number)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    (folder / "participants.tsv").write_text(text)


def test_changed_participants(tmp_path):
    dataset(tmp_path / "in", "participant_id\tage\nsub-01\t30\nsub-02\t31\n")
    run("convert", tmp_path / "in", tmp_path / "out", *KEEP)
    dataset(tmp_path / "in", "participant_id\tage\nsub-01\t31\nsub-02\t30\n")
    run("convert", tmp_path / "in", tmp_path / "out", *KEEP)
    assert vx.Cohort(tmp_path / "out").table.age.tolist() == ["31", "30"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('participant_id\tage\nsub-01\t"30\nsub-02\t31\n', "unexpected end of data"),
        ("participant_id\tage\nsub-01\t30\nsub-01\t31\nsub-02\t3\n", "sub-01 differ in age"),
        ("participant_id\tage\tage\nsub-01\t30\t31\n", "2 columns are called 'age'"),
        ("participant_id \tage\nsub-01\t30\n", "no column is called 'participant_id'"),
        ("participant_id\tage\nsub-01\t30\t31\n", "line 2 has 3 cells"),
    ],
)
def test_a_bad_participants_table_is_refused_only_where_it_is_used(tmp_path, text, said):
    dataset(tmp_path / "in", text)
    result = run("convert", tmp_path / "in", tmp_path / "out", *KEEP)
    assert result.exit_code == 1
    assert "BAD_PARTICIPANTS" in result.stderr
    assert said in result.stderr
    assert not (tmp_path / "out").exists()
    assert run("convert", tmp_path / "in", tmp_path / "out").exit_code == 0  # nothing is kept of it


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_participants_that_are_not_utf8(tmp_path, encoding):
    """Letters became question marks, or no column was found."""
    dataset(tmp_path / "in", "")
    text = "participant_id\tage\tsite\nsub-01\t30\tZ\xfcrich\nsub-02\t31\tx\n"
    (tmp_path / "in/participants.tsv").write_bytes(text.encode(encoding))
    keep = ("--keep-metadata", "site")
    result = run("convert", tmp_path / "in", tmp_path / "out", *keep)
    assert result.exit_code == 1
    assert "BAD_PARTICIPANTS" in result.stderr
    assert "not text in UTF-8" in result.stderr
    assert not (tmp_path / "out").exists()


def test_other_columns_of_participants_may_be_in_any_encoding(tmp_path):
    dataset(tmp_path / "in", "")
    text = "participant_id\tage\tsite\nsub-01\t30\tZ\xfcrich\nsub-02\t31\tx\n"
    (tmp_path / "in/participants.tsv").write_bytes(text.encode("latin-1"))
    assert run("convert", tmp_path / "in", tmp_path / "out", *KEEP).exit_code == 0
    assert vx.Cohort(tmp_path / "out").table.age.tolist() == ["30", "31"]


def test_the_same_row_twice_and_other_columns(tmp_path):
    text = "participant_id\tage\tx\nsub-01\t30\t1\nsub-01\t30\t2\nsub-02\t31\t3\n"
    dataset(tmp_path / "in", text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vx.convert_cohort(tmp_path / "in", tmp_path / "out", keep_metadata=["age"])
    assert vx.Cohort(tmp_path / "out").table.age.tolist() == ["30", "31"]


def test_subjects_without_a_row(tmp_path):
    dataset(tmp_path / "in", "participant_id\tage\n01\t30\nsub-02\t31\n")
    with pytest.warns(vx.VoxarrayWarning, match="METADATA_ABSENT: 1 subject has no row .* sub-01"):
        vx.convert_cohort(tmp_path / "in", tmp_path / "out", keep_metadata=["age"])
    assert vx.Cohort(tmp_path / "out").table.age.fillna("-").tolist() == ["-", "31"]


def of_two_sites(folder):
    for number, site in ((1, "siteA"), (2, "siteB")):
        save(folder / site / f"P00{number}/mri/T1.nii", number)
    text = "participant_id\tage\nP001\t30\nP002\tn/a\n"
    (folder / "participants.tsv").write_text(text)


def test_participants_of_a_folder_that_patterns_search(tmp_path):
    """Their table stands where BIDS has it; names of files need not be those of BIDS."""
    of_two_sites(tmp_path / "in")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vx.convert_cohort(
            tmp_path / "in",
            tmp_path / "out",
            image_patterns={"t1": "**/{subject}/mri/T1*"},
            keep_metadata=["age"],
        )
    table = vx.Cohort(tmp_path / "out").table
    assert dict(zip(table.subject, table.age, strict=True)) == {"P001": "30", "P002": "n/a"}
    assert vx.Cohort(tmp_path / "out").query("age > 20").names == ["P001"]


def test_participants_of_a_plain_folder(tmp_path):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii", number + 1)
    (tmp_path / "in/participants.tsv").write_text("participant_id\tage\n0\t30\n2\t31\n")
    with pytest.warns(vx.VoxarrayWarning, match="METADATA_ABSENT: 1 subject has no row .* as 1,"):
        vx.convert_cohort(tmp_path / "in", tmp_path / "out", keep_metadata=["age"])
    table = vx.Cohort(tmp_path / "out").table
    assert table.age.fillna("-").tolist() == ["30", "-", "31"]
