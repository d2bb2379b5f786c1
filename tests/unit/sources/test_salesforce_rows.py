"""Records that stay the text that was sent say the same as records that are read as objects."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector import tables
from connector.mapping import columns
from connector.sources.salesforce_rows import rows_of, rows_of_csv

FIELDS = ("Name", "Account.Name", "Who.Type", "Who.Name", "What.Parent.Name")
#: What could be taken for a piece of the record around it.
TRAPS = st.sampled_from(
    [
        '"Account":null', ',"Account":{"Name":"x"}', '"attributes":{},', "{", "}", "[]", "\\", '"', '\\"Account\\":null',
        "Account", "attributes", '":null,"Who":null', "\u2028é\x00\t",
    ]
)  # fmt: skip
TEXTS = st.lists(st.one_of(TRAPS, st.text(max_size=8)), max_size=3).map("".join)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(-1e6, 1e6), TEXTS)


def related(*names: str) -> st.SearchStrategy[Any]:
    told = st.fixed_dictionaries({"attributes": st.just({"type": "Any", "url": "/x"}), **dict.fromkeys(names, VALUES)})
    return st.one_of(st.none(), told)


RECORDS = st.fixed_dictionaries(
    {"attributes": st.just({"type": "Task", "url": "/services/x"}), "Id": st.text("0Tx", min_size=1)},
    optional={
        "Name": VALUES, "Other": VALUES, "Parent_Account": st.none(), "Account": related("Name"),
        "Who": related("Type", "Name"), "Last": VALUES,
        "What": st.one_of(st.none(), st.builds(lambda inner: {"attributes": {"type": "A"}, "Parent": inner}, related("Name"))),
    },
)  # fmt: skip


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """What a record is to say, told plainly."""
    kept = {name: value for name, value in record.items() if name not in ("attributes", "Account", "Who", "What")}
    for dotted in FIELDS[1:]:
        relationship, *path = dotted.split(".")
        if relationship in record:
            inner: Any = record[relationship]
            for name in path:
                inner = inner.get(name) if isinstance(inner, dict) else None
            kept[dotted] = inner
    return kept


@given(st.lists(RECORDS, max_size=4))
@example([{"attributes": {}, "Id": "1", "Name": '","Account":{"Name":"x"},"', "Account": None}])
@example([{"attributes": {}, "Id": "1", "Who": {"Name": "n", "Type": "t"}}])
def test_a_record_says_what_it_says_as_an_object(records: list[dict[str, Any]]) -> None:
    table, malformed = rows_of("Task", FIELDS, orjson.dumps(records))
    assert [orjson.loads(text) for text in table["native"].to_pylist()] == [flat(record) for record in records]
    assert table["native_id"].to_pylist() == [record["Id"] for record in records]
    assert malformed == ()


def test_records_that_are_sent_with_spaces_between_are_read_too() -> None:
    sent = b'[ {"attributes" : {"type": "Task"} , "Id" : "1", "Account" : {"Name" : "x"} }, { "Id": "2", "Account": null } ]'
    table, _ = rows_of("Task", FIELDS, sent)
    assert [orjson.loads(text) for text in table["native"].to_pylist()] == [
        {"Id": "1", "Account.Name": "x"},
        {"Id": "2", "Account.Name": None},
    ]


@pytest.mark.parametrize("odd", ['{"Id": 7}', "null", "[]", '{"Name": "x"}'])
def test_one_that_is_no_record_does_not_change_the_others(odd: str) -> None:
    table, malformed = rows_of(
        "Task", FIELDS, f'[{{"attributes":{{}},"Id":"1","Account":{{"Name":"x"}}}},{odd}]'.encode()
    )
    assert [orjson.loads(text) for text in table["native"].to_pylist()] == [{"Id": "1", "Account.Name": "x"}]
    assert malformed == ("a record without an Id",)


KINDS = {"Name": "text", "CreatedDate": "datetime", "Amount": "number", "Count": "integer", "IsDeleted": "bool"}
SENT = st.fixed_dictionaries(
    {
        "Id": st.text("0Tx", min_size=1), "Name": st.none() | TEXTS.filter(bool), "IsDeleted": st.sampled_from(["true", "false"]),
        "CreatedDate": st.sampled_from([None, "2026-09-01T00:00:00.000Z", "2026-09-01T00:00:00.000+0000"]),
        "Amount": st.sampled_from([None, "0", "12", "-7", "1.50", "2.0", "1.5E7"]),
        "Count": st.none() | st.integers(-(10**9), 10**9).map(str),
    }
)  # fmt: skip


@given(st.lists(SENT, min_size=1, max_size=5), st.booleans())
def test_what_comes_as_columns_says_what_its_json_says(records: list[dict[str, Any]], has_fractions: bool) -> None:
    if not has_fractions:
        records = [{**record, "Amount": "3" if record["Amount"] else None} for record in records]
    schema = pa.schema([(name, pa.string()) for name in ("Id", *KINDS)])
    rows, malformed = rows_of_csv("Contact", pa.RecordBatch.from_pylist(records, schema=schema), KINDS)
    is_plain = all("." not in (record["Amount"] or "") for record in records)
    assert (rows.num_columns > len(tables.PAGE)) == is_plain
    assert malformed == ()
    from_json, _ = columns.read(rows["native"].combine_chunks(), schema.names)
    if is_plain:
        from_columns, is_object = columns.told(rows, [*schema.names, "NotAsked"])
        assert from_columns.texts == from_json.texts
        assert from_columns.sent == from_json.sent
        assert is_object.to_pylist() == [True] * len(records)
