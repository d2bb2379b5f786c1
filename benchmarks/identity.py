"""Identity and survivorship at size, as ratios against plain scipy components of the same star in the same run.

    python benchmarks/identity.py [records] [--golden]

The data: people with one to five records each, 2.6 identifiers a record, and 2 % dirt: shared mailboxes, default phones,
recycled numbers, family devices. Printed are wall and CPU seconds, the ratio, and what the guards are worth.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

sys.path.insert(0, str(Path(__file__).parents[1]))

from connector import identity, survivorship, tables

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SEED = 7
pc: Any = pyarrow.compute


def seconds(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result of some work, with its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def numbered(prefix: str, numbers: Any, suffix: str = "") -> Any:
    """Texts such as u17@example.com."""
    return pc.binary_join_element_wise(prefix, pc.cast(pa.array(numbers), pa.string()), suffix, "")


def world(records: int) -> tuple[dict[str, pa.Table], Any]:
    """The tables of the mart that identity reads, and the true person of each record."""
    random = np.random.default_rng(SEED)
    truth = np.sort(random.integers(0, int(records * 0.6), records))
    key = numbered("salesforce|Contact|", np.arange(records))
    rows = [
        *column(random, key, "email", "person", truth, share=0.9, dirt=("box", 2_000), domain="@example.com"),
        *column(random, key, "phone", "+4730", truth, share=0.8, dirt=("+4799", 5_000)),
        *column(random, key, "device", "device-", truth, share=0.5, dirt=("family-", 40_000)),
        *column(random, key, "customer_number", "C-", truth, share=0.4, dirt=None),
    ]
    identifier = pa.concat_tables(rows)
    nothing = pa.nulls(len(identifier), tables.INSTANT)
    identifier = pa.table(
        [
            pc.binary_join_element_wise(identifier["record"], identifier["type"], identifier["value"], "|"),
            identifier["record"], pa.repeat("person", len(identifier)), identifier["type"], identifier["value"],
            identifier["value"], pa.nulls(len(identifier), pa.bool_()), nothing, nothing, nothing,
            pa.nulls(len(identifier), pa.string()),
        ],
        schema=tables.IDENTIFIER,
    )  # fmt: skip
    return {"identifier": identifier, "person_record": person_records(random, key, truth)}, truth


def column(
    random: Any,
    key: Any,
    type_: str,
    prefix: str,
    truth: Any,
    *,
    share: float,
    dirt: tuple[str, int] | None,
    domain: str = "",
) -> list[pa.Table]:
    """The identifiers of one type: each person has two values of which a record shows one; 2 % show somebody else's."""
    has = np.flatnonzero(random.random(len(truth)) < share)
    second = (random.random(len(has)) < (0.0 if type_ == "customer_number" else 0.25)).astype(int)
    values = numbered(prefix, truth[has] * 2 + second, domain)
    if dirt is not None:
        is_dirty = random.random(len(has)) < 0.02
        values = pc.if_else(
            pa.array(is_dirty), numbered(dirt[0], random.integers(0, dirt[1], len(has)), domain), values
        )
    return [pa.table({"record": key.take(pa.array(has)), "type": pa.repeat(type_, len(has)), "value": values})]


def person_records(random: Any, key: Any, truth: Any) -> pa.Table:
    """Records with the name of their person, and every golden field filled in half of them."""
    size = len(truth)
    created = pa.array(random.integers(1_600_000_000, 1_700_000_000, size) * 1_000_000).cast(tables.INSTANT)
    columns: dict[str, Any] = {
        "key": key, "system": pa.array(np.where(random.random(size) < 0.5, "salesforce", "hubspot")), "created_at": created,
        "modified_at": created, "ingestion": pa.array(np.arange(size)),
        "first_name": numbered("Ann", truth % 1_000), "last_name": numbered("Meyer", truth // 1_000),
    }  # fmt: skip
    for field in tables.PERSON_FIELDS:
        if field.name not in columns and pa.types.is_string(field.type):
            columns[field.name] = numbered(
                field.name, pa.array(random.integers(0, 5_000, size), mask=random.random(size) < 0.5)
            )
        elif field.name not in columns and pa.types.is_boolean(field.type):
            columns[field.name] = pa.array(random.random(size) < 0.05)
    schema = tables.record_schema("person")
    return pa.table([columns.get(each.name, pa.nulls(size, each.type)) for each in schema], schema=schema)


def plain(evidence: pa.Table) -> Any:
    """The baseline: components of the unguarded star, from the same Arrow table."""
    record = evidence["record"].combine_chunks().dictionary_encode()
    value = pc.binary_join_element_wise(evidence["type"], evidence["value"], ":").combine_chunks().dictionary_encode()
    rows, columns = np.asarray(record.indices), np.asarray(value.indices) + len(record.dictionary)
    nodes = len(record.dictionary) + len(value.dictionary)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][: len(record.dictionary)], record.dictionary


