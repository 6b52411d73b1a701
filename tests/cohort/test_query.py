"""Queries over catalogues: what they hold, what they refuse, and that nothing of them runs."""

from __future__ import annotations

import io
import os
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from cohort_samples import save
from hypothesis import given, settings
from hypothesis import strategies as st

import voxarray as vx
from voxarray.cli import main
from voxarray.cohort.catalogue.query import matching
from voxarray.cohort.run.build import build
from voxarray.core.errors import FormatError, VoxarrayError

TABLE = pd.DataFrame(
    {
        "subject": ["a", "b", "c", "d"],
        "modality": ["MR", "CT", None, "MR"],
        "spacing_max": [1.0, 2.5, np.nan, 3.0],
        "width": pd.array([64, 128, None, 32], dtype="Int64"),
        "labels": [["brain"], [], ["brain", "lesion"], np.array(["lesion"], object)],
        "age at scan": [1.0, 2.0, 3.0, 4.0],
        "is_mr": [True, False, False, True],
        "and": [1, 2, 3, 4],
        "score": ["7", "n/a", "10.5", "07"],
        "group": ["old", "1", None, "2"],
    }
)


def found(expression):
    return "".join(TABLE.subject[matching(TABLE, expression)])


def test_subjects_are_found_by_all_their_images_wherever_they_are_stored():
    rows = [
        ("a", "t1", ["seg"], "done"),
        ("b", "t1", [], "done"),
        ("b", "seg", [], "done"),
        ("c", "t1", ["brain"], "done"),
        ("d", "seg", [], "done"),
        ("d", "t1", [], "failed"),
    ]
    table = pd.DataFrame(rows, columns=["subject", "image", "labels", "status"])
    for expression, expected in (
        ("'seg' in images and 't1' in images", "abb"),
        ("'seg' in images", "abbdd"),
        ("'seg' not in images", "c"),
        ("image == 't1' and 'seg' in images", "abd"),
        ("'brain' in images or subject == 'd'", "cdd"),
    ):
        assert "".join(table.subject[matching(table, expression)]) == expected, expression
    own = table.assign(images="seg")  # a column of people's own is what it says
    assert list(matching(own, "images == 'seg'")) == [True] * 6
    with pytest.raises(FormatError, match="images holds the names of all images"):
        matching(table, "seg == 1")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("modality == 'MR'", "ad"),
        ('modality == "MR" and spacing_max < 2', "a"),
        ("modality != 'MR'", "bc"),
        ("not modality == 'MR'", "bc"),
        ("spacing_max < 2", "a"),
        ("spacing_max >= 2", "bd"),
        ("not spacing_max < 2", "bcd"),
        ("2 < spacing_max <= 3", "bd"),
        ("1 < spacing_max", "bd"),
        ("spacing_max > -1.5", "abd"),
        ("spacing_max > -(1)", "abd"),
        ("width == 64 or width == 32", "ad"),
        ("width > 32", "ab"),
        ("width != 64", "bcd"),
        ("width < 1000000000000000000000000", "abd"),
        ("spacing_max < 1e400", "abd"),
        ("width in [64, 128]", "ab"),
        ("score > 7", "c"),
        ("score == 7", "ad"),
        ("score == '7'", "a"),
        ("score in [7, 10.5]", "acd"),
        ("score not in [7]", "bc"),
        ("8 < score", "c"),
        ("score > width", ""),
        ("spacing_max < score", "ad"),
        ("group == '1'", "b"),
        ("group in ['1', '2']", "bd"),
        ("width not in (64, 128)", "cd"),
        ("subject in ['a', 'c']", "ac"),
        ("subject in []", ""),
        ("'brain' in labels", "ac"),
        ("'brain' not in labels", "bd"),
        ("'M' in modality", "ad"),
        ("subject in labels", ""),
        ("`age at scan` > 2", "cd"),
        ("`and` == 1", "a"),
        ("subject == '`age at scan`'", ""),
        ("is_mr", "ad"),
        ("not is_mr and width > 100", "b"),
        ("is_mr == True", "ad"),
        ("width > spacing_max", "abd"),
        ("(subject == 'a' or subject == 'b') and not (width == 64)", "b"),
        (" subject == 'a' ", "a"),
        ("modality == '\\d'", ""),
        ("subject == 'd' or subject == 'a' and width == 0", "d"),
    ],
)
def test_what_a_query_holds_for(expression, expected):
    assert found(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "width < 60",
        "modality == 'MR' and width >= 64",
        "not (width == 64 or modality == 'CT')",
        "subject in ['a', 'd'] and spacing_max > 1",
        "width != 64",
    ],
)
def test_queries_hold_where_those_of_pandas_do(expression):
    full = TABLE.drop(columns=["and"]).dropna(subset=["width", "modality"])
    expected = full.query(expression).subject.tolist()
    assert full[matching(full, expression)].subject.tolist() == expected


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "   ",
        "subject",
        "1",
        "1 == 1",
        "'a' in ['a']",
        "subject ==",
        "subject = 'a'",
        "subject == 'a'; width == 1",
        "subject == 'a'\nwidth == 1",
        "width & 1",
        "(width == 64) & (subject == 'a')",
        "(width == 64) | (subject == 'a')",
        "~is_mr",
        "width + 1 == 65",
        "width ** 9 ** 9 ** 9 == 1",
        "width is None",
        "subject.str.len() == 1",
        "subject.to_csv('written') == 1",
        "subject[0] == 'a'",
        "len(subject) == 1",
        "@os.system('true') == 0",
        "(lambda: 1)() == 1",
        "[s for s in subject] == 1",
        "f'{subject}' == 'a'",
        "b'a' == subject",
        "1j == width",
        "... == width",
        "width < 'a'",
        "modality < 1",
        "width == '64'",
        "width in ['64']",
        "group > 1",
        "group in [1, 2]",
        "score > '7' and group == 1",
        "subject == ['a']",
        "['a'] == subject",
        "labels in ['a']",
        "subject in 'a'",
        "subject in [width]",
        "-'a' == subject",
        "-True == width",
        "(subject := 'a') == 'a'",
        "subject if is_mr else width",
        "subject == 'a' and width",
        "not width",
        "subject == 'a' #" + "\0",
        "*subject == 1",
        "`",
        "subject == `",
        "(" * 300 + "is_mr" + ")" * 300,
        "not " * 5000 + "is_mr",
        " or ".join(["subject == 'a'"] * 4000),
    ],
)
def test_what_is_no_query_is_refused_and_the_columns_named(expression):
    with pytest.raises(FormatError) as caught:
        matching(TABLE, expression)
    assert caught.value.code == "BAD_QUERY"
    assert "spacing_max" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_column_and_what_it_holds_are_named_where_texts_meet_numbers():
    with pytest.raises(FormatError, match="group holds text, such as 'old', and not only numbers"):
        matching(TABLE, "group > 1")
    with pytest.raises(FormatError, match="width holds numbers: leave out the quotes"):
        matching(TABLE, "width == '64'")


