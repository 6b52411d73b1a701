"""What identifies a patient stays in the file: words that stand nowhere else are looked for."""

from __future__ import annotations

import traceback
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary

import dicom_samples as samples
import voxarray as vx
from voxarray.core.errors import VoxarrayError

TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
MARK = "KANARI"

KEPT = {
    # Without these a plane has no place, type or volume.
    "PhotometricInterpretation",
    "SpecificCharacterSet",
}


def words():
    """Keyword and mark for every element of text that DICOM knows."""
    found = {}
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        is_data = tag >> 16 > 2  # what comes before are commands, and the file's own frame
        if is_data and vr in TEXT and keyword and not retired and keyword not in KEPT:
            found[keyword] = f"{MARK}{tag:X}"
    return found


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A series with a mark in every element of text, and in private ones."""
    folder = tmp_path_factory.mktemp("planted")
    marks = words()
    assert len(marks) > 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for z, pixels in enumerate(samples.volume(4, 64, 64)):
            dataset = samples.placed(pixels, (0, 0, 2.0 * z), z + 1, **marks)
            for number, creator in ((0x0019, "SIEMENS MR HEADER"), (0x0011, f"{MARK}PRIVATE")):
                block = dataset.private_block(number, creator, create=True)
                block.add_new(0x01, "LO", f"{MARK}PRIVATE")
                block.add_new(0x02, "UN", f"{MARK}PRIVATE".encode())
            samples.save(dataset, folder / f"{z}.dcm")
    return folder


def test_the_marks_are_in_the_files(planted):
    content = (planted / "0.dcm").read_bytes()
    assert content.count(MARK.encode()) > 1000


def test_image_and_metadata(planted):
    image = vx.ScalarImage(planted)
    image.load()
    shown = [repr(image), str(dict(image)), str(image.source.base), str(image.array.attrs)]
    shown.append(str({key: image[key] for key in image.source.metadata}))
    shown.append(str(vx.DicomReader().list_series(planted)))
    assert not [text for text in shown if MARK in text]


def test_archive(planted, tmp_path):
    vx.ScalarImage(planted).save(tmp_path / "a.ome.zarr")
    files = [path for path in (tmp_path / "a.ome.zarr").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if MARK.encode() in path.read_bytes()]


BREAKS = {
    "NON_UNIFORM_SPACING": {"ImagePositionPatient": [0, 0, 7.3]},
    "MIXED_ORIENTATION": {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]},
    "MIXED_SPACING": {"PixelSpacing": [3, 3]},
    "BAD_NUMBER": {"RescaleSlope": MARK},
    "BAD_SCALE": {"RescaleSlope": 0},
    "MOSAIC": {"ImageType": ["MOSAIC", MARK]},
    "UNSUPPORTED_DTYPE": {"PhotometricInterpretation": MARK},
    "MULTIPLE_SERIES": {"SeriesInstanceUID": "1.2.3", "SeriesDescription": MARK},
    "BAD_DIMS": {"Rows": 0},
    "BAD_BITS": {"HighBit": 3},
    "BAD_SPACING": {"PixelSpacing": [0, 1]},
    "BAD_ORIENTATION": {"ImageOrientationPatient": [1, 0, 0, 0.5, 0.8660254, 0]},
    "TRUNCATED": {"NumberOfFrames": 40},
}


@pytest.mark.parametrize("code", BREAKS)
def test_errors(planted, tmp_path, code):
    for path in planted.iterdir():
        dataset = pydicom.dcmread(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.name == "3.dcm" or code in ("BAD_ORIENTATION",):
                if code == "BAD_NUMBER":
                    dataset["RescaleSlope"] = pydicom.DataElement(0x00281053, "LO", MARK)
                else:
                    samples.put(dataset, BREAKS[code])
            samples.save(dataset, tmp_path / path.name)
    with warnings.catch_warnings(record=True) as warned, pytest.raises(VoxarrayError) as caught:
        vx.ScalarImage(tmp_path).load()
    assert caught.value.code == code
    text = "".join(traceback.format_exception(caught.value, chain=True, limit=0))
    assert MARK not in text + str(warned)


def test_words_of_the_lists_pass(tmp_path):
    samples.series(
        tmp_path,
        Modality="PT",
        Units="BQML",
        RescaleType="HU",
        RescaleSlope=2,
        RepetitionTime=2000,
        EchoTime=30,
        FlipAngle=9,
        MagneticFieldStrength=1.5,
    )
    image = vx.ScalarImage(tmp_path)
    facts = {key: image[key] for key in image.source.metadata}
    assert facts == {
        "modality": "PT",
        "units": "BQML",
        "rescale_type": "HU",
        "repetition_time": 2000,
        "echo_time": 30,
        "flip_angle": 9,
        "magnetic_field_strength": 1.5,
        "slice_thickness": 2,
    }


def test_facts_are_no_fields_until_the_file_is_left(tmp_path):
    samples.series(tmp_path)
    image = vx.ScalarImage(tmp_path, protocol="mine")
    fields = {"path", "stem", "type", "protocol"}
    assert image["modality"] == "CT"
    assert image["protocol"] == "mine"
    assert image[1:3]["modality"] == "CT"
    assert "modality" not in image
    assert image.get("modality") is None
    assert set(image) == fields
    with pytest.raises(KeyError, match="echo_time"):
        image["echo_time"]
    image.load()
    assert set(image) == fields | {"data", "affine"}
    image.set_data(np.zeros((1, 2, 2, 2), np.int16))
    assert image["modality"] == "CT"
    assert "modality" in image
    assert vx.ScalarImage(tmp_path).compute()["modality"] == "CT"


def test_own_metadata_wins(tmp_path):
    samples.series(tmp_path)
    assert vx.ScalarImage(tmp_path, modality="mine")["modality"] == "mine"


def test_facts_that_differ_between_slices_are_left_out(tmp_path):
    samples.series(tmp_path, each=lambda z: {"SliceThickness": 1.0 + z})
    assert "slice_thickness" not in vx.ScalarImage(tmp_path).source.metadata


def test_memory_has_no_facts():
    with pytest.raises(KeyError, match="modality"):
        vx.ScalarImage(tensor=np.zeros((1, 2, 2, 2)))["modality"]
