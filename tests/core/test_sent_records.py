"""Records arrive in another process as they were sent."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, fields, replace

import pytest

from voxarray.core.sent_records import SentRecord


@dataclass(frozen=True, slots=True)
class One(SentRecord):
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Several(SentRecord):
    first: int = 1
    second: One | None = None

    def __post_init__(self) -> None:
        if self.first < 0:
            raise ValueError("negative")


RECORDS = [One(None), One([1]), Several(), Several(first=3, second=One("é\udc80"))]


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_they_are_the_same(record, protocol):
    arrived = pickle.loads(pickle.dumps(record, protocol))
    assert (type(arrived), arrived) == (type(record), record)
    assert copy.deepcopy(record) == record == replace(record)


def test_what_is_shared_stays_shared():
    shared = One([1])
    first, second = pickle.loads(pickle.dumps([Several(second=shared), Several(second=shared)]))
    assert first.second is second.second


def test_records_of_another_release_are_refused():
    kind, *values = Several().__reduce__()[1]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        Several().__reduce__()[0](kind, *values, 4)


def test_no_description_of_fields_is_asked_for(monkeypatch):
    """That is what makes it worth while."""
    monkeypatch.setattr("dataclasses.fields", lambda _: pytest.fail("asked"))
    assert pickle.loads(pickle.dumps(RECORDS)) == RECORDS
    assert fields(One)[0].name == "value"
