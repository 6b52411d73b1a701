"""A manifest that is not one that voxarray writes is refused by name, whatever is wrong with it."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_samples import OBLIQUE, archive, blobs, whole

from voxarray.archive.convert import convert
from voxarray.archive.digests import digest_of
from voxarray.archive.manifest import FileEntry, Manifest, is_key
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.source import label_names, open_archive
from voxarray.archive.staging import staging
from voxarray.archive.verify import verify
from voxarray.cohort.catalogue.entry import entry_of
from voxarray.cohort.catalogue.rows import row_of
from voxarray.core.errors import FormatError, MissingDataError, VoxarrayError
from voxarray.source.array import ArraySource
from voxarray.storage.store import TreeStore

FACTS = {
    "cohort": {
        "key": "abc",
        "subject": "01",
        "image": "T1w",
        "kind": "intensity",
        "labels": ["seg"],
        "source": "scans/01.nii.gz",
        "shape": [1, 9, 5, 7],
        "spacing": [1.0, 1.0, 2.5],
        "orientation": "RAS",
        "dtype": "int16",
        "facts": {"age": 43, "site": "A", "nested": [1, {"a": None}]},
    }
}

_MARK = "\0nested\0"
NESTED = {
    "lists": ("[" * 100_000, "]" * 100_000),
    "objects": ('{"a":' * 50_000 + "1", "}" * 50_000),
    "few lists": ("[" * 500, "]" * 500),
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """An archive of a cohort with a label map."""
    path = tmp_path_factory.mktemp("manifest") / "a.ome.zarr"
    image, seg = blobs((1, 9, 5, 7)), blobs((1, 9, 5, 7), "u1")
    convert(
        ArraySource(image, OBLIQUE),
        path,
        labels={"seg": LabelLayer(ArraySource(seg, OBLIQUE))},
        options=Options(chunk=4, levels=2),
        facts=FACTS,
        extremes=True,
    )
    return path


@pytest.fixture
def restored(sample) -> Iterator[Path]:
    """The manifest of the sample, which is what it was afterwards."""
    file = sample / "manifest.json"
    good = file.read_bytes()
    yield file
    file.write_bytes(good)


def sealed(document: Any, version: int = 2) -> bytes:
    """A document as its writer would have sealed it, whatever it holds."""
    seal = "crc32c" if version == 1 else "digest"
    if isinstance(document, dict):
        document = {key: value for key, value in document.items() if key != seal}
    body = json.dumps(document, separators=(",", ":"))
    for name, (opening, closing) in NESTED.items():
        body = body.replace(json.dumps(_MARK + name), opening + closing)
    if not isinstance(document, dict):
        return body.encode()
    digest = digest_of(body.encode(), version)
    comma = "," if document else ""
    return f'{body[:-1]}{comma}"{seal}":"{digest}"}}'.encode()


def uses(path: Path) -> dict[str, Callable[[], object]]:
    """Everything that reads a manifest, by name."""
    return {
        "voxels": lambda: whole(path).tobytes(),
        "level": lambda: whole(open_archive(path).level(1)).tobytes(),
        "header": lambda: open_archive(path).nifti_header,
        "names": lambda: label_names(path),
        "labels": lambda: whole(path / "labels/seg").tobytes(),
        "counts": lambda: open_archive(path / "labels/seg").label_counts,
        "pickle": lambda: len(pickle.dumps(open_archive(path))) > 0,
        "verify": lambda: bool(verify(path)),
        "quick": lambda: bool(verify(path, quick=True)),
        "catalogue": lambda: (entry := entry_of(str(path))) and row_of("a.ome.zarr", entry),
    }


def faults(path: Path, truth: dict[str, object]) -> list[str]:
    """What goes wrong otherwise than by an error of ours, or gives other voxels than there are."""
    found = []
    for name, use in uses(path).items():
        try:
            seen = use()
        except VoxarrayError as error:
            if error.code == "ERROR" or not error.path:
                found.append(f"{name}: {error!r} without code or path")
        except Exception as error:
            found.append(f"{name}: {error!r}")
        else:
            if name in ("voxels", "level", "labels", "header") and seen not in (truth[name], None):
                found.append(f"{name}: {seen!r:.80}")
    return found


JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, 1 << 64, 10**400, "", "x", "zz", "..", "/etc/passwd"),
    *([], [1], [[]], ["x"], {}, {"a": 1}, {"zarr.json": [1, "0" * 32]}, "\ud800", "a\0b", "é"),
    *("0" * 32, "0" * 8, [1, "0" * 32], [1, "0" * 32, "0" * 32], [1, "0" * 8], [True, "0" * 32]),
    *(_MARK + name for name in NESTED),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document."""
    yield path
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(value, (*path, key))


