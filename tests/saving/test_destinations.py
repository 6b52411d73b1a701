"""What is at a destination already: replaced by request, in its own mode, where a link leads."""

from __future__ import annotations

import errno
import os
import shutil
import stat

import numpy as np
import pytest
import zarr

import voxarray as vx
from voxarray.formats._voxels import itk_writing
from voxarray.formats.registry import written_suffixes
from voxarray.storage import atomic_write
from voxarray.storage.atomic_write import atomic_writes

SUFFIXES = sorted(written_suffixes())
ARCHIVES = (".ome.zarr", ".zarr", ".nii.zarr")
FLAT = (".png", ".jpg", ".jpeg", ".bmp")


@pytest.fixture(scope="module", autouse=True)
def _itk_writes_in_this_process():
    """Tests of formats and of full disks have it write in a process of its own, file by file."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(itk_writing, "_ENDING", ())
        yield


def image(suffix: str, value: int = 0) -> vx.ScalarImage:
    shape = (1, 9, 8, 1) if suffix in FLAT else (1, 9, 8, 7)
    return vx.ScalarImage(tensor=np.full(shape, value, np.uint8), affine=np.diag([-1, -1, 1, 1]))


def content(path):
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file: file.read_bytes() for file in files}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_exists_is_replaced_by_request_only(tmp_path, suffix):
    path = tmp_path / "made" / "on" / "the" / "way" / f"a{suffix}"
    image(suffix).save(path)
    before = content(path)
    with pytest.raises(vx.ArchiveExistsError, match="overwrite=True") as caught:
        image(suffix, 1).save(path, overwrite=False)
    assert caught.value.code == "EXISTS"
    assert content(path) == before
    image(suffix, 1).save(path, overwrite=True)
    assert vx.ScalarImage(path).numpy().max() == 1
    assert not [name for name in os.listdir(path.parent) if name.startswith(".")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_a_word_on_it_an_archive_stays_and_a_file_goes_with_a_warning(tmp_path, suffix):
    """Files as in TorchIO, in this release; an archive may hold what was added to it."""
    path = tmp_path / f"a{suffix}"
    image(suffix).save(path)
    before = content(path)
    if suffix in (*ARCHIVES, ".ozx"):
        with pytest.raises(vx.ArchiveExistsError) as caught:
            image(suffix, 1).save(path)
        assert caught.value.code == "EXISTS"
        assert content(path) == before
    else:
        with pytest.warns(FutureWarning, match="overwrite=True"):
            image(suffix, 1).save(path)
        assert vx.ScalarImage(path).numpy().max() == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_converting_makes_folders_and_replaces_nothing(tmp_path, suffix):
    source = image(suffix)
    path = tmp_path / "made" / "on" / "the" / "way" / f"a{suffix}"
    vx.convert(source, path)
    before = content(path)
    with pytest.raises(vx.ArchiveExistsError) as caught:
        vx.convert(source, path)
    assert caught.value.code == "EXISTS"
    assert content(path) == before


@pytest.mark.parametrize(
    ("suffix", "other"), [(".mhd", ".raw"), (".nhdr", ".raw"), (".img", ".hdr")]
)
def test_the_other_file_of_a_pair_is_not_replaced_either(tmp_path, suffix, other):
    image(suffix).save(tmp_path / f"a{suffix}")
    (written,) = [file for file in tmp_path.iterdir() if file.suffix != suffix]
    (tmp_path / f"a{suffix}").unlink()
    written.write_bytes(b"precious")
    with pytest.raises(vx.ArchiveExistsError):
        image(suffix).save(tmp_path / f"a{suffix}")
    assert written.read_bytes() == b"precious"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_mode_of_what_was_there_stays(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    image(suffix).save(path)
    mode = 0o700 if path.is_dir() else 0o600
    path.chmod(mode)
    image(suffix, 1).save(path, overwrite=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("suffix", [".nii.gz", ".mhd", ".ome.zarr", ".ozx"])
@pytest.mark.parametrize("name", ["x" * 240, "日" * 80, "x" * 300])
def test_a_name_that_is_too_long_is_to_be_shortened(tmp_path, suffix, name):
    with pytest.raises(vx.ArchiveError, match="shorten the name") as caught:
        image(suffix).save(tmp_path / f"{name}{suffix}")
    assert caught.value.code == "IO_ERROR"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_link_at_the_destination_is_followed(tmp_path, suffix):
    real, link = tmp_path / "elsewhere" / f"b{suffix}", tmp_path / f"a{suffix}"
    image(suffix).save(real)
    link.symlink_to(real)
    image(suffix, 1).save(link, overwrite=True)
    assert link.is_symlink()
    assert vx.ScalarImage(link).numpy().max() == 1
    if suffix not in (".hdr", ".hdr.gz", ".mhd", ".nhdr", ".img", ".img.gz"):
        assert vx.ScalarImage(real).numpy().max() == 1
    assert not [name for name in os.listdir(real.parent) if name.startswith(".")]


@pytest.mark.parametrize("suffix", [".nii.gz", ".ome.zarr", ".ozx"])
def test_a_link_that_leads_nowhere_yet_is_followed(tmp_path, suffix):
    real, link = tmp_path / f"b{suffix}", tmp_path / f"a{suffix}"
    link.symlink_to(real)
    image(suffix, 1).save(link)
    assert link.is_symlink()
    assert vx.ScalarImage(real).numpy().max() == 1


def test_the_form_of_an_archive_is_that_of_the_name_that_was_given(tmp_path):
    (tmp_path / "a.ozx").symlink_to(tmp_path / "data")
    image(".ozx", 1).save(tmp_path / "a.ozx")
    assert (tmp_path / "data").is_file()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no other file system is at hand")
@pytest.mark.parametrize("suffix", [".nii.gz", ".ome.zarr"])
def test_a_link_to_another_file_system_is_followed(tmp_path, suffix):
    real = os.path.join("/dev/shm", f"voxarray-{os.urandom(8).hex()}{suffix}")
    (tmp_path / f"a{suffix}").symlink_to(real)
    try:
        image(suffix, 1).save(tmp_path / f"a{suffix}")
        assert vx.ScalarImage(real).numpy().max() == 1
    finally:
        shutil.rmtree(real, ignore_errors=True)
        if os.path.exists(real):
            os.unlink(real)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".png"])
def test_a_folder_is_never_replaced_by_a_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.mkdir()
    (path / "thesis.txt").write_text("years")
    with pytest.raises(vx.ArchiveExistsError) as caught:
        image(suffix).save(path, overwrite=True)
    assert caught.value.code == "IS_FOLDER"
    assert (path / "thesis.txt").read_text() == "years"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mhd", ".ozx", ".ome.zarr"])
def test_nothing_takes_the_place_of_a_device_or_pipe(tmp_path, suffix, linked):
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    path = tmp_path / f"link{suffix}" if linked else pipe
    if linked:
        path.symlink_to(pipe)
    with pytest.raises(vx.VoxarrayError) as caught:
        image(suffix).save(path, overwrite=True)
    assert caught.value.code in ("NOT_A_FILE", "EXISTS")
    with pytest.raises(vx.VoxarrayError):
        vx.Compose([vx.Flip(0)]).to_yaml(path)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(tmp_path.iterdir()) == sorted({path, pipe})


def test_a_private_file_is_private_while_it_is_written(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with atomic_writes(path, overwrite=True) as (partial,):
        assert stat.S_IMODE(os.stat(os.path.dirname(partial)).st_mode) == 0o700
        with open(partial, "xb") as file:
            file.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- Zarr of others -------------------------------------------------------------------------------


def foreign_group(path):
    zarr.open_group(path, mode="w").create_array("mine", data=np.arange(9))


def foreign_image(path):
    group = zarr.open_group(path, mode="w", attributes={"ome": {"version": "0.5"}})
    group.create_array("0", data=np.zeros((4, 4, 4)))


def foreign_manifest(path):
    path.mkdir()
    (path / "manifest.json").write_text('{"name": "a web page"}')


def foreign_array(path):
    zarr.create_array(path, data=np.arange(9))


@pytest.mark.parametrize("suffix", ARCHIVES)
@pytest.mark.parametrize("make", [foreign_group, foreign_image, foreign_manifest, foreign_array])
def test_overwriting_deletes_no_zarr_of_others(tmp_path, make, suffix):
    path = tmp_path / f"g{suffix}"
    make(path)
    before = content(path)
    with pytest.raises(vx.ArchiveExistsError) as caught:
        image(suffix).save(path, overwrite=True)
    assert caught.value.code == "NOT_AN_ARCHIVE"
    assert content(path) == before


@pytest.mark.parametrize(
    "foreign",
    ["notes.txt", "scale0/notes.txt", "mine/zarr.json", "labels/tumour/0/zarr.json", "scale9/x"],
)
@pytest.mark.parametrize("damage", [None, "manifest.json"])
def test_overwriting_deletes_nothing_that_others_put_into_an_archive(tmp_path, foreign, damage):
    path = tmp_path / "a.ome.zarr"
    image(".ome.zarr").save(path)
    (path / foreign).parent.mkdir(parents=True, exist_ok=True)
    (path / foreign).write_text("{}")
    if damage:
        (path / damage).unlink()
        if foreign.startswith("scale"):
            pytest.skip("without a manifest, what stands where archives have files counts as one")
    with pytest.raises(vx.ArchiveExistsError, match=foreign) as caught:
        image(".ome.zarr", 1).save(path, overwrite=True)
    assert caught.value.code == "FOREIGN_FILES"
    assert (path / foreign).exists()


def test_links_into_folders_of_others_are_foreign(tmp_path):
    path, home = tmp_path / "a.ome.zarr", tmp_path / "home"
    image(".ome.zarr").save(path)
    home.mkdir()
    (path / "home").symlink_to(home)
    with pytest.raises(vx.ArchiveExistsError) as caught:
        image(".ome.zarr").save(path, overwrite=True)
    assert caught.value.code == "FOREIGN_FILES"


@pytest.mark.parametrize("damage", ["no manifest", "cut manifest", "no root", "cut root", "litter"])
def test_damaged_archives_of_ours_are_overwritten(tmp_path, damage):
    path = tmp_path / "a.ome.zarr"
    image(".ome.zarr").save(path)
    what, _, name = damage.partition(" ")
    file = path / {"manifest": "manifest.json", "root": "zarr.json"}.get(name, ".DS_Store")
    if what == "no":
        file.unlink()
    elif what == "cut":
        file.write_bytes(file.read_bytes()[:60])
    else:
        file.touch()
        (path / "scale0" / "._x").touch()
    image(".ome.zarr", 1).save(path, overwrite=True)
    assert vx.ScalarImage(path).numpy().max() == 1


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr", ".hdr", ".img"])
@pytest.mark.parametrize("stopped", [OSError(errno.EIO, "I/O error"), KeyboardInterrupt()])
def test_of_two_files_none_is_replaced_before_both_are_on_disk(
    tmp_path, monkeypatch, suffix, stopped
):
    """New voxels under an old header would be read as an image that nobody has saved."""
    voxels = np.arange(60, dtype="i2").reshape(1, 3, 4, 5)
    vx.ScalarImage(tensor=voxels).save(tmp_path / f"a{suffix}")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before) == 2
    sync, synced = atomic_write.sync, []

    def refuses_the_second(path):
        synced.append(path)
        if len(synced) == 2:
            raise stopped
        sync(path)

    monkeypatch.setattr(atomic_write, "sync", refuses_the_second)
    other = vx.ScalarImage(tensor=(voxels * 300).astype("u2"))
    with pytest.raises((vx.VoxarrayError, KeyboardInterrupt)):
        other.save(tmp_path / f"a{suffix}", overwrite=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
