"""Manifests and lists: no row is lost, no cell moves, and changed cells are noticed."""

from __future__ import annotations

import datetime

import pandas as pd
import pytest
from cohort_samples import run, save

import voxarray as vx
from voxarray.cohort.discover.search import search
from voxarray.cohort.discover.text_table import TableError, read_table

HEADER = "subject,image,note\n"
KEEP = ("--keep-metadata", "age")


def scans(folder, count=3):
    for number in range(count):
        save(folder / f"{number}.nii", number + 1)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('a,0.nii,"he said\nb,1.nii,x\n', "line 2"),  # never closed
        ('a,0.nii,"he said\nb,1.nii,"x"\n', "line 2"),  # closed where no cell ends
        ('z,2.nii,-\na,0.nii,"he said\nb,1.nii,ill"\nc,2.nii,y\n', "line 3"),
        ('a,"0.nii,x\nb,1.nii,y"\n', "line 2"),
        ("a,0.nii,ill, badly\n", "line 2 has 4 cells"),
        ("a,0.nii,x\nb,1.nii,ill, badly\n", "line 3 has 4 cells"),
    ],
)
def test_quotes_and_delimiters_that_move_cells(tmp_path, rows, line):
    scans(tmp_path)
    (tmp_path / "list.csv").write_text(HEADER + rows)
    with pytest.raises(vx.FormatError, match=line) as caught:
        search([str(tmp_path / "list.csv")], "out")
    assert caught.value.code == "BAD_MANIFEST"


def test_cells_that_are_quoted_as_they_should():
    text = 'subject,image,note\r\n"a","0,1.nii","so ""ill""\r\nand more, and more"\r\n\r\nb,1.nii\n'
    assert read_table(text, ",").rows == (
        {"subject": "a", "image": "0,1.nii", "note": 'so "ill"\r\nand more, and more'},
        {"subject": "b", "image": "1.nii"},
    )
    assert read_table('image\n"a\nb.nii"\n', ",").rows == ({"image": "a\nb.nii"},)
    assert read_table("a,b,,\n1,2,,,\n", ",").rows == ({"a": "1", "b": "2", "": ""},)
    with pytest.raises(TableError):
        read_table('a\tb\n1\t"2\n', "\t")


def test_repeated_columns_are_refused_only_where_they_are_used(tmp_path):
    scans(tmp_path)
    (tmp_path / "list.csv").write_text("subject,image,note,image,note\na,0.nii,x,1.nii,y\n")
    with pytest.raises(vx.FormatError, match="2 columns are called 'image'") as caught:
        search([str(tmp_path / "list.csv")], "out")
    assert caught.value.code == "BAD_MANIFEST"
    (tmp_path / "list.csv").write_text("subject,image,note,note\na,0.nii,x,y\n")
    assert len(search([str(tmp_path / "list.csv")], "out")) == 1  # nobody asked for notes
    result = run(
        *("convert", tmp_path / "list.csv", tmp_path / "out", "--keep-metadata", "note"),
    )
    assert (result.exit_code, "2 columns are called 'note'" in result.stderr) == (1, True)


def test_rows_without_an_image_are_counted(tmp_path):
    scans(tmp_path)
    (tmp_path / "list.csv").write_text("subject,image\na,0.nii\nb,\nc\n,\n")
    result = run("convert", tmp_path / "list.csv", tmp_path / "out")
    assert "2 rows of a manifest that name no image" in result.output


def test_cells_of_parquet(tmp_path):
    scans(tmp_path)
    day = datetime.date(2020, 1, 2)
    rows = {"subject": [0, 1, 2], "image": [f"{n}.nii" for n in range(3)], "day": [day, day, None]}
    pd.DataFrame(rows).to_parquet(tmp_path / "list.parquet")
    vx.convert_cohort(tmp_path / "list.parquet", tmp_path / "out", keep_metadata=["day"])
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.names == ["0", "1", "2"]
    assert cohort.table.day.tolist()[:2] == ["2020-01-02"] * 2
    assert pd.isna(cohort.table.day[2])


def test_texts_of_parquet_that_are_not_marked_as_such(tmp_path):
    scans(tmp_path)
    rows = {"subject": [b"a", "\xe9".encode()], "image": [b"0.nii", b"1.nii"], "age": [b"30", None]}
    pd.DataFrame(rows).to_parquet(tmp_path / "list.parquet")
    assert run("convert", tmp_path / "list.parquet", tmp_path / "out", *KEEP).exit_code == 0
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.names == ["a", "\xe9"]
    assert cohort.table.age[0] == "30"


