"""The header against nibabel, and against the failures that FAILURES.md lists."""

from __future__ import annotations

import itertools
import math
import pickle
import struct
import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.quaternions import mat2quat, quat2mat

import voxarray as vx
from voxarray.core.errors import (
    FormatError,
    TruncatedError,
    UnsupportedError,
    VoxarrayError,
    VoxarrayWarning,
)
from voxarray.core.scaling import Scaling
from voxarray.formats.nifti.header_warnings import _are_near, remarks
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.nifti_header.adapt import _little_endian
from voxarray.nifti_header.build import header_for, stored_dtype
from voxarray.nifti_header.fields import LAYOUT
from voxarray.nifti_header.header import NiftiHeader
from voxarray.nifti_header.write_fields import blank
from voxarray.source.base import Channels
from voxarray.testing.strategies import affines, shapes

VERSIONS = {1: nib.Nifti1Header, 2: nib.Nifti2Header}
TURNED = np.array([[0.0, -2, 0, 10], [1.5, 0, 0.3, -20], [0, 0.1, 3, 30], [0, 0, 0, 1]])


def made(version=1, endian="<", shape=(5, 6, 7), dtype=np.int16, **fields):
    header = VERSIONS[version](endianness=endian)
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_zooms((2.0, 3.0, 4.0, 1.5, 1.0, 1.0, 1.0)[: len(shape)])
    for name, value in fields.items():
        header[name] = value
    return header


def parsed(header):
    return NiftiHeader.parse(header.binaryblock)


def test_layouts_are_nibabels():
    for version, cls in VERSIONS.items():
        theirs, ours = cls.template_dtype, LAYOUT[version]
        assert ours.itemsize == theirs.itemsize
        for name in set(theirs.names) & set(ours.names):
            assert ours.fields[name][1] == theirs.fields[name][1]
            assert ours.fields[name][0] == theirs.fields[name][0]
        for ours_name, first in [
            ("intent_p", "intent_p1"),
            ("quatern", "quatern_b"),
            ("qoffset", "qoffset_x"),
            ("srow", "srow_x"),
        ]:
            assert ours.fields[ours_name][1] == theirs.fields[first][1]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(("sform", "qform"), list(itertools.product([None, 0, 1, 4, 9], repeat=2)))
def test_affine_is_nibabels(version, endian, sform, qform):
    header = made(version, endian)
    if sform is not None:
        header.set_sform(TURNED, 1)
        header["sform_code"] = sform
    if qform is not None:
        header.set_qform(TURNED, 1)
        header["qform_code"] = qform
    expected = VERSIONS[version](header.binaryblock, endian, check=True).get_best_affine()
    # Both form the product of rotation and spacing from a quaternion, whose last bit depends on
    # the order in which a release of NumPy adds.
    np.testing.assert_allclose(parsed(header).affine, expected, rtol=1e-14, atol=1e-14)
    assert parsed(header).affine.dtype == np.float64
    assert not parsed(header).affine.flags.writeable
    assert (parsed(header).version, parsed(header).byteorder) == (version, endian)


@given(affines(), st.booleans(), st.sampled_from([1, 2]))
def test_random_affines_are_nibabels(affine, as_sform, version):
    header = made(version)
    if as_sform:
        header.set_sform(affine, 1)
    else:
        header.set_qform(affine, 1)
    expected = header.get_best_affine()
    np.testing.assert_allclose(parsed(header).affine, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (5, 6), (5, 6, 7), (5, 6, 7, 1), (5, 6, 7, 4)])
def test_without_codes_the_affine_is_nibabels(shape):
    header = made(shape=shape)
    header["pixdim"][3] = 9 if len(shape) < 3 else 4
    assert np.array_equal(parsed(header).affine, header.get_best_affine())


@pytest.mark.parametrize("qfac", [0, 3, math.nan])
def test_invalid_handedness_counts_as_right(qfac):
    header = made()
    header.set_qform(TURNED, 1)
    header["pixdim"][0] = qfac
    fixed = nib.Nifti1Header(header.binaryblock)
    assert np.array_equal(parsed(header).affine, fixed.get_best_affine())


