"""Headers that lie: whatever stands in them, only our own errors come out, soon and cheaply."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lying_headers import SAMPLES, Attack

KINDS = ["byte", "number", "number", "word", "word", "line", "stretch", "cut"]

CHANGES = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 16), st.integers(0, 1 << 10)),
    min_size=1,
    max_size=4,
)

ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture
def attack(request, tmp_path):
    return Attack(request.param, tmp_path)


@pytest.mark.parametrize("attack", SAMPLES, indirect=True)
@given(changes=CHANGES)
@example(changes=[("cut", 0, 0)])
@settings(max_examples=40, suppress_health_check=ALLOWED)
def test_changed_headers(attack, changes):
    attack.lie(changes)


@pytest.mark.slow
@pytest.mark.parametrize("attack", SAMPLES, indirect=True)
@given(changes=CHANGES)
@settings(max_examples=5000, suppress_health_check=ALLOWED)
def test_many_changed_headers(attack, changes):
    attack.lie(changes)
