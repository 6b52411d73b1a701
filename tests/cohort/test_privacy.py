"""What could name a patient is nowhere in a cohort, its reports or its messages."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, array, run, save

import dicom_samples
import voxarray as vx


class Canaries:
    """Texts that nobody else writes, numbered."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, length: int = 12) -> str:
        self.count += 1
        return f"CNRY{self.count:04}XYZ"[:length]


def nifti(path: Path, canaries: Canaries) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array(1), AFFINE)
    header = image.header
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        header[field] = canaries.new().encode()
    for code in (4, 6, 32, 44):
        text = canaries.new().encode()
        header.extensions.append(nib.nifti1.Nifti1Extension(code, text))
    nib.save(image, path)


def hits(folder: Path) -> list[str]:
    return [
        str(file) for file in folder.rglob("*") if file.is_file() and b"CNRY" in file.read_bytes()
    ]


def plant(folder: Path, canaries: Canaries) -> None:
    """A series of DICOM files with a canary in each text element and in private ones."""
    from pydicom import dcmread
    from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag

    texts = {"LO", "SH", "PN", "LT", "ST", "UT", "UC"}
    tags = [
        tag
        for tag, entry in sorted(DicomDictionary.items())
        if entry[0] in texts and not entry[3] and 0x0008 <= tag >> 16 <= 0x0040
    ]
    for file in folder.iterdir():
        data = dcmread(file)
        for tag in tags[:170]:
            keyword = keyword_for_tag(tag)
            if keyword and keyword not in ("SpecificCharacterSet",) and tag not in data:
                data.add_new(tag, dictionary_VR(tag), canaries.new())
        for group in (0x0009, 0x0019, 0x0029):
            block = data.private_block(group, canaries.new(), create=True)
            block.add_new(1, "LO", canaries.new())
            block.add_new(2, "UN", canaries.new().encode())
        data.PatientName, data.PatientID = canaries.new(), canaries.new()
        data.save_as(file)


def test_no_canary_comes_through(tmp_path):
    canaries = Canaries()
    source = tmp_path / "in"
    nifti(source / "good.nii.gz", canaries)
    nifti(source / "plain.nii", canaries)
    nifti(source / "cut.nii", canaries)
    cut = (source / "cut.nii").read_bytes()
    (source / "cut.nii").write_bytes(cut[:-700])
    dicom_samples.series(source / "series")
    dicom_samples.series(source / "broken")
    plant(source / "series", canaries)
    plant(source / "broken", canaries)
    sorted((source / "broken").iterdir())[1].unlink()  # a slice is missing
    assert canaries.count >= 200
    result = run("convert", source, tmp_path / "out")
    assert result.exit_code == 3
    assert len(vx.Cohort(tmp_path / "out")) == 3
    assert hits(tmp_path / "out") == []
    for command in (("finalise",), ("catalogue",), ("verify",), ("plan", source)):
        told = run(*command, tmp_path / "out")
        assert "CNRY" not in told.output + told.stderr
    assert "CNRY" not in result.output + result.stderr


def test_paths_of_this_machine_are_nowhere(tmp_path):
    source = tmp_path / "secret-folder"
    save(source / "x/a.nii")
    (source / "x/bad.nii").write_bytes(b"")
    run("convert", source, tmp_path / "out")
    found = [
        file
        for file in (tmp_path / "out").rglob("*")
        if file.is_file() and b"secret-folder" in file.read_bytes()
    ]
    assert found == []


def test_metadata_named_by_keep_metadata_are_kept(tmp_path):
    canaries = Canaries()
    nifti(tmp_path / "in/a.nii.gz", canaries)
    dicom_samples.series(tmp_path / "in/series")
    plant(tmp_path / "in/series", canaries)
    asked = ("--keep-metadata", "descrip", "--keep-metadata", "PatientComments")
    assert run("convert", tmp_path / "in", tmp_path / "out", *asked).exit_code == 0
    table = vx.Cohort(tmp_path / "out").table.set_index("subject")
    assert table.descrip["a"].startswith("CNRY")
    assert table.PatientComments["series"].startswith("CNRY")
    assert "aux_file" not in table
    assert np.isfinite(table.minimum).all()


def test_fields_to_keep_are_read_within_bounds(tmp_path):
    """A field of a header may have any length; none beyond that of a text is read."""
    from pydicom import dcmread
    from pydicom.dataset import Dataset

    from voxarray.cohort.plan.retained_fields import kept_of
    from voxarray.core.errors import FormatError

    data = Dataset()
    data.file_meta = Dataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.PatientComments, data.PatientAge = "x" * (1 << 20), "042Y"
    data.save_as(
        tmp_path / "a.dcm", implicit_vr=False, little_endian=True, enforce_file_format=False
    )
    raw = (tmp_path / "a.dcm").read_bytes()
    if raw[128:132] != b"DICM":
        (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + raw)
    assert dcmread(tmp_path / "a.dcm").PatientAge == "042Y"
    location = str(tmp_path / "a.dcm")
    assert kept_of(location, ("PatientAge",)) == {"PatientAge": "042Y"}
    with pytest.raises(FormatError) as caught:
        kept_of(location, ("PatientComments", "PatientAge"))
    assert caught.value.code == "FIELD_TOO_LONG"
