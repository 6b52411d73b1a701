"""URLs as destinations are refused by name before anything is read, at every door."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.archive.convert import convert
from voxarray.cli import main
from voxarray.cohort.catalogue.finalise import finalise
from voxarray.cohort.run.build import build
from voxarray.cohort.verify_cohort import verify_cohort
from voxarray.core.errors import UnsupportedError
from voxarray.formats.registry import open_source, written_suffixes
from voxarray.storage.destination import destination_of, local_destination
from voxarray.testing.counting import count_reads

URLS = ("http://h/x", "https://h/x", "ftp://h/x", "memory://x", "simplecache::s3://bucket/x")
BUCKETS = ("s3://bucket/x", "gs://bucket/x", "az://c/x", "abfs://c@a/x")


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "scans").mkdir()
    image = vx.ScalarImage(tensor=np.arange(512, dtype=np.int16).reshape(1, 8, 8, 8))
    image.save(tmp_path / "scans/a.nii.gz")
    build(tmp_path / "scans", tmp_path / "cohort")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(here, call, *args, **kwargs):
    before = sorted(os.listdir(here))
    with pytest.raises(UnsupportedError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == "UNSUPPORTED_DESTINATION"
    assert sorted(os.listdir(here)) == before


@pytest.mark.parametrize("url", [*URLS, Path("HTTPS://h/x")])
def test_urls_are_no_destination(here, url):
    refused(here, local_destination, url)
    refused(here, destination_of, url)


@pytest.mark.parametrize("url", [*BUCKETS, Path("s3://bucket/x")])
def test_buckets_are_no_local_destination(here, url):
    refused(here, local_destination, url)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://bucket/a.nii", "s3://bucket/a.nii"),
        (Path("s3://bucket/a.nii"), "s3://bucket/a.nii"),
        ("gs://bucket/a/b/", "gs://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_places_in_buckets_are_destinations(path, url):
    assert destination_of(path).rstrip("/") == url


def test_bucket_without_a_name():
    with pytest.raises(UnsupportedError) as caught:
        destination_of("s3:///a.nii")
    assert caught.value.code == "BAD_URL"


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("a/b.nii", "a/b.nii"),
        ("file:///tmp/b", "/tmp/b"),
        ("C:/a", "C:/a"),
        ("data:/x", "data:/x"),
        (Path("s3:x"), "s3:x"),
    ],
)
def test_paths_are_destinations(path, local):
    assert local_destination(path) == local


@pytest.mark.parametrize("suffix", written_suffixes())
def test_images_are_not_saved_to_urls(here, suffix):
    image = vx.ScalarImage(here / "scans/a.nii.gz")
    for folder in ("http://host", Path("http://host")):
        refused(here, image.save, f"{folder}/b{suffix}")
        refused(here, image.save, Path(f"{folder}/b{suffix}"))


def test_nothing_is_read_for_a_destination_that_is_refused(here):
    source = open_source(here / "scans/a.nii.gz")
    with count_reads() as reads:
        refused(here, convert, source, "http://host/a.ome.zarr")
        refused(here, vx.ScalarImage(here / "scans/a.nii.gz").save, "http://host/a.nii")
    assert (reads.calls, reads.streamed, reads.decoded) == (0, 0, 0)


def test_nothing_else_is_written_to_urls(here):
    image = vx.ScalarImage(here / "scans/a.nii.gz")
    subject = vx.Subject(t1=image)
    cohort = vx.Cohort(here / "cohort")
    mapped = cohort.map(vx.ToCanonical())
    refused(here, subject.save, "http://host/subject")
    refused(here, build, here / "scans", "http://host/cohort")
    refused(here, build, here / "nowhere", "http://host/cohort")
    refused(here, mapped.save, "http://host/cohort")
    refused(here, vx.Cohort, "http://host/cohort")
    refused(here, finalise, "http://host/cohort")
    refused(here, lambda: list(verify_cohort("http://host/cohort")))
    refused(here, image.to_gif, 0, 1.0, "http://host/a.gif")
    refused(here, image.to_video, "http://host/a.mp4")
    refused(here, image.plot, output_path="http://host/a.png", show=False)
    refused(here, subject.plot, output_path="http://host/a.png", show=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "scans/a.nii.gz", "http://host/a.ome.zarr"),
        ("convert", "scans", "http://host/cohort"),
        ("convert", "scans", "http://host/cohort", "--partition", "1/2"),
        ("plan", "scans", "http://host/cohort"),
        ("plan", "scans", "http://host/cohort", "--slurm", "3"),
        ("plan", "scans", "http://host/cohort", "--dry-run"),
        ("finalise", "http://host/cohort"),
        ("catalogue", "http://host/cohort"),
        ("demo", "--folder", "http://host/demo"),
    ],
)
def test_commands_refuse_urls_as_destinations(here, arguments):
    before = sorted(os.listdir(here))
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 1, result.output
    assert "UNSUPPORTED_DESTINATION" in result.output
    assert sorted(os.listdir(here)) == before
