"""A promise that nothing can break proves nothing: each has a double that breaks it, and fails on that."""

from __future__ import annotations

import pytest

from tests.contract.doubles import BROKEN, Breaking
from tests.contract.memory_bench import memory_bench
from tests.contract.promises import PROMISES


@pytest.mark.parametrize("breaking", BROKEN, ids=lambda breaking: breaking.__name__)
def test_a_promise_fails_on_the_double_that_breaks_it(breaking: Breaking) -> None:
    bench = memory_bench()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        BROKEN[breaking](breaking(bench))


def test_every_promise_has_a_double_that_breaks_it() -> None:
    assert set(BROKEN.values()) == set(PROMISES)