@pytest.mark.parametrize(
    ("dims", "units", "intent", "shape", "channels"),
    [
        ((5, 6), 2, 0, (1, 5, 6, 1), Channels()),
        ((5, 6, 7), 2 + 8, 0, (1, 5, 6, 7), Channels()),
        ((5, 6, 7, 4), 2 + 8, 0, (4, 5, 6, 7), Channels("time", 1.5)),
        ((5, 6, 7, 4), 2 + 16, 0, (4, 5, 6, 7), Channels("time", 1.5 * 1e-3)),
        ((5, 6, 7, 4), 2 + 24, 0, (4, 5, 6, 7), Channels("time", 1.5 * 1e-6)),
        ((5, 6, 7, 4), 2, 0, (4, 5, 6, 7), Channels("time", 1.5)),
        ((5, 6, 7, 4), 2 + 32, 0, (4, 5, 6, 7), Channels()),
        ((5, 6, 7, 4), 2, 1007, (4, 5, 6, 7), Channels()),
        ((5, 6, 7, 1, 3), 2 + 8, 1007, (3, 5, 6, 7), Channels()),
        ((5, 6, 7, 1, 3), 2, 0, (3, 5, 6, 7), Channels()),
        ((5, 6, 7, 4, 1), 2 + 8, 0, (4, 5, 6, 7), Channels("time", 1.5)),
        ((5, 6, 7, 1, 1, 1, 1), 2, 1007, (1, 5, 6, 7), Channels()),
    ],
)
def test_axes(dims, units, intent, shape, channels):
    header = parsed(made(shape=dims, xyzt_units=units, intent_code=intent))
    assert header.shape == shape
    assert header.channels == channels


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.complex64])
@pytest.mark.parametrize("version", [1, 2])
def test_scaling(version, dtype):
    def scaling(slope, inter):
        return parsed(made(version, dtype=dtype, scl_slope=slope, scl_inter=inter)).scaling

    assert scaling(0, 7) is None
    assert scaling(math.nan, math.nan) is None
    assert scaling(1, 0) is None
    assert scaling(2, math.ldexp(1, -3)) == Scaling(2, 0.125)
    for slope, inter in [(math.inf, 0), (-math.inf, 0), (1, math.nan), (2, math.inf)]:
        with pytest.raises(FormatError, match="scl_slope") as caught:
            scaling(slope, inter)
        assert caught.value.code == "BAD_SCALE"


def raw_dim(*dims):
    return {"dim": [*dims, *[1] * (8 - len(dims))]}


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("BAD_DIMS", raw_dim(3, -8, 8, 8)),
        ("BAD_DIMS", raw_dim(3, 8, 0, 8)),
        ("BAD_DIMS", raw_dim(0, 8, 8, 8)),
        ("BAD_DIMS", raw_dim(8, 8, 8, 8)),
        ("UNSUPPORTED_DIMS", raw_dim(5, 5, 6, 7, 2, 3)),
        ("UNSUPPORTED_DIMS", raw_dim(6, 5, 6, 7, 1, 2, 3)),
        ("BAD_OFFSET", {"vox_offset": 100}),
        ("BAD_OFFSET", {"vox_offset": -352}),
        ("BAD_SPACING", {"pixdim": [1, 0, 1, 1, 1, 1, 1, 1]}),
        ("BAD_SPACING", {"pixdim": [1, 1, math.nan, 1, 1, 1, 1, 1]}),
        ("BAD_SPACING", {"pixdim": [1, 1, math.inf, 1, 1, 1, 1, 1]}),
        ("BAD_AFFINE", {"sform_code": 1}),
        ("BAD_AFFINE", {"sform_code": 1, "srow_x": [math.nan, 0, 0, 0]}),
        ("BAD_AFFINE", {"qform_code": 1, "quatern_b": 1.2}),
        ("BAD_AFFINE", {"qform_code": 1, "quatern_b": math.nan}),
        ("BAD_AFFINE", {"qform_code": 1, "qoffset_x": math.inf}),
        ("UNSUPPORTED_DTYPE", {"datatype": 1536}),
        ("UNSUPPORTED_DTYPE", {"datatype": 2048}),
        ("UNSUPPORTED_DTYPE", {"datatype": 1}),
        ("UNSUPPORTED_DTYPE", {"datatype": 4711}),
        ("BAD_SCALE", {"scl_slope": math.inf}),
        ("NOT_NIFTI", {"magic": b"n+7"}),
        ("NOT_NIFTI", {"sizeof_hdr": 349}),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_impossible_headers(version, code, fields):
    header = made(version, **fields)
    with pytest.raises(FormatError) as caught:
        parsed(header)
    assert caught.value.code == code
    if code.startswith("UNSUPPORTED"):
        assert isinstance(caught.value, UnsupportedError)