def test_a_list_that_begins_with_a_byte_order_mark(tmp_path):
    scans(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf0.nii\r\n1.nii\r\n")
    assert [one.source for one in search([str(tmp_path / "list.txt")], "out")] == ["0.nii", "1.nii"]


def test_a_changed_cell_changes_the_catalogue(tmp_path):
    scans(tmp_path)
    table = tmp_path / "list.csv"
    table.write_text("subject,image,age\na,0.nii,30\nb,1.nii,31\nc,2.nii,32\n")
    assert run("convert", table, tmp_path / "out", *KEEP).exit_code == 0
    again = run("convert", table, tmp_path / "out", *KEEP)
    assert "0 converted, 3 up to date" in again.output
    table.write_text("subject,image,age\na,0.nii,31\nb,1.nii,30\nc,2.nii,32\n")
    assert "2 converted, 1 up to date" in run("convert", table, tmp_path / "out", *KEEP).output
    assert vx.Cohort(tmp_path / "out").table.age.tolist() == ["31", "30", "32"]
    assert run("verify", tmp_path / "out").exit_code == 0
    table.write_text("subject,image\na,0.nii\nb,1.nii\nc,2.nii\n")
    gone = run("convert", table, tmp_path / "out", *KEEP)
    assert "METADATA_ABSENT: no image has 'age' to keep" in gone.stderr
    assert "age" not in vx.Cohort(tmp_path / "out").table


@pytest.mark.parametrize("name", ["source", "code", "pipeline_digest", "_site"])
def test_fields_that_are_called_like_columns_of_the_catalogue(tmp_path, name):
    scans(tmp_path, 1)
    (tmp_path / "list.csv").write_text(f"subject,image,{name},modality\na,0.nii,x,CT\n")
    result = run("convert", tmp_path / "list.csv", tmp_path / "out", "--keep-metadata", name)
    assert (result.exit_code, f"RESERVED_NAME: the field '{name}'" in result.stderr) == (1, True)
    assert not (tmp_path / "out").exists()
    vx.convert_cohort(tmp_path / "list.csv", tmp_path / "out", keep_metadata=["modality"])
    assert vx.Cohort(tmp_path / "out").table.modality.tolist() == ["CT"]


def test_one_file_in_two_rows(tmp_path):
    scans(tmp_path, 2)
    (tmp_path / "list.csv").write_text("subject,image\na,0.nii\na,0.nii\nb,1.nii\n")
    result = run("convert", tmp_path / "list.csv", tmp_path / "out")
    assert result.exit_code == 3
    assert "NAME_COLLISION: 0.nii is named 2 times as the image 'image'" in result.stderr


@pytest.mark.parametrize("name", ["list.csv", "list.txt"])
def test_where_relative_paths_begin_is_told(tmp_path, name):
    """A path that holds from the current folder is looked for below that of the table."""
    scans(tmp_path / "raw", 1)
    absent = tmp_path / "absent.nii"
    text = f"0.nii\nraw/0.nii\n{absent}\n"
    (tmp_path / "raw" / name).write_text(text if name.endswith("txt") else f"image\n{text}")
    result = run("convert", tmp_path / "raw" / name, tmp_path / "out")
    assert result.exit_code == 3
    told = "a relative path begins at the folder of the table or list that names it"
    assert f"NOT_FOUND: there is no file raw/0.nii: check the path; {told}" in result.stderr
    assert result.stderr.count(told) == 1  # nothing of the one that is named from the root


def test_infinite_cells_are_kept_as_text(tmp_path):
    """No JSON holds infinity: archives that did count as damaged, and were never up to date."""
    scans(tmp_path)
    ages = [30.5, float("inf"), float("-inf")]
    rows = {"subject": list("abc"), "image": [f"{n}.nii" for n in range(3)], "age": ages}
    pd.DataFrame(rows).to_parquet(tmp_path / "list.parquet")
    result = run("convert", tmp_path / "list.parquet", tmp_path / "out", *KEEP)
    assert "3 converted" in result.output
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.table.status.tolist() == ["done"] * 3
    assert cohort.table.age.tolist() == ["30.5", "inf", "-inf"]
    assert cohort.query("age > 31").names == ["b"]
    assert run("verify", tmp_path / "out").exit_code == 0
    again = run("convert", tmp_path / "list.parquet", tmp_path / "out", *KEEP)
    assert "3 up to date" in again.output


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_tables_and_lists_that_are_not_utf8(tmp_path, name):
    """As PowerShell writes them; the bytes between were taken for names of files."""
    scans(tmp_path)
    (tmp_path / name).write_bytes("image\n0.nii\n1.nii\n".encode("utf-16"))
    result = run("convert", tmp_path / name, tmp_path / "out")
    assert result.exit_code == 1
    assert "BAD_MANIFEST" in result.stderr
    assert f"{name} " in result.stderr
    assert "not text in UTF-8" in result.stderr
    assert not (tmp_path / "out").exists()


def test_cells_with_a_null_byte(tmp_path):
    scans(tmp_path)
    (tmp_path / "list.csv").write_text("subject,image\na,0.nii\nb,1\0.nii\n")
    result = run("convert", tmp_path / "list.csv", tmp_path / "out")
    assert result.exit_code == 3
    assert "BAD_PATH: the path '1\\x00.nii' holds a null byte" in result.stderr
    assert str(tmp_path) not in result.stderr.partition("BAD_PATH")[2].partition("\n")[0]
