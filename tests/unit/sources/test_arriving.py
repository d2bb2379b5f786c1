"""An answer that is read while it comes is read as it was sent, whatever breaks on the way, or not to its end."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ProtocolError, RecordRejected
from connector.sources.arriving import Arriving

PIECES = st.lists(st.binary(min_size=1, max_size=9), max_size=6)


def brought(page: Arriving, *times: list[bytes]) -> None:
    """What comes, each time from the beginning."""
    for pieces in times:
        page.seek(0)
        page.truncate()
        for piece in pieces:
            page.write(piece)
    page.end()


@given(PIECES, st.integers(0, 6), st.integers(1, 5))
def test_what_comes_is_read_once_also_after_a_break(pieces: list[bytes], broken_at: int, size: int) -> None:
    with closing(Arriving("sf")) as page:
        bringing = threading.Thread(target=brought, args=(page, pieces[:broken_at], pieces))
        bringing.start()
        read = list(iter(lambda: page.read(size), b""))
        bringing.join()
    assert b"".join(read) == b"".join(pieces)
    assert all(len(each) == size for each in read[:-1])


@pytest.mark.parametrize("again", [[b"abX", b"def"], [b"ab"]], ids=["other", "shorter"])
def test_an_answer_that_says_something_else_the_second_time_is_not_read_to_its_end(again: list[bytes]) -> None:
    with closing(Arriving("sf")) as page:
        page.write(b"abc")
        assert page.read(2) == b"ab"
        with pytest.raises(ProtocolError):
            brought(page, again)
            page.read(9)


def test_the_first_line_is_looked_at_before_the_rest_has_come() -> None:
    with closing(Arriving("sf")) as page:
        threading.Timer(0.01, brought, [page, [b"Id,Na", b"me\r\n1,", b"x\n"]]).start()
        assert page.first_line().strip() == b"Id,Name"
        assert page.read(99) == b"Id,Name\r\n1,x\n"


def test_why_the_rest_did_not_come_is_told_to_whoever_reads() -> None:
    with closing(Arriving("sf")) as page:
        page.write(b"Id\n1\n")
        threading.Timer(0.01, page.end, [RecordRejected("its results are gone", system="sf")]).start()
        source: Any = pa.PythonFile(page, "r")  # type: ignore[arg-type]
        with pytest.raises(RecordRejected, match="results are gone"):
            pyarrow.csv.open_csv(source, read_options=pyarrow.csv.ReadOptions(use_threads=False)).read_all()
