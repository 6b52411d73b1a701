"""What is read of the journals of a cohort: all lines, or those of images that failed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from functools import partial

import pytest
from cohort_samples import report_codes, run, save
from hypothesis import given
from hypothesis import strategies as st

from voxarray.cohort.catalogue import finalise
from voxarray.cohort.catalogue import journal as journals
from voxarray.cohort.catalogue.journal import BEGUN, Journal, records, records_of_failing
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Failure
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run.build import build
from voxarray.cohort.run.task import Result

SLUGS = st.sampled_from(["a-1", "b_2.x", "sub-é", 'quoted"slug'])
WORDS = st.sampled_from(["", "plain", 'says "failure": {', '"failure": null', "é\udc80\n", "\0"])
FAILURES = st.builds(Failure, st.just("TRUNCATED"), WORDS, WORDS, st.booleans())
RESULTS = st.builds(
    Result,
    SLUGS,
    st.sampled_from(["converted", "failed"]),
    st.sampled_from(["key 1", "key 2"]),
    st.none() | FAILURES,
    remarks=st.lists(WORDS, max_size=2).map(tuple),
)
STEPS = st.lists(st.lists(st.tuples(RESULTS, st.booleans()), max_size=5), max_size=3)
WHY = {"code": "BAD_GZIP", "message": "it is damaged", "file": "b.nii.gz"}
CUT = b'{"slug": "a-1", "status": "fai'


@given(STEPS, st.booleans())
def test_last_failures_are_those_of_all_records(tmp_path_factory, processes, cut):
    folder = CohortLayout(str(tmp_path_factory.mktemp("cohort")))
    for results in processes:
        journal = Journal(folder.journal)
        for result, is_begun in results:
            if is_begun:
                journal.note({"slug": result.slug, "status": BEGUN, "key": result.key})
            journal.append(result.record())
        if cut and journal._fd is not None:
            journals.os.write(journal._fd, CUT)
        journal.close()
    expected = {}
    for record in records(folder.journal):
        expected[record["slug"], record["key"]] = record
    failed = {name: record for name, record in expected.items() if record["failure"]}
    assert finalise.last_failures(folder) == failed


def test_a_record_after_one_that_a_full_disk_cut_short_counts(tmp_path, monkeypatch):
    """It was written behind the part of the line that the disk had taken, and skipped with it."""
    journal, write = Journal(str(tmp_path)), journals.os.write
    why = Failure("BAD_GZIP", "it is damaged", "x.nii")
    journal.append(Result("a", "failed", "k", why).record())
    with monkeypatch.context() as full:
        full.setattr(journals.os, "write", lambda fd, data: write(fd, data[:30]))
        with pytest.raises(OSError, match="No space left"):
            journal.append(Result("b", "failed", "k", why).record())
    journal.append(Result("c", "failed", "k", why).record())
    journal.close()
    for read in (records, records_of_failing):
        assert {record["slug"] for record in read(str(tmp_path))} == {"a", "c"}


def test_records_in_another_form_count_too(tmp_path):
    lines = [
        {"failure": {**WHY, "code": "A"}, "time": "1", "status": "failed", "slug": "a"},
        {"time": "2", "slug": "a", "status": "converted", "failure": None},
        {"time": "3", "slug": "b", "status": "failed", "failure": {**WHY, "code": "B"}},
        {"time": "4", "slug": "c", "status": "converted"},
    ]
    for number, separators in enumerate([(",", ":"), (", ", ": ")]):
        text = "\n".join(json.dumps(line, separators=separators) for line in lines)
        (tmp_path / f"{number}.jsonl").write_text(text)
        escaped = text.replace('"failure"', r'"f\u0061ilure"')
        (tmp_path / f"{number}-escaped.jsonl").write_text(escaped)
    told = [record for record in records(str(tmp_path)) if record["slug"] in "ab"]
    found = [record for record in records_of_failing(str(tmp_path)) if record["slug"] in "ab"]
    assert found == told
    assert len(told) == 3 * 4


def test_lines_of_successes_are_not_parsed(tmp_path, monkeypatch):
    journal = Journal(str(tmp_path))
    failure = Failure("TRUNCATED", "it ends early", "b.nii")
    for slug, why in [("a", None), ("b", failure), ("b", None), ("c", None)]:
        journal.note({"slug": slug, "status": BEGUN, "key": "k"})
        journal.append(Result(slug, "failed" if why else "converted", "k", why).record())
    journal.close()
    parsed, parse = [], journals._parsed
    monkeypatch.setattr(journals, "_parsed", lambda line: parsed.append(line) or parse(line))
    assert [record["slug"] for record in records_of_failing(str(tmp_path))] == ["b", "b"]
    assert all(b'"b"' in line for line in parsed)


ODD = [
    *({"failure": failure} for failure in ("BAD_GZIP", ["BAD_GZIP"], [], 5, {}, True, [WHY])),
    *({"failure": {name: WHY[name] for name in WHY if name != absent}} for absent in WHY),
    *({"failure": {**WHY, name: odd}} for name in WHY for odd in (5, None, ["b"])),
    {"failure": {**WHY, "lasting": "for ever"}},
    *({name: odd} for name in ("seconds", "peak", "voxel_bytes") for odd in ("1", [1], 1 << 99)),
    *({name: odd} for name in ("slug", "status", "key") for odd in (5, None, ["b"], {})),
    {"remarks": 5},
    {"remarks": None},
    {"remarks": [5]},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_an_odd_line_is_left_out_and_the_others_count(tmp_path, odd):
    """It ended `finalise`, `convert` and `verify` with an unexpected error."""
    folder = CohortLayout(str(tmp_path))
    line = Result("b", "failed", "k", Failure("BAD_GZIP", "it is damaged", "b.nii.gz")).record()
    lines = [
        json.dumps({**line, **changed, "time": str(number)})
        for number, changed in enumerate([{}, odd, {"slug": "c"}])
    ]
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "a.jsonl").write_text("\n".join(lines))
    others = [json.loads(lines[0]), json.loads(lines[2])]
    assert list(finalise.last_failures(folder).values()) == others
    assert list(records(folder.journal)) == others


def test_a_failure_in_the_words_of_a_newer_release_counts(tmp_path):
    """A key that it adds to failures ended these commands with an unexpected error."""
    scan, cohort = save(tmp_path / "in" / "a.nii.gz"), tmp_path / "out"
    build(scan.parent, cohort)
    (item,) = Plan.read(CohortLayout(str(cohort)).plan).items
    shutil.rmtree(CohortLayout(str(cohort)).archive(item.slug, zipped=False))
    failure = {**WHY, "lasting": True, "stage": "decoding"}
    line = Result(item.slug, "failed", item.key).record() | {"failure": failure, "time": "9"}
    odd = {**line, "failure": "BAD_GZIP"}
    (cohort / "journal" / "z.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(odd)}\n")
    commands = [["finalise", cohort], ["convert", scan.parent, cohort], ["catalogue", cohort]]
    for words in [*commands, ["catalogue", cohort, "--log", "a"], ["verify", "--quick", cohort]]:
        done = run(*words)
        assert "unexpected" not in done.output, done.output
        assert list(report_codes(cohort).values()) == ["BAD_GZIP"]
    assert "BAD_GZIP: it is damaged" in done.output


@pytest.mark.parametrize("moment", ["end", "short write", "removed"])
def test_a_file_that_cannot_be_closed_is_given_up(tmp_path, monkeypatch, moment):
    """NFS tells of a full disk when a file is closed, whose number another file then gets."""
    journal, close = Journal(str(tmp_path / "journal")), os.close
    journal.append({"slug": "a", "status": "converted"})
    given_up = journal._fd

    def refusing(fd):
        close(fd)
        if fd == given_up:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", refusing)
        if moment == "short write":
            patched.setattr(os, "write", lambda _, line: len(line) - 1)
        elif moment == "removed":
            shutil.rmtree(tmp_path / "journal")
        record = {"slug": "b", "status": "converted"}
        call = journal.close if moment == "end" else partial(journal.append, record)
        with pytest.raises(OSError, match="No space"):
            call()
    other = os.open(tmp_path / "voxels", os.O_RDWR | os.O_CREAT)
    assert other == given_up
    journal.append({"slug": "c", "status": "converted"})
    journal.close()
    assert os.read(other, 100) == b""
    os.close(other)
    assert "c" in {one["slug"] for one in records(str(tmp_path / "journal"))}