@pytest.mark.parametrize("value", [math.nan, math.inf, 352.5, 1e30])
def test_offsets_of_nifti1_are_floats(value):
    header = made(vox_offset=value)
    with pytest.raises(FormatError) as caught:
        parsed(header).check_extent(10_000, compressed=False)
    assert caught.value.code == "BAD_OFFSET"


def test_offset_zero_means_right_after_the_header():
    assert parsed(made(vox_offset=0)).offset == 352
    assert parsed(made(2, vox_offset=0)).offset == 544


def test_extent():
    header = parsed(made())
    whole = 352 + 5 * 6 * 7 * 2
    header.check_extent(whole, compressed=False)
    with pytest.raises(TruncatedError, match=rf"promises {whole} bytes, but the file has 600"):
        header.check_extent(600, compressed=False)
    header.check_extent(60, compressed=True)
    for size in (2100, 32767):
        huge = parsed(made(shape=(size, size, size)))
        for compressed in (True, False):
            with pytest.raises(FormatError, match="cannot hold them") as caught:
                huge.check_extent(10_000, compressed=compressed)
            assert caught.value.code == "DIMS_EXCEED_FILE"


@pytest.mark.parametrize(
    ("remark", "fields"),
    [
        ("BITPIX_MISMATCH", {"bitpix": 8}),
        ("NEGATIVE_SPACING", {"pixdim": [1, -2, 3, 4, 1, 1, 1, 1]}),
        ("NOT_MILLIMETRES", {"xyzt_units": 1}),
        ("NOT_MILLIMETRES", {"xyzt_units": 3 + 8}),
        ("UNKNOWN_XFORM", {"sform_code": 77}),
    ],
)
def test_remarks(remark, fields):
    (found,) = remarks(parsed(made(**fields)))
    assert found.startswith(remark)


def test_conflicting_transforms_are_remarked_where_they_claim_the_same_space():
    header = made()
    header.set_sform(np.diag([2.0, 3, 4, 1]), 1)
    header.set_qform(np.diag([2.0, 3, 4, 1]), 1)
    assert remarks(parsed(header)) == []
    header["qoffset_x"] = 5
    (found,) = remarks(parsed(header))
    assert found.startswith("XFORM_CONFLICT")
    header["sform_code"] = 4
    assert remarks(parsed(header)) == []


@given(
    seed=st.integers(0, 2**32 - 1),
    moved=st.sampled_from([0, 1e-7, 0.02, 0.04, 0.06, 0.3, 3]),
    qfac=st.sampled_from([1.0, -1.0]),
)
def test_what_is_near_at_a_glance_is_near(seed, moved, qfac):
    rng = np.random.default_rng(seed)
    header = made(shape=tuple(rng.integers(1, 40, 3)))
    turn = rng.normal(size=4)
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = turn[:3] / np.hypot.reduce(turn)
    header["pixdim"][:4] = [qfac, *rng.uniform(0.3, 4, 3)]
    header["qform_code"] = header["sform_code"] = 1
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = rng.normal(size=3) * 50
    held = header.get_qform()
    held[:3] += rng.normal(size=(3, 4)) * moved
    for row, name in zip(held, ("srow_x", "srow_y", "srow_z"), strict=False):
        header[name] = row
    found = parsed(header)
    at_a_glance, remarked = _are_near(found), remarks(found)
    assert not (at_a_glance and remarked)
    assert at_a_glance or moved