def test_texts_of_many_digits_are_compared_to_the_last_one():
    table = pd.DataFrame({"id": ["12345678901234567", "12345678901234568", "n/a", "007", "1e3"]})
    assert list(matching(table, "id == 12345678901234567")) == [True] + [False] * 4
    assert list(matching(table, "id in [12345678901234568, 7.0]")) == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert list(matching(table, "id < 1001")) == [False, False, False, True, True]


def test_what_pandas_reads_as_missing_is_missing_where_numbers_are_compared():
    from pandas._libs.parsers import STR_NA_VALUES

    texts = ["7", *sorted(STR_NA_VALUES), " ", " NA ", None]
    table = pd.DataFrame({"score": texts})
    only_the_first = [True] + [False] * (len(texts) - 1)
    for expression in ("score == 7", "score > 6", "score in [7]", "score <= 7", "8 > score"):
        assert list(matching(table, expression)) == only_the_first
    for expression in ("score != 7", "not score > 6", "score not in [7]"):
        assert list(matching(table, expression)) == [not one for one in only_the_first]
    # A text that is asked for is a text, as in pandas with keep_default_na=False.
    assert table.score[matching(table, "score == 'NA'")].tolist() == ["NA"]
    nothing = pd.DataFrame({"none": [None, None], "nan": [np.nan, np.nan], "text": ["n/a", ""]})
    assert not any(matching(nothing, f"{name} < 1").any() for name in nothing)
    read = pd.read_csv(io.StringIO("score\n" + "\n".join(map(str, texts[:-3]))))
    assert len(read.query("score > 6")) == 1


