"""How often a request is repeated, and how long is waited between two attempts."""

from __future__ import annotations

import dask.config
import pytest

from voxarray.storage.remote import retries


class Slow(Exception):
    """An error that passes."""


def _is_slow(error: Exception) -> bool:
    return isinstance(error, Slow)


def _failing(*errors: Exception | None):
    """A request that raises these, one after the other, and returns the number of attempts."""
    left = list(errors)

    def request() -> int:
        error = left.pop(0)
        if error is not None:
            raise error
        return len(errors) - len(left)

    return request


@pytest.fixture
def waited(monkeypatch):
    """The number of the attempt before each pause."""
    numbers: list[int] = []
    monkeypatch.setattr(retries, "pause", numbers.append)
    return numbers


def test_repeats_until_it_is_answered(waited):
    with dask.config.set({"voxarray.remote-attempts": 5}):
        assert retries.repeat(_failing(Slow(), Slow(), None), _is_slow) == 3
    assert waited == [1, 2]


@pytest.mark.parametrize("attempts", [1, 3])
def test_raises_the_last_error_after_so_many_attempts(waited, attempts):
    errors = [Slow(str(number)) for number in range(1, 5)]
    with (
        dask.config.set({"voxarray.remote-attempts": attempts}),
        pytest.raises(Slow, match=rf"^{attempts}$"),
    ):
        retries.repeat(_failing(*errors), _is_slow)
    assert waited == list(range(1, attempts))


def test_an_error_that_does_not_pass_is_raised_at_once(waited):
    with pytest.raises(KeyError):
        retries.repeat(_failing(KeyError(), None), _is_slow)
    assert waited == []


def test_pauses_double_up_to_eight_seconds_and_differ(monkeypatch):
    monkeypatch.undo()  # the other tests of this folder do not wait
    slept: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", slept.append)
    for number in range(1, 11):
        for _ in range(20):
            retries.pause(number)
        longest = min(8.0, 0.1 * 2 ** (number - 1))
        assert all(longest / 2 <= seconds <= longest for seconds in slept)
        assert len(set(slept)) > 1
        slept.clear()