def test_a_half_turn_is_near_at_a_glance_as_nibabel_takes_it():
    """A real part that may be rounding counts as 0, whatever turn an sform holds of it."""
    header = made(shape=(512, 512, 2))
    real = np.sqrt(1 - (1 - 3 * 2.0**-24) ** 2)
    exact = np.eye(4)
    exact[:3, :3] = quat2mat([real, 0, 0, 1 - 3 * 2.0**-24])
    header.set_sform(exact, 1)
    header["pixdim"][:4] = 1
    header["qform_code"], header["quatern_d"] = 1, 1 - 3 * 2.0**-24
    assert np.abs((header.get_qform() - exact) @ [511, 511, 0, 1]).max() > 0.5
    assert remarks(parsed(header))
    header.set_sform(header.get_qform(), 1)
    assert _are_near(parsed(header))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_fields_are_taken_over_at_once_as_one_by_one(version, endian):
    rng = np.random.default_rng(version)
    raw = np.frombuffer(rng.bytes(LAYOUT[version].itemsize), LAYOUT[version])[0].copy()
    record = raw.astype(LAYOUT[version].newbyteorder(endian))
    for name, value in (
        ("sizeof_hdr", 348 if version == 1 else 540),
        ("dim", [3, 5, 6, 7, 1, 1, 1, 1]),
    ):
        record[name] = value
    header = NiftiHeader(record.tobytes())
    taken, one_by_one = _little_endian(header, (1, 5, 6, 7)), blank(version)
    assert taken.dtype == one_by_one.dtype
    for name in {*record.dtype.names} - {"sizeof_hdr", "magic", "vox_offset", "eol_check"}:
        one_by_one[name] = header.record[name]
    assert taken.tobytes() == one_by_one.tobytes()


def test_negative_spacing_counts_as_positive():
    header = made(qform_code=1, pixdim=[1, -2, 3, -4, 1, 1, 1, 1])
    assert np.array_equal(np.diag(parsed(header).affine), [2, 3, 4, 1])


def test_colours():
    header = made(dtype=np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert parsed(header).shape == (3, 5, 6, 7)
    assert parsed(header).stored == np.uint8
    assert remarks(parsed(header)) == []


def test_pickle_and_equality():
    header = parsed(made())
    assert header.shape  # cached before pickling
    again = pickle.loads(pickle.dumps(header))
    assert again == header
    assert hash(again) == hash(header)
    assert not again.affine.flags.writeable


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_scrubbing_drops_all_text_and_nothing_else(version, endian):
    texts = ["db_name", "descrip", "aux_file", "intent_name", "data_type"]
    header = made(version, endian, vox_offset=4096, cal_max=7)
    plain = made(version, endian, cal_max=7)
    for name in set(texts) & set(header.keys()):
        header[name] = b"CANARY"
    scrubbed = parsed(header).scrubbed()
    assert b"CANARY" not in scrubbed
    assert b"CANARY" in parsed(header).raw
    plain["vox_offset"] = {1: 352, 2: 544}[version]
    assert scrubbed == plain.binaryblock


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_headers_raise_only_our_errors(data):
    version = data.draw(st.sampled_from([1, 2]))
    raw = bytearray(made(version, data.draw(st.sampled_from("<>"))).binaryblock)
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(4, len(raw) - 8))
        raw[start : start + 8] = data.draw(st.binary(min_size=8, max_size=8))
    try:
        header = NiftiHeader.parse(bytes(raw))
        header.check_extent(5000, compressed=data.draw(st.booleans()))
    except VoxarrayError:
        return
    assert math.prod(header.shape) > 0
    assert np.isfinite(header.affine).all()
    assert all(isinstance(remark, str) for remark in remarks(header))
    assert len(header.scrubbed()) == len(raw)
    assert header.channels.step >= 0


@given(st.binary(max_size=600))
def test_arbitrary_bytes_raise_only_our_errors(raw):
    with pytest.raises(VoxarrayError):
        NiftiHeader.parse(raw)
    with pytest.raises(VoxarrayError):
        NiftiHeader.parse(struct.pack("<i", 348) + raw)


# --- Building ---------------------------------------------------------------------------------


@given(affines(), shapes(max_size=40))
def test_built_headers_say_what_was_asked_for(affine, shape):
    header = NiftiHeader.parse(header_for(shape, np.dtype(np.uint16), affine))
    assert (header.shape, header.stored, header.scaling) == (shape, np.dtype("<u2"), None)
    np.testing.assert_allclose(header.affine, affine, rtol=1e-6, atol=1e-4)
    assert np.array_equal(header.affine, nib.Nifti1Header(header.raw).get_best_affine())
    assert remarks(header) == []


