"""Images, subjects and patches that make no batch together: the error names the field."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx


def _subject(channels=1, **fields):
    return vx.Subject(t1=vx.ScalarImage(tensor=torch.ones(channels, 5, 4, 3)), **fields)


def _batch(subjects, kind):
    if kind == "patches":
        subjects = vx.PatchDataset(subjects, vx.UniformSampler(2))
    return next(iter(DataLoader(subjects, batch_size=len(subjects))))


@pytest.mark.parametrize("kind", ["wholes", "patches"])
@pytest.mark.parametrize(
    ("one", "other", "code", "said"),
    [
        ({"channels": 1}, {"channels": 2}, "SHAPES_DIFFER", r"same number of channels.*\[:1,"),
        ({"age": 3}, {"age": "three"}, "FIELDS_DIFFER", "'age'.*types int, str"),
        ({"age": 3}, {"age": np.ones(2)}, "FIELDS_DIFFER", "'age'.*types int, ndarray"),
        (
            {"age": np.ones(3)},
            {"age": np.ones(2)},
            "SHAPES_DIFFER",
            r"arrays 'age'.*\(2,\), \(3,\)",
        ),
        ({"age": torch.ones(3)}, {"age": torch.ones(2)}, "SHAPES_DIFFER", "arrays 'age'"),
        ({"age": 2**70}, {"age": 1}, "UNSUPPORTED_DTYPE", r"'age'.*2\*\*63.*as text"),
    ],
)
def test_what_differs_is_named(kind, one, other, code, said):
    for given in ([one, other], [other, one]):
        with pytest.raises(vx.VoxarrayError, match=said) as error:
            _batch([_subject(**fields) for fields in given], kind)
        assert error.value.code == code


@pytest.mark.parametrize("missing", [[3, None], [None, 3]])
def test_a_number_that_is_missing_is_named(missing):
    with pytest.raises(vx.StateError, match=r"'age'.*NoneType, int") as error:
        _batch([_subject(age=age) for age in missing], "wholes")
    assert error.value.code == "FIELDS_DIFFER"


@pytest.mark.parametrize("kind", ["wholes", "patches"])
def test_numbers_and_arrays_of_either_library_make_a_batch(kind):
    batch = _batch([_subject(age=3), _subject(age=np.int64(4)), _subject(age=np.int64(5))], kind)
    assert torch.equal(batch["age"], torch.tensor([3, 4, 5]))
    for given in ([torch.ones(2), np.zeros(2)], [np.ones(2), torch.zeros(2)]):
        batch = _batch([_subject(age=age) for age in given], kind)
        assert np.asarray(batch["age"]).tolist() == [[1, 1], [0, 0]]
    assert _batch([_subject(name="a"), _subject(name=None)], "wholes")["name"] == ["a", None]
