"""Keys, passwords and signatures reach no plan, script, journal, log, catalogue or archive."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path
from urllib.parse import unquote

import dask.config
import numpy as np
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.cli import main
from voxarray.core.errors import AccessDeniedError
from voxarray.storage.remote.address import carries_secret
from voxarray.storage.remote.writing import WritableObjects

SECRET = "CNRYSECRET"
NAMES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("GOOGLE_API_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
)
IN_SETTINGS = {
    "voxarray.remote-options": {"s3": {"access_key_id": SECRET, "secret_access_key": SECRET}},
    "voxarray.fsspec-options": {"ftp": {"username": SECRET, "password": SECRET}},
}


@pytest.fixture
def secrets(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, SECRET)
    with dask.config.set(IN_SETTINGS):
        yield


@pytest.fixture
def signed(web):
    """URLs with a secret in each place: a scan, one that is not there, and no host."""
    place = web.url.replace("://", f"://user:{SECRET}@")
    query = f"X-Amz-Signature={SECRET}&token={SECRET}"
    return [
        f"{place}/a.nii.gz?{query}",
        f"{place}/none.nii.gz?{query}",
        f"http://user:{SECRET}@127.0.0.1:1/b.nii?{query}",
    ]


def hits(folder: Path) -> list[str]:
    return [
        str(file)
        for file in folder.rglob("*")
        if file.is_file() and (SECRET.encode() in file.read_bytes() or SECRET in file.name)
    ]


def said(*arguments: object) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments), "--verbose"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert SECRET not in result.output + result.stderr
    return result.output


def test_urls_with_secrets_leave_none(secrets, signed, tmp_path, caplog):
    caplog.set_level("DEBUG")
    out = tmp_path / "out"
    told = said("plan", *signed, out)
    assert "3 images" in told
    for part in (1, 2, 3):
        said("convert", *signed, out, "--partition", f"{part}/3")
    said("finalise", out)
    assert "1 converted" in said("convert", *signed, tmp_path / "other")
    said("verify", out)
    said("catalogue", out)
    said("info", signed[0])
    said("info", signed[1])
    assert len(list((out / "subjects").iterdir())) == 1
    assert hits(tmp_path) == []
    assert SECRET not in caplog.text


def test_urls_with_secrets_are_kept_out_of_scripts(signed, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/usr/bin:/bin")
        for more in ((), ("--submit",)):
            told = said("plan", signed[0], tmp_path / "out", "--slurm", 2, *more)
            assert "SECRET_IN_URL" in told
    assert hits(tmp_path) == []


def test_job_arrays_take_signed_urls_from_a_list(secrets, signed, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "urls.txt").write_text(signed[0] + "\n")
    out = tmp_path / "out"
    told = said("plan", secret / "urls.txt", out, "--slurm", 1)
    environment = {"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "1"}
    script = told[told.index("#!/bin/bash") :]
    ran = subprocess.run(
        ["bash", "-s"], input=script, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert SECRET not in ran.stdout + ran.stderr
    assert len(list((out / "subjects").iterdir())) == 1
    assert hits(out) == []


def test_what_is_submitted_holds_no_secret_of_the_environment(
    secrets, tmp_path, scans, monkeypatch
):
    tools = tmp_path / "bin"
    tools.mkdir()
    log = tmp_path / "submitted"
    log.mkdir()
    (tools / "sbatch").write_text(
        f'#!/bin/bash\necho "$*" >> {log}/words\ncat "${{@: -1}}" >> {log}/script\necho 7\n'
    )
    (tools / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    said("plan", scans / "a.nii.gz", tmp_path / "out", "--slurm", 1, "--submit")
    assert "convert" in (log / "script").read_text()
    assert sys.executable in (log / "words").read_text()
    assert hits(tmp_path) == []


EXPIRED = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ExpiredToken</Code><Message>The provided '
    f"token has expired.</Message><Token-0>{SECRET}</Token-0></Error>"
).encode()


def told(error: BaseException) -> str:
    """All that a program prints that ends with an error."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("asks", ["reads", "lists", "writes", "deletes"])
def test_what_a_store_repeats_of_a_token_is_not_shown(server, bucket, asks):
    server.refuses = lambda _: (400, EXPIRED)
    place = WritableObjects.at(bucket.url)
    with pytest.raises(AccessDeniedError, match=r"ExpiredToken: The .* has expired") as caught:
        {
            "reads": lambda: place.objects.fetch("a", 99),
            "lists": place.names,
            "writes": lambda: place.create("a", b"1"),
            "deletes": lambda: place.delete(["a"]),
        }[asks]()
    assert SECRET not in told(caught.value)


@pytest.mark.parametrize("status", [403, 500])
def test_tracebacks_hold_no_secret(web, status):
    web.refuses = lambda *_: status
    url = web.url.replace("://", f"://user:{SECRET}@")
    with pytest.raises(vx.VoxarrayError) as caught:
        vx.open_source(f"{url}/a.nii?sig={SECRET}")
    assert SECRET not in told(caught.value)


def test_a_password_with_a_slash_is_not_shown():
    with pytest.raises(vx.VoxarrayError, match="BAD_URL") as caught:
        vx.open_source(f"https://user:a/{SECRET}@host/a.nii")
    assert SECRET not in told(caught.value)


@pytest.mark.parametrize("user", ["user:word", "user:w%40r%2Fd", "user"])
def test_name_and_password_of_a_url_reach_the_server(web, voxels, user):
    web.user = f"{unquote(user)}:" if ":" not in user else unquote(user)
    url = web.url.replace("://", f"://{user}@")
    np.testing.assert_array_equal(vx.ScalarImage(f"{url}/a.nii.gz").numpy()[0], voxels)
    with pytest.raises(AccessDeniedError):
        vx.open_source(f"{web.url}/a.nii.gz")


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://host/a.nii?X-Amz-Signature=1", True),
        ("https://host/a.nii?sv=2020&sig=1", True),
        ("https://host/a.nii?id=3&access_token=1", True),
        ("https://user:word@host/a.nii", True),
        ("ftp://user:word@host/a.nii", True),
        ("https://host/a.nii?id=3&download=1", False),
        ("s3://bucket/token=1/a.nii", False),
        ("s3://bucket/a@b:c.nii", False),
        ("/data/token?key=1", False),
    ],
)
def test_what_counts_as_a_secret(url, secret):
    assert carries_secret(url) == secret
