"""Every adapter is held to every promise."""

from __future__ import annotations

import pytest

from tests.contract.bench import Bench
from tests.contract.promises import PROMISES, Promise


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_an_adapter_keeps_its_promise(bench: Bench, promise: Promise) -> None:
    promise(bench)