def quality(person: Any, truth: Any) -> str:
    """Precision and recall over pairs of records, and the size of the largest person."""

    def pairs(labels: Any) -> int:
        counts = np.unique(labels, return_counts=True)[1].astype(object)
        return int((counts * (counts - 1) // 2).sum())

    both = pairs(person.astype(np.int64) * (int(truth.max()) + 1) + truth)
    largest = int(np.unique(person, return_counts=True)[1].max())
    return f"precision {both / max(pairs(person), 1):.4f}  recall {both / max(pairs(truth), 1):.4f}  largest person {largest:,}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--golden", action="store_true", help="also choose the golden values")
    options = parser.parse_args()
    made, truth = world(options.records)
    mart = ibis.duckdb.connect()
    for name, table in {
        **made,
        "membership": tables.MEMBERSHIP.empty_table(),
        "issued": tables.ISSUED.empty_table(),
    }.items():
        mart.create_table(name, table)
    section = identity.IdentitySection()
    records, identifier = mart.table("person_record"), mart.table("identifier")
    print(f"{options.records:,} records, {len(made['identifier']):,} identifiers")
    del made

    dirty = records.select("key")
    touched, *touch = seconds(
        lambda: mart.create_table(
            "touched", identity.touched("person", dirty, identifier, mart.table("membership"), section)
        )
    )
    evidence, *read = seconds(lambda: mart.to_pyarrow(identity.evidence("person", touched, identifier)))
    facts, *known = seconds(lambda: mart.to_pyarrow(identity.facts("person", touched, records)))
    (labels, keys), *base = seconds(lambda: plain(evidence))
    judgements = pa.schema(
        {
            "left": tables.TEXT,
            "right": tables.TEXT,
            "verdict": tables.TEXT,
            "decided_at": tables.INSTANT,
            "by": tables.TEXT,
        }
    )
    result, *resolved = seconds(
        lambda: identity.resolve(
            "person", evidence, facts, tables.MEMBERSHIP.empty_table(), tables.ISSUED.empty_table(),
            judgements.empty_table(), section, NOW,
        )
    )  # fmt: skip
    for what, (wall, cpu) in {
        "touched": touch,
        "evidence": read,
        "facts": known,
        "plain components": base,
        "resolve": resolved,
    }.items():
        print(f"  {what:18} {wall:6.2f} s wall  {cpu:6.2f} s CPU   {wall / base[0]:5.1f} x")
    order = pc.index_in(numbered("salesforce|Contact|", np.arange(options.records)), value_set=keys)
    present = np.flatnonzero(np.asarray(pc.is_valid(order)))
    print("  plain   ", quality(labels[np.asarray(order.drop_null())], truth[present]))
    ingestion = np.asarray(result.membership["ingestion"])
    owner = np.asarray(result.membership["owner_id"].combine_chunks().dictionary_encode().indices)
    print("  resolved", quality(owner, truth[ingestion]), dict(result.counts), f"refused {len(result.refused):,}")
    if options.golden:
        golden(mart, result)
    print(
        f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB (the data in memory included)"
    )


def golden(mart: Any, result: identity.Resolution) -> None:
    """Choose the golden persons inside the engine, as the pipeline does."""
    mart.create_table("membership", result.membership, overwrite=True)
    mart.create_table("record_version", tables.RECORD_VERSION.empty_table())
    membership = mart.table("membership")
    expression = survivorship.golden_persons(
        mart.table("person_record"), membership, membership.filter(membership.kind == "account"), mart.table("record_version"),
        survivorship.SurvivorshipSection(systems=("salesforce", "hubspot")),
    )  # fmt: skip
    table, wall, cpu = seconds(lambda: mart.create_table("person", expression))
    print(
        f"  golden             {wall:6.2f} s wall  {cpu:6.2f} s CPU   {mart.to_pyarrow(table.count()).as_py():,} persons"
    )


if __name__ == "__main__":
    main()
