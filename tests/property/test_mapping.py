"""Mapping: the two ways to read JSON agree, groups do not matter, and no row is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import mapping, tables
from connector.mapping import columns
from connector.mapping.transforms import TRANSFORMS

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NAMES = ("a", "b.c", "associations.contacts", "never")

scalars = (
    st.none()
    | st.text(max_size=6)
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e6, 1e6, allow_nan=False).map(lambda number: round(number, 3))
)
ids = st.lists(st.integers(1, 99).map(str), max_size=3)
odd = st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 9), max_size=2) | ids


def documents_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Texts of JSON objects in which field `a` has one of the values."""
    fields = {"a": values, "b.c": st.text(max_size=4) | st.none(), "associations.contacts": ids, "other": odd}
    return st.fixed_dictionaries({}, optional=fields).map(lambda native: orjson.dumps(native).decode())


one_typed = st.sampled_from([st.text(max_size=6), st.booleans(), st.integers(-(2**53), 2**53)]).flatmap(
    lambda values: st.lists(documents_of(values | st.none()), min_size=1, max_size=12)
)
any_typed = st.lists(documents_of(scalars | odd), min_size=1, max_size=12)
broken = st.lists(
    documents_of(scalars) | st.sampled_from(["", "[1]", "no", "{}{}", '{"a":\n1}']), min_size=1, max_size=6
)


def as_lists(natives: columns.Natives) -> dict[str, list[Any]]:
    return {name: natives.text(name).to_pylist() for name in NAMES} | {
        f"ids of {name}": [ids or [] for ids in natives.ids(name).to_pylist()] for name in NAMES[2:3]
    }


@settings(max_examples=60, deadline=None)
@given(one_typed | any_typed | broken)
def test_json_is_read_the_same_by_columns_and_by_rows(texts: list[str]) -> None:
    native = pa.array(texts, pa.string())
    by_rows, are_objects = columns._read_rows(columns._documents(pa.array([text or "{}" for text in texts])), NAMES)
    for sample in (1, 100):
        with mock.patch.object(columns, "_SAMPLE", min(sample, len(texts))):
            found, found_objects = columns.read(native, NAMES)
        assert as_lists(found) == as_lists(by_rows)
        assert found_objects.to_pylist() == are_objects.to_pylist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=6) | st.none(), min_size=4, max_size=10))
def test_texts_are_read_by_the_column_reader(texts: list[str | None]) -> None:
    native = pa.array([orjson.dumps({"a": text}).decode() for text in texts], pa.string())
    with (
        mock.patch.object(columns, "_SAMPLE", 2),
        mock.patch.object(columns, "_read_rows", side_effect=AssertionError("read row by row")),
    ):
        found, _ = columns.read(native, ("a",))
    assert found.text("a").to_pylist() == [text or None for text in texts]


contacts = st.fixed_dictionaries(
    {
        "email": st.sampled_from(["Ann@x.de", "ann+a@x.de", "bad", "", None, "b@gmail.com"]),
        "hs_additional_emails": st.sampled_from([None, "c@x.de;Ann@x.de", "; ;"]),
        "phone": st.sampled_from([None, "030 5550100", "+49305550100", "1"]),
        "mobilephone": st.sampled_from([None, "+49305550100", "0171 5550100"]),
        "country": st.sampled_from(["Germany", "DE", "Nowhere", None]),
        "jobtitle": st.sampled_from(["CEO", "Leiter Einkauf", None]),
        "hs_email_optout": st.sampled_from(["true", "false", "maybe", None]),
    }
)


def page(natives: list[dict[str, Any]], ids_: list[str | None]) -> pa.Table:
    rows = [
        {
            "native_id": native_id, "object_type": "contacts", "created_at": NOW, "modified_at": NOW - timedelta(hours=number),
            "is_deleted": number % 5 == 4, "merged_into": None, "native": orjson.dumps(native).decode(),
        }
        for number, (native, native_id) in enumerate(zip(natives, ids_, strict=True))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=tables.PAGE)


def applied(rows: pa.Table) -> mapping.Mapped:
    contacts_mapping = mapping.load("hubspot", {})["contacts"]
    return mapping.apply(rows, contacts_mapping, system="hubspot", region="DE", outputs=("phone",), now=NOW)


def rows_of(*parts: mapping.Mapped) -> dict[str, list[str]]:
    """Every row of every table of the parts, sorted."""
    names = ("records", "identifiers", "observed", "quarantined")
    return {name: sorted(repr(row) for part in parts for row in getattr(part, name).to_pylist()) for name in names}


@settings(max_examples=25, deadline=None)
@given(st.lists(contacts, min_size=1, max_size=8), st.integers(0, 8))
def test_how_rows_are_grouped_changes_nothing(natives: list[dict[str, Any]], cut: int) -> None:
    rows = page(natives, [str(number) for number in range(len(natives))])
    assert rows_of(applied(rows)) == rows_of(applied(rows.slice(0, cut)), applied(rows.slice(cut)))


@settings(max_examples=25, deadline=None)
@given(st.lists(contacts, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(natives: list[dict[str, Any]], random: Any) -> None:
    rows = page(natives, [str(number) for number in range(len(natives))])
    order = list(range(len(natives)))
    random.shuffle(order)
    assert rows_of(applied(rows)) == rows_of(applied(rows.take(pa.array(order, pa.int64()))))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(contacts, st.sampled_from([None, "", "1", "2", "3"])), max_size=8))
def test_every_row_is_mapped_filtered_or_refused(pairs: list[tuple[dict[str, Any], str | None]]) -> None:
    mapped = applied(page([native for native, _ in pairs], [native_id for _, native_id in pairs]))
    assert mapped.records.num_rows + mapped.superseded + mapped.refused == len(pairs)
    keys = mapped.records["key"].to_pylist()
    assert len(keys) == len(set(keys))
    identifiers = [(row["record"], row["type"], row["value"]) for row in mapped.identifiers.to_pylist()]
    assert len(identifiers) == len(set(identifiers))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["date", "datetime", "money", "integer", "country", "bool"]),
    st.lists(
        st.sampled_from(
            [
                "2026-01-02",
                "2026-13-02",
                "2026-01-02T03:04:05Z",
                "1788258600000",
                "1,5",
                "1.5",
                "12",
                "x",
                " ",
                "DE",
                "no",
            ]
        )
        | st.text("0123456789-.,:TZ ", max_size=12)
        | st.none(),
        max_size=6,
    ),
)
def test_a_text_is_read_the_same_whatever_stands_beside_it(name: str, texts: list[str | None]) -> None:
    values, reasons = TRANSFORMS[name](pa.array(texts, pa.string()), "DE")
    for number, text in enumerate(texts):
        alone, why = TRANSFORMS[name](pa.array([text], pa.string()), "DE")
        assert values[number] == alone[0]
        assert reasons is not None
        assert why is not None
        assert reasons[number] == why[0]
        if text is not None and text.strip():
            assert alone[0].is_valid != why[0].is_valid
