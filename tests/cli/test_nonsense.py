"""Nonsense given to a command is the caller's mistake: no traceback, no "report it"."""

from __future__ import annotations

import shutil

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import voxarray as vx
from voxarray.cli import main

VOXELS = (np.arange(12 * 10 * 8) % 200).astype("uint8").reshape(1, 12, 10, 8)

CALLS = {
    "add-labels": ["scan.ome.zarr", "layer", "labels.nii.gz"],
    "catalogue": ["cohort"],
    "clean": ["empty"],
    "completion": ["bash"],
    "convert": ["scan.nii.gz", "out.ome.zarr"],
    "evaluate": ["labels.nii.gz", "labels.nii.gz"],
    "finalise": ["cohort"],
    "history": ["scan.ome.zarr"],
    "infer": ["net.ts", "scan.nii.gz", "out.nii.gz", "--patch-size", "8"],
    "info": ["scan.nii.gz"],
    "plan": ["scans", "planned"],
    "preprocess": ["cohort", "out", "--pipeline", "pipeline.yaml"],
    "remove-labels": ["scan.ome.zarr", "layer"],
    "verify": ["scan.ome.zarr"],
}
"""Calls that make sense; all commands but the demo, which takes long and little."""

NONSENSE = ["", "q", "-1", "nan", "1e400", ",", "9" * 20, "junk", "é\udcff"]

LONG = {"--workers": ["q", "-1"], "--scheduler": ["q"]}
"""Options of which what makes sense by chance takes long."""


class Net(torch.nn.Module):
    def forward(self, x):
        return torch.cat([100 - x, x - 100], 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    scan = vx.ScalarImage(tensor=VOXELS)
    scan.save(folder / "scan.nii.gz")
    vx.convert(folder / "scan.nii.gz", folder / "scan.ome.zarr")
    vx.LabelMap(tensor=(VOXELS > 100).astype("uint8")).save(folder / "labels.nii.gz")
    (folder / "scans").mkdir()
    scan.save(folder / "scans" / "a.nii.gz")
    vx.convert_cohort(folder / "scans", folder / "cohort", progress=False)
    torch.jit.script(Net()).save(str(folder / "net.ts"))
    (folder / "pipeline.yaml").write_text("- ToOrientation:\n    orientation: LPS\n")
    (folder / "empty").mkdir()
    (folder / "junk").write_bytes(b"\0\xff junk")
    return folder


def words_of(name):
    """Calls of a command, each with one thing that makes no sense."""
    call = CALLS[name]
    yield [name]
    command = main.get_command(None, name)
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    for place in range(min(len(arguments), len(call))):
        for nonsense in NONSENSE:
            yield [name, *call[:place], nonsense, *call[place + 1 :]]
    for option in command.params:
        if isinstance(option, click.Option) and option.name != "help":
            flag = max(option.opts, key=len)
            if option.is_flag:
                yield [name, *call, flag]
                continue
            for nonsense in LONG.get(flag, NONSENSE):
                yield [name, *call, flag, nonsense]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_nonsense_is_the_callers(files, tmp_path, monkeypatch, name):
    shutil.copytree(files, tmp_path / "files")
    monkeypatch.chdir(tmp_path / "files")
    for words in words_of(name):
        for made in ("out.ome.zarr", "out"):
            shutil.rmtree(made, ignore_errors=True)
        (tmp_path / "files" / "out.nii.gz").unlink(missing_ok=True)
        done = CliRunner().invoke(main, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), words
        assert "did not foresee" not in done.output, (words, done.output)
        assert "Traceback" not in done.output, words


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--patch-size", "8", "--overlap", "1.0"],
        ["--patch-size", "8", "--flips", "q"],
        ["--patch-size", "0"],
        ["--patch-size", "8", "--classes", "0"],
        ["--patch-size", "8", "--threshold", "nan"],
        ["--patch-size", "8", "--threshold", "0.5", "--output", "logits"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("where", [["scan.nii.gz", "out.nii.gz"], ["cohort", "out"]])
def test_arguments_of_a_network_that_make_no_sense_are_usage(files, monkeypatch, wrong, where):
    monkeypatch.chdir(files)
    done = CliRunner().invoke(main, ["infer", "net.ts", *where, *wrong])
    assert done.exit_code == 2, done.output
    assert not (files / "out").exists()


@pytest.mark.parametrize("command", [["infer", "net.ts"], ["convert"]])
@pytest.mark.filterwarnings("ignore")
def test_what_exists_is_replaced_by_an_option_of_the_command_line(files, monkeypatch, command):
    monkeypatch.chdir(files)
    more = ["--patch-size", "8"] if "infer" in command else []
    done = CliRunner().invoke(main, [*command, "scan.nii.gz", "labels.nii.gz", *more])
    assert done.exit_code == 1
    assert "--overwrite" in done.output


QUERIED = {
    "catalogue": ["cohort"],
    "convert": ["cohort", "copy"],
    "evaluate": ["cohort", "cohort"],
    "infer": ["net.ts", "cohort", "predicted", "--patch-size", "8"],
    "preprocess": ["cohort", "out", "--pipeline", "pipeline.yaml"],
}


def test_the_commands_with_queries_are_known():
    names = {param.name for param in main.get_command(None, "evaluate").params}
    assert {"query", "reference_query"} <= names
    queried = [
        name
        for name in CALLS
        if "query" in {param.name for param in main.get_command(None, name).params}
    ]
    assert sorted(QUERIED) == sorted(queried)


@pytest.mark.parametrize("command", QUERIED)
def test_a_second_query_is_refused(files, monkeypatch, command):
    """The first was dropped without a word: subjects were chosen that it excludes."""
    monkeypatch.chdir(files)
    flags = ["--query", "--reference-query"] if command == "evaluate" else ["--query"]
    for flag in flags:
        twice = [flag, "spacing_max < 2", flag, "subject != 'a'"]
        done = CliRunner().invoke(main, [command, *QUERIED[command], *twice])
        assert done.exit_code == 2, done.output
        assert f"{flag} is given 2 times: join the conditions with `and`" in done.output
        assert "(spacing_max < 2) and (subject != " in done.output