@given(affines(sheared=False))
def test_orthogonal_affines_get_a_qform_too(affine):
    header = nib.Nifti1Header(header_for((1, 4, 5, 6), np.dtype("u1"), affine))
    assert header["sform_code"] == 1
    np.testing.assert_allclose(header.get_sform(), affine, rtol=1e-6, atol=1e-30)
    rotation = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if header["qform_code"] == 0:  # only near a half turn, which float32 cannot hold
        turned = np.trace(rotation * np.sign(np.linalg.det(rotation)))
        assert turned < 0
        return
    spacing = np.linalg.norm(affine[:3, :3], axis=0).max()
    np.testing.assert_allclose(header.get_qform(), affine, rtol=1e-4, atol=1.1e-3 * spacing)
    rotation = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    rotation[:, 2] *= header["pixdim"][0]
    np.testing.assert_allclose(
        np.abs(header.get_qform_quaternion()), np.abs(mat2quat(rotation)), atol=2e-3
    )


def test_sheared_affines_get_no_qform():
    affine = np.eye(4)
    affine[0, 1] = 0.2
    assert nib.Nifti1Header(header_for((1, 4, 5, 6), np.dtype("u1"), affine))["qform_code"] == 0


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["sform", "qform", "none"])
def test_a_template_keeps_the_affine_to_the_last_bit(version, kind):
    template = made(version, ">", shape=(5, 6, 7, 4), cal_max=9, descrip=b"x", xyzt_units=18)
    if kind != "none":
        getattr(template, f"set_{kind}")(TURNED / 3 + np.diag([0, 0, 0, 2 / 3]), 4)
    header = parsed(template)
    again = NiftiHeader.parse(
        header_for(
            header.shape, np.dtype("f4"), header.affine, header.channels, template=header.raw
        )
    )
    assert np.array_equal(again.affine, header.affine)
    assert (again.channels, again.version) == (header.channels, version)
    assert again.record["sform_code"] == header.record["sform_code"]
    assert again.record["cal_max"] == 9
    fewer = header_for((1, 5, 6, 7), np.dtype("f4"), header.affine, template=header.raw)
    assert np.array_equal(NiftiHeader.parse(fewer).affine, header.affine)


def test_a_template_of_another_place_gives_what_still_holds():
    header = parsed(
        made(cal_max=9, sform_code=3, srow_x=[1, 0, 0, 0], srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1, 0])
    )
    moved = header.affine.copy()
    moved[0, 3] += 1
    again = NiftiHeader.parse(header_for(header.shape, np.dtype("f4"), moved, template=header.raw))
    assert np.array_equal(again.affine, moved)
    assert (again.record["cal_max"], again.record["sform_code"]) == (9, 3)


def test_large_images_need_nifti2():
    assert len(header_for((1, 32767, 2, 2), np.dtype("u1"), np.eye(4))) == 348
    header = header_for((1, 32768, 2, 2), np.dtype("u1"), np.eye(4))
    assert len(header) == 540
    assert nib.Nifti2Header(header).get_data_shape() == (32768, 2, 2)


@pytest.mark.parametrize(
    ("shape", "channels", "dims"),
    [
        ((1, 5, 6, 7), Channels(), (5, 6, 7)),
        ((3, 5, 6, 7), Channels(), (5, 6, 7, 1, 3)),
        ((3, 5, 6, 7), Channels("time", 0.5), (5, 6, 7, 3)),
        ((1, 5, 6, 7), Channels("time", 0.5), (5, 6, 7, 1)),
    ],
)
def test_built_axes(shape, channels, dims):
    raw = header_for(shape, np.dtype("u1"), np.eye(4), channels)
    assert nib.Nifti1Header(raw).get_data_shape() == dims
    assert NiftiHeader.parse(raw).channels == channels
    assert nib.Nifti1Header(raw).get_intent()[0] == ("vector" if len(dims) == 5 else "none")


def test_types_that_nifti_does_not_have():
    assert stored_dtype(np.dtype(bool)) == np.uint8
    assert stored_dtype(np.dtype(">i2")) == np.dtype("<i2")
    for dtype in ("f2", "S3", "O", "M8[s]", np.longdouble):
        with pytest.raises(UnsupportedError, match="convert them first") as caught:
            header_for((1, 2, 2, 2), np.dtype(dtype), np.eye(4))
        assert caught.value.code == "UNSUPPORTED_DTYPE"