@pytest.mark.parametrize("text", ["na", "missing", "-", "?", "7 years", "7,5", "NaNs", "unknown"])
def test_other_texts_among_numbers_are_refused_by_name(text):
    table = pd.DataFrame({"score": ["7", "n/a", text]})
    with pytest.raises(FormatError, match="score holds text, such as ") as caught:
        matching(table, "score > 6")
    assert caught.value.code == "BAD_QUERY"
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("group == True", "group holds text: compare it with text"),
        ("group in ['old', 3]", "either with text or with numbers, not with both"),
        ("3 in group", "group holds text: put 3 into quotes"),
        ("subject == ['a']", 'a list can only be compared with "in" or "not in"'),
    ],
)
def test_what_would_match_nothing_is_refused_with_the_reason(expression, why):
    with pytest.raises(FormatError, match=why):
        matching(TABLE, expression)


@pytest.mark.parametrize("expression", ["score > '9'", "'9' <= score", "6 < width and score < '9'"])
def test_numbers_are_not_ordered_by_their_letters(expression):
    """As texts, 10.5 is below 9, and n/a is above it."""
    with pytest.raises(FormatError, match=r"BAD_QUERY.*score holds numbers.*write 9 without"):
        matching(TABLE, expression)
    assert matching(pd.DataFrame({"subject": ["1", "10", "2"]}), "subject < '2'").sum() == 2
    assert found("score == '07'") == "d"
    assert found("group > '1'") == "ad"  # texts, of which some are no numbers
    assert found("score > 9") == "c"
    assert matching(pd.DataFrame({"visit": ["1", "10", "2"]}), "visit < '1_1'").sum() == 2


def test_two_kept_columns_of_numbers_are_ordered_as_numbers():
    """By their letters, 9 was above 10, and n/a above every number."""
    table = pd.DataFrame(
        {
            "age": ["9", "10", "80", None, "5"],
            "onset": ["10", "9", "n/a", "1", "5.0"],
            "gone": ["n/a", "", "NA", None, "n/a"],
            "group": ["a", "1", "9", "1", "1"],
            "subject": ["1", "10", "9", "2", "3"],
        }
    )
    assert matching(table, "age < onset").tolist() == [True, False, False, False, False]
    assert matching(table, "onset <= age").tolist() == [False, True, False, False, True]
    assert not matching(table, "age < gone").any()
    assert matching(table, "age == onset").sum() == 0  # texts, which differ
    assert matching(table, "age < group").tolist() == [True, False, True, False, False]
    assert matching(table, "subject < age").tolist() == [True, False, False, False, True]


@pytest.mark.parametrize("name", ["chanels", "`no such`", "__import__", "_quoted_0_", "true"])
def test_unknown_columns_are_named(name):
    with pytest.raises(FormatError) as caught:
        matching(TABLE, f"{name} == 1")
    assert caught.value.code == "UNKNOWN_COLUMN"
    assert name.strip("`") in str(caught.value)
    assert "spacing_max" in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.lists(
    st.sampled_from(["subject", "width", "labels", "==", "in", "and", "not", "(", ")", "[", "]",
                     "'a'", "1", "`", ",", ".", "-", "<", "is", "lambda", ":", "{", "}", "or"]),
    max_size=12).map(" ".join))  # fmt: skip
def test_any_text_is_a_query_or_one_of_our_errors(text):
    try:
        rows = matching(TABLE, text)
    except VoxarrayError as error:
        assert error.code in ("BAD_QUERY", "UNKNOWN_COLUMN")  # noqa: PT017
    else:
        assert rows.dtype == bool
        assert len(rows) == len(TABLE)


RUN = "width.to_csv.__globals__.get('sys').modules.get('os').system('touch made') == 0"