def edited(good: dict[str, Any], rng: random.Random) -> Any:
    """A document with one to three edits of its structure."""
    document = copy.deepcopy(good)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        where = rng.choice(list(places(document)))
        if not where:
            document = rng.choice((document, rng.choice(JUNK), [document], {"a": document}))
            if not isinstance(document, dict):
                return document
            continue
        parent = document
        for key in where[:-1]:
            parent = parent[key]
        _edit(parent, where[-1], rng)
    return document


def _edit(parent: Any, key: Any, rng: random.Random) -> None:
    value = parent[key]
    kind = rng.randrange(7)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = rng.choice((lambda: [value], lambda: {"a": value}, lambda: str(value)))()
    elif kind == 2 and isinstance(parent, dict):
        parent[rng.choice(("", "..", "a", "a/../b", "manifest.json", "\ud800", "é"))] = value
    elif kind == 3 and isinstance(parent, dict):
        parent[rng.choice(("x", "/a", "a//b", "a\\b", "c/0/0"))] = parent.pop(key)
    elif kind == 4 and isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), rng.choice(JUNK))
    else:
        parent[key] = rng.choice(JUNK)


@pytest.mark.parametrize(
    ("count", "seed"),
    [(250, 0), *(pytest.param(2500, seed, marks=pytest.mark.slow) for seed in range(1, 5))],
)
def test_no_structural_edit_is_believed_or_raises_another_error(sample, restored, count, seed):
    rng, good = random.Random(seed), json.loads(restored.read_bytes())
    truth = {name: use() for name, use in uses(sample).items()}
    clock = 10**18 + seed * 10**9
    wrong = []
    for number in range(count):
        document = edited(good, rng)
        data = sealed(document, rng.choice((2, 2, 2, 1)))
        restored.write_bytes(data)
        os.utime(restored, ns=(clock + number,) * 2)  # another archive every time
        wrong += [f"edit {number} {data!r:.300}: {fault}" for fault in faults(sample, truth)]
    assert wrong == []