# --- What others read -------------------------------------------------------------------------


def rewritten(path, version=1, **fields):
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = kind(voxels, TURNED)
    image.header.set_sform(TURNED, 2)
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    header = np.frombuffer(raw, LAYOUT[version], 1)  # shares its memory
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pixdim", [0, math.nan])
def test_an_sform_says_the_spacing_where_pixdim_does_not(tmp_path, version, pixdim):
    path = rewritten(tmp_path / "a.nii", version, pixdim=[1, pixdim, 1, 1, 0, 0, 0, 0])
    with pytest.warns(VoxarrayWarning, match="BAD_SPACING"):
        source = open_source(path)
    assert np.array_equal(source.affine, nib.load(path).affine)
    vx.ScalarImage(path).save(tmp_path / "b.nii")
    spacing = np.linalg.norm(TURNED[:3, :3], axis=0)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").header.get_zooms(), spacing, rtol=1e-5)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").affine, source.affine)


@pytest.mark.parametrize("dim", [[4, 2, 3, 4, 0, 0, 0, 0], [5, 2, 3, 4, 1, 0, 0, 0]])
def test_axes_beyond_space_without_a_size_count_as_one(tmp_path, dim):
    path = rewritten(tmp_path / "a.nii", dim=dim)
    with pytest.warns(VoxarrayWarning, match="ZERO_DIM"):
        source = open_source(path)
    assert source.shape == (1, 2, 3, 4)
    vx.ScalarImage(path).save(tmp_path / "b.nii")
    assert 0 not in nib.load(tmp_path / "b.nii").shape


def test_surfaces_of_freesurfer_are_a_row_of_vertices(tmp_path):
    voxels = np.arange(163_842, dtype=np.int32).reshape((27_307, 1, 6), order="F")
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    theirs = nib.load(tmp_path / "a.nii")
    assert theirs.shape == (163_842, 1, 1)
    with pytest.warns(VoxarrayWarning, match="SURFACE"):
        source = open_source(tmp_path / "a.nii")
    assert source.shape == (1, *theirs.shape)
    found = source.read(Selection.whole(source.shape))[0]
    assert np.array_equal(found, np.asanyarray(theirs.dataobj))
    vx.ScalarImage(tmp_path / "a.nii").save(tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").shape == (163_842, 1, 1)


def test_a_long_row_stands_in_glmin(tmp_path):
    path = rewritten(tmp_path / "a.nii", dim=[3, -1, 1, 1, 1, 1, 1, 1], glmin=24)
    with pytest.warns(VoxarrayWarning, match="SURFACE"):
        source = open_source(path)
    assert source.shape == (1, *nib.load(path).shape) == (1, 24, 1, 1)
    path = rewritten(tmp_path / "b.nii", dim=[3, -1, 1, 1, 1, 1, 1, 1], glmin=0)
    with pytest.raises(FormatError) as caught:
        open_source(path)
    assert caught.value.code == "BAD_DIMS"


@pytest.mark.parametrize(
    ("unit", "mm"), [(b"um", 1e-3), (b"cm", 10), (b"mm", 1), (b"", 1), (b"xyz", 1)]
)
def test_units_of_analyze(tmp_path, unit, mm):
    image = nib.AnalyzeImage(np.zeros((2, 3, 4), np.int16), None)
    image.header.set_zooms((2, 3, 4))
    image.to_filename(tmp_path / "a.img")
    raw = bytearray((tmp_path / "a.hdr").read_bytes())
    raw[56:60] = unit.ljust(4, b"\0")
    (tmp_path / "a.hdr").write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = open_source(tmp_path / "a.img")
    np.testing.assert_allclose(source.grid.spacing, np.multiply((2, 3, 4), mm))


@pytest.mark.parametrize("version", [1, 2])
def test_a_blank_header_is_its_owners_alone(version):
    ours, expected = blank(version), blank(version).tobytes()
    ours["dim"], ours["magic"], ours["pixdim"] = 7, b"x", 3
    assert ours.tobytes() != expected
    assert blank(version).tobytes() == expected