@pytest.mark.parametrize("text", [RUN, "subject.to_csv('made') == 1", "@pd.eval('1') == 1"])
def test_the_text_of_a_query_never_runs(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "scans/a.nii")
    build(tmp_path / "scans", tmp_path / "cohort")
    opened = []
    watching = True
    sys.addaudithook(lambda event, _: watching and opened.append(event))
    cohort = vx.Cohort("cohort")
    opened.clear()
    with pytest.raises(FormatError):
        cohort.query(text)
    watching = False
    assert not {"os.system", "subprocess.Popen", "exec", "open"} & set(opened)
    result = CliRunner().invoke(main, ["catalogue", "cohort", "--query", text])
    assert result.exit_code == 2
    assert "BAD_QUERY" in result.output
    assert sorted(os.listdir()) == ["cohort", "scans"]


def test_cells_are_texts_to_a_spreadsheet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["=HYPERLINK(1)", "@SUM(1+1)", "+1+1", "-1-1", "a\u202egnp.exe", "b\x1b[31m", "-3"]
    for number in range(len(names)):
        save(tmp_path / f"scans/{number}.nii", number)
    rows = [f"{name},scans/{number}.nii" for number, name in enumerate(names)]
    (tmp_path / "m.csv").write_text("\n".join(["subject,image", *rows]) + "\n", "utf-8")
    build("m.csv", "cohort")
    assert set(vx.Cohort("cohort").names) == set(names)  # the catalogue keeps them as they are
    told = CliRunner().invoke(main, ["catalogue", "cohort", "--csv"]).output
    subjects = pd.read_csv(io.StringIO(told), dtype=str).subject.tolist()
    assert set(subjects) == {
        *("'=HYPERLINK(1)", "'@SUM(1+1)", "'+1+1", "'-1-1"),
        *("a\\u202egnp.exe", "b\\x1b[31m", "-3"),
    }
    table = CliRunner().invoke(main, ["catalogue", "cohort"]).output
    page = vx.Cohort("cohort")._repr_html_()
    for text in (told, table, page):
        assert "\u202e" not in text
        assert "\x1b" not in text


def test_a_query_tells_of_label_maps_that_are_stored_with_another_image():
    rows = [
        ("a", "flair", ["seg"], "done"),
        ("a", "t1", [], "done"),
        ("b", "t1", [], "done"),
        ("b", "lesion", [], "done"),
    ]
    table = pd.DataFrame(rows, columns=["subject", "image", "labels", "status"])
    with pytest.warns(
        vx.VoxarrayWarning, match="LABELS_ELSEWHERE.*of a, the image flair holds seg"
    ):
        assert not matching(table, "image == 't1' and 'seg' in labels").any()
    with pytest.warns(vx.VoxarrayWarning, match="LABELS_ELSEWHERE"):
        assert not matching(table, "image == 't1' and 'lesion' in labels").any()
    for expression, expected in (
        ("image == 't1' and 'brain' in labels", ""),  # nowhere
        ("image == 't2' and 'seg' in labels", ""),
        ("'seg' in labels", "a"),  # found
        ("image == 't1' and 'seg' in images", "a"),
    ):
        assert "".join(table.subject[matching(table, expression)]) == expected, expression


def test_a_catalogue_without_a_match_is_told_in_words(tmp_path):
    save(tmp_path / "in/a.nii.gz", 0)
    build(tmp_path / "in", tmp_path / "out")
    asked = ["catalogue", str(tmp_path / "out"), "--query", "image == 'other'"]
    for more in ([], ["--columns", "subject"]):
        done = CliRunner().invoke(main, [*asked, *more])
        assert (done.exit_code, done.stdout) == (0, "0 of 1 rows match\n")
    assert CliRunner().invoke(main, [*asked, "--csv"]).stdout.startswith("status,")


@pytest.mark.parametrize("expression", ["labels == 'brain'", "'brain' != labels"])
def test_a_column_of_lists_is_not_compared_but_looked_into(expression):
    with pytest.raises(FormatError, match=r"the column labels holds lists.*'brain' in labels"):
        matching(TABLE, expression)