@pytest.mark.parametrize("fact", ["spacing", "shape"])
def test_facts_of_a_cohort_that_no_column_can_hold_are_not_believed(sample, restored, fact):
    document = copy.deepcopy(json.loads(restored.read_bytes()))
    document["source"]["cohort"][fact][1] = 10**400
    restored.write_bytes(sealed(document))
    assert entry_of(str(sample)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": None},
        {"files": {"zarr.json": [1]}},
        {"files": {"zarr.json": ["x", "zz"]}},
        {"files": {"zarr.json": None}},
        {"files": {"zarr.json": [True, "0" * 32]}},
        {"files": {"zarr.json": [-1, "0" * 32]}},
        {"files": {"zarr.json": [1, "0" * 8]}},
        # Equal to what was seen to be right a moment ago, or nothing to be compared.
        {"files": {"a": [1, "0" * 32], "b": [True, "0" * 32]}},
        {"files": {"a": [1, "0" * 32], "b": [1.0, "0" * 32]}},
        {"files": {"zarr.json": [[1], "0" * 32]}},
        {"files": {"zarr.json": [1, {"0": 0}]}},
        {"files": {"zarr.json": [1, "0" * 32, "0" * 32, "0" * 32]}},
        {"files": {"../zarr.json": [1, "0" * 32]}},
        {"files": {"/etc/passwd": [1, "0" * 32]}},
        {"files": {"a/./b": [1, "0" * 32]}},
        {"files": {"manifest.json": [1, "0" * 32]}},
        {"source": []},
        {"source": {"a": _MARK + "few lists"}},
        {"version": "2"},
        {"version": True},
        {"generation": -1},
        {"generation": 1},
        {"previous": "0" * 32},
        {"base": "0" * 32},
        {"format": "voxarray-manifest-of-somebody"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_sealed_manifest_of_other_types_is_bad_metadata(sample, restored, change):
    document = json.loads(restored.read_bytes()) | change
    with pytest.raises(FormatError) as caught:
        Manifest.parse(sealed(document), str(sample))
    assert caught.value.code == "BAD_METADATA"
    assert caught.value.path == str(sample)


@pytest.mark.parametrize("key", ["format", "version", "source", "files", "generation", "digest"])
def test_a_manifest_that_lacks_a_key_is_refused(sample, restored, key):
    document = json.loads(restored.read_bytes())
    del document[key]
    text = sealed(document) if key != "digest" else json.dumps(document).encode()
    with pytest.raises(FormatError):
        Manifest.parse(text, str(sample))


def test_what_is_not_canonical_is_refused(sample, restored):
    good = restored.read_bytes()
    for other in (good + b" ", good.replace(b",", b", ", 1), b'{"version":2,' + good[1:]):
        with pytest.raises(FormatError):
            Manifest.parse(other, str(sample))


def test_a_manifest_is_read_as_it_is_written(sample, restored):
    found = Manifest.read(TreeStore(str(sample)))
    assert found.to_bytes() == restored.read_bytes()
    assert json.loads(restored.read_bytes())["digest"] == found.digest == found.identity
    assert found.version == 2
    later = Manifest(found.files, found.source, 2, 1, found.digest, found.digest)
    again = Manifest.parse(later.to_bytes(), "a")
    assert again == later
    assert again.identity == found.identity != again.digest


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *((name, True) for name in ("zarr.json", "a/b", "labels/Tümör 1/zarr.json", "...", ".a")),
        *((name, False) for name in ("", "/", "a/", "/a", "a//b", ".", "..", "a/..", "a\\b")),
        *((name, False) for name in ("a\0", "\ud800", "\udc80", 1, None)),
    ],
)
def test_keys_stay_inside_and_are_unicode(name, is_one):
    assert is_key(name) is is_one


def test_a_shard_without_the_digest_of_its_tail_is_refused(sample, restored):
    document = json.loads(restored.read_bytes())
    document["files"]["scale0/image/c/0/0/0/0"].pop()
    restored.write_bytes(sealed(document))
    with pytest.raises(FormatError, match="tail") as caught:
        whole(sample)
    assert caught.value.code == "BAD_METADATA"
    assert [problem.code for problem in verify(sample)] == ["BAD_METADATA"]


@pytest.mark.parametrize("change", [os.unlink, lambda file: os.truncate(file, 3)])
def test_a_missing_or_shortened_file_cannot_be_sealed(tmp_path, change):
    with staging(tmp_path / "a.ome.zarr", overwrite=False) as area:
        area.write("zarr.json", b"{}" * 9)
        area.write("a/b", b"1234")
        area.settle()
        change(f"{area.root}/a/b")
        with pytest.raises(MissingDataError, match="a/b") as caught:
            area.seal({})
        assert caught.value.code == "MISSING_DATA"
        assert not os.path.exists(f"{area.root}/manifest.json")
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_whose_shard_is_deleted_meanwhile_publishes_nothing(tmp_path, monkeypatch):
    from voxarray.archive import held_files
    from voxarray.archive import staging as stagings

    monkeypatch.setattr(held_files, "LARGEST", 0)  # its shards go to disk as they come
    seal = stagings.Staging.seal

    def robbed(area, source):
        os.unlink(f"{area.root}/scale0/image/c/0/0/0/0")
        seal(area, source)

    monkeypatch.setattr(stagings.Staging, "seal", robbed)
    with pytest.raises(MissingDataError, match="another process deleted or changed it"):
        archive(tmp_path / "a.ome.zarr", blobs((1, 9, 5, 7)))
    assert list(tmp_path.iterdir()) == []


def test_digests_of_files_that_end_in_their_crc32c_differ():
    import google_crc32c

    entries = set()
    for number in range(4):
        data = np.full(50, number, "u1").tobytes()
        entries.add(FileEntry.of(data + google_crc32c.value(data).to_bytes(4, "little")))
    assert len(entries) == 4
