"""What preprocessing needs to know of an acquisition, and nothing that could name a patient.

Numbers are let through, and words only where they stand in the lists below: DICOM lets scanners and
their users write anything into most elements, so that an element's name promises nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voxarray.formats.dicom import tags
from voxarray.formats.dicom.functional_groups import Groups
from voxarray.source.volume_values import VolumeValues


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALITIES = _words(
    "BDUS BI BMD CR CT DG DX EC ECG ES GM HD IO IVOCT IVUS KER LS MG MR NM OAM OCT OP OPM OPT "
    "OPTBSV OPTENF OPV OT PT PX REG RF RG RTDOSE RTIMAGE SEG SM SRF STAIN TG US VA XA XC"
)
"""PS3.3, C.7.3.1.1.1; those that make images."""

RESCALE_TYPES = _words("OD HU US MGML Z_EFF ED EDW HU_MOD PCT normalized Hz")
"""PS3.3, C.11.1.1.2, and two of Philips's."""

UNITS = _words(
    "CNTS NONE CM2 CM2ML PCNT CPS BQML MGMINML UMOLMINML MLMING MLG 1CM UMOLML PROPCNTS PROPCPS "
    "MLMINML MLML GML STDDEV"
)
"""PS3.3, C.8.9.1.1.3."""

COMPLEX_COMPONENTS = _words("MAGNITUDE PHASE REAL IMAGINARY MIXED")
SEGMENTATION_TYPES = _words("BINARY FRACTIONAL LABELMAP")
FRACTION_TYPES = _words("PROBABILITY OCCUPANCY")
DOSE_UNITS = _words("GY RELATIVE")
ASL_CONTEXTS = _words("LABEL CONTROL M_ZERO_SCAN")

_SIEMENS = "SIEMENS MR HEADER"
_PHILIPS = "Philips Imaging DD 001"
_PHILIPS_MR = "Philips MR Imaging DD 001"

_NUMBERS = {
    "repetition_time": (tags.REPETITION_TIME, (tags.MR_TIMING_SEQUENCE,)),
    "inversion_time": (tags.INVERSION_TIME, ()),
    "flip_angle": (tags.FLIP_ANGLE, (tags.MR_TIMING_SEQUENCE,)),
    "magnetic_field_strength": (tags.FIELD_STRENGTH, ()),
    "slice_thickness": (tags.SLICE_THICKNESS, (tags.MEASURES_SEQUENCE,)),
    "segment": (tags.SEGMENT_NUMBER, (tags.SEGMENT_SEQUENCE,)),
    "maximum_fractional_value": (tags.MAXIMUM_FRACTION, ()),
}
_WORDS = {
    "modality": (tags.MODALITY, (), MODALITIES),
    "rescale_type": (tags.RESCALE_TYPE, (tags.TRANSFORMATION_SEQUENCE,), RESCALE_TYPES),
    "units": (tags.UNITS, (), UNITS),
    "dose_units": (tags.DOSE_UNITS, (), DOSE_UNITS),
    "complex_component": (tags.COMPLEX_COMPONENT, tags.FRAME_TYPE_SEQUENCES, COMPLEX_COMPONENTS),
    "segmentation_type": (tags.SEGMENTATION_TYPE, (), SEGMENTATION_TYPES),
    "segmentation_fractional_type": (tags.FRACTION_TYPE, (), FRACTION_TYPES),
    "asl_context": (tags.ASL_CONTEXT, (tags.ASL_SEQUENCE,), ASL_CONTEXTS),
    "photometric_interpretation": (tags.PHOTOMETRIC, (), frozenset({"MONOCHROME1"})),
}


def facts_of(groups: Groups) -> dict[str, Any]:
    """Facts of one plane, by the name under which ``image[...]`` finds them.

    Times are in ms, angles in degrees, field strength in tesla, thickness in mm, b-values in
    s/mm^2; a gradient direction is a unit vector in RAS+ world axes.
    """
    facts: dict[str, Any] = {}
    for key, (tag, sequences, vocabulary) in _WORDS.items():
        term = groups.text(tag, *sequences)
        if term in vocabulary:
            facts[key] = term
    for key, (tag, sequences) in _NUMBERS.items():
        facts[key] = groups.number(tag, *sequences)
    echo = groups.number(tags.EFFECTIVE_ECHO_TIME, tags.MR_ECHO_SEQUENCE)
    facts["echo_time"] = groups.number(tags.ECHO_TIME) if echo is None else echo
    facts["b_value"], facts["gradient_direction"] = _diffusion(groups)
    return {key: value for key, value in facts.items() if value is not None}


def facts_of_volumes(volumes: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Facts of an image: one value where its volumes agree, else a tuple with one per volume.

    Args:
        volumes: For each volume, the facts of its planes. What differs between those is left out.
    """
    shared = [_shared(planes) for planes in volumes]
    result = {}
    for key in sorted({key for facts in shared for key in facts}):
        values = VolumeValues(facts.get(key) for facts in shared)
        result[key] = values[0] if len(set(values)) == 1 else values
    return result


def _shared(planes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = planes
    return {
        key: value
        for key, value in first.items()
        if all(facts.get(key) == value for facts in others)
    }


def _diffusion(groups: Groups) -> tuple[float | None, tuple[float, ...] | None]:
    """b-value and gradient direction, as the standard or one of two manufacturers writes them.

    GE's directions are relative to the scan plane and the phase encoding, so they are left out.
    """
    b_value = groups.number(tags.B_VALUE, tags.DIFFUSION_SEQUENCE)
    lps = groups.inner(tags.DIFFUSION_SEQUENCE, tags.GRADIENT_DIRECTION_SEQUENCE).numbers(
        tags.GRADIENT_DIRECTION
    ) or groups.numbers(tags.GRADIENT_DIRECTION)
    if b_value is None and groups.text(tags.SIEMENS_CREATOR) == _SIEMENS:
        b_value = groups.number(tags.SIEMENS_B_VALUE)
        lps = groups.numbers(tags.SIEMENS_GRADIENT)
    elif b_value is None and groups.text(tags.PHILIPS_CREATOR) == _PHILIPS:
        b_value = groups.number(tags.PHILIPS_B_VALUE)
        if groups.text(tags.PHILIPS_MR_CREATOR) == _PHILIPS_MR:
            lps = tuple(n for tag in tags.PHILIPS_GRADIENT for n in groups.numbers(tag))
    if not b_value or len(lps) != 3 or not any(lps):
        return b_value, None
    return b_value, (-lps[0], -lps[1], lps[2])
