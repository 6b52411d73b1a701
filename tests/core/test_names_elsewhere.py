"""A name of another library, a slip, a field that is not there: the error says what is."""

from __future__ import annotations

import pytest
import torchio as tio

import voxarray as vx
from voxarray.core.names_elsewhere import IMAGE, MODULE, SUBJECT


@pytest.mark.parametrize("name", ["load", "open", "imread", "save"])
def test_the_package_names_what_to_use(name):
    with pytest.raises(AttributeError, match=r"vx\.ScalarImage|image\.save"):
        getattr(vx, name)


def test_a_slip_is_named():
    with pytest.raises(AttributeError, match=r"did you mean ScalarImage\?"):
        vx.Scalarimage  # noqa: B018


@pytest.mark.parametrize("name", ["get_fdata", "header", "astype", "ndim"])
def test_an_image_names_what_to_use(name):
    with pytest.raises(AttributeError, match=f"no attribute '{name}': .*image"):
        getattr(vx.testing.sample(), name)


def test_other_attributes_of_an_image_get_no_advice():
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        vx.testing.sample().nonsense  # noqa: B018


def test_a_property_that_fails_says_why():
    class Odd(vx.ScalarImage):
        @property
        def odd(self):
            raise AttributeError("the reason")

    image = vx.testing.sample()
    with pytest.raises(AttributeError, match=r"^the reason$"):
        Odd(tensor=image.data, affine=image.affine).odd  # noqa: B018


def test_no_advice_is_given_for_names_that_exist():
    image = vx.testing.sample()
    assert not set(MODULE) & set(vx.__all__)
    assert not [name for name in IMAGE if hasattr(image, name)]
    assert not [name for name in SUBJECT if hasattr(vx.Subject(t1=image), name)]


def test_a_missing_field_is_an_error_that_names_those_that_are_there():
    subject = vx.Subject(t1=vx.testing.sample(), age=4)
    with pytest.raises(KeyError, match=r"no field 't2' .* 't1', 'age'"):
        subject["t2"]
    with pytest.raises(KeyError) as caught:
        subject["t2"]
    assert "cohort" not in str(caught.value)
    with pytest.raises(KeyError, match=r"kept columns of a cohort, .* are in cohort\.table"):
        vx.Subject(subject="sub-01", t1=vx.testing.sample())["age"]
    with pytest.raises(AttributeError, match=r"its fields are 't1', 'age'"):
        subject.t2  # noqa: B018
    with pytest.raises(KeyError, match=r"no field 'x' in the image, which has 'type'"):
        subject.t1["x"]


@pytest.mark.parametrize(
    "transform", [tio.RandomFlip(), vx.ToCanonical, "flip"], ids=["torchio", "class", "text"]
)
def test_what_is_no_transform_is_refused_before_a_worker_meets_it(transform):
    subjects, sampler = [vx.Subject(t1=vx.testing.sample())], vx.UniformSampler(8)
    with pytest.raises(TypeError, match=r"TorchIOTransform|ToCanonical\(\.\.\.\)|callable"):
        vx.PatchDataset(subjects, sampler, transform=transform)
    with pytest.raises(TypeError, match="transform"):
        vx.Compose([transform])


def test_what_is_no_sampler_is_refused_before_a_worker_meets_it():
    subjects = [vx.Subject(t1=vx.testing.sample())]
    with pytest.raises(TypeError, match=r"32 is not a sampler: pass vx\.UniformSampler\(32\)"):
        vx.PatchDataset(subjects, 32)
    with pytest.raises(TypeError, match=r"such as vx\.UniformSampler\(32\)"):
        vx.IterablePatchDataset(subjects, vx.UniformSampler)
