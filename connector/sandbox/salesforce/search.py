"""Looking for words in records: SOSL (`/search`) and `/parameterizedSearch`.

SOQL and SOSL Reference, "SOSL"; REST API Developer Guide, "Search", "Parameterized Search": a term in braces, in which group of
fields, which objects with their fields, conditions, order and limit; at most 2,000 records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.describe import SEARCHABLE
from connector.sandbox.salesforce.records import listed, object_body
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import PERSON_NAME_OBJECTS, TEXT_TYPES, SObject

MOST_RECORDS = 2_000
SHORTEST = 2
BARE_LIST_BEFORE_VERSION = 37.0

_FIND = re.compile(
    r"\s*FIND\s*\{(?P<term>(?:\\.|[^}\\])*)\}"
    r"(?:\s+IN\s+(?P<scope>ALL|NAME|EMAIL|PHONE|SIDEBAR)\s+FIELDS)?"
    r"(?:\s+RETURNING\s+(?P<objects>.*?))?(?:\s+LIMIT\s+(?P<limit>\d+))?\s*",
    re.IGNORECASE | re.DOTALL,
)
_RETURNING = re.compile(
    r"\s*(?P<fields>[\w.,\s()]+?)(?:\s+WHERE\s+(?P<where>.+?))?(?:\s+ORDER\s+BY\s+(?P<order>.+?))?"
    r"(?:\s+LIMIT\s+(?P<limit>\d+))?\s*",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = re.compile(r'"([^"]+)"|(\S+)')
_TYPES = {"EMAIL": ("email",), "PHONE": ("phone",)}


@dataclass(frozen=True, slots=True)
class Returning:
    """What is wanted of one object."""

    name: str
    fields: str = "Id"
    where: str = ""
    order: str = ""
    limit: int = MOST_RECORDS


def search(call: Call) -> Answer:
    """`GET /search?q=FIND {...}`."""
    match = _FIND.fullmatch(call.query.get("q", ""))
    if match is None:
        raise _malformed("No search term found. The search term must be enclosed in braces.")
    term = re.sub(r"\\(.)", r"\1", match["term"])
    wanted = [_returning(each) for each in _split(match["objects"] or "")]
    return _answer(call, term, match["scope"] or "ALL", wanted, int(match["limit"] or MOST_RECORDS))


def parameterized(call: Call) -> Answer:
    """`GET` and `POST /parameterizedSearch`."""
    given = object_body(call) if call.method == "POST" else _of_query(call)
    term = given.get("q")
    if not isinstance(term, str):
        raise RefusedError("MISSING_ARGUMENT", "q is required")
    general = ",".join(_texts(given, "fields")) or "Id"
    most = _number(given.get("defaultLimit"))
    wanted = [
        Returning(
            str(each.get("name")), ",".join(_texts(each, "fields")) or general, str(each.get("where") or ""),
            str(each.get("orderBy") or ""), _number(each.get("limit"), most),
        )
        for each in listed(given, "sobjects", dict)
    ]  # fmt: skip
    return _answer(call, term, str(given.get("in") or "ALL").upper(), wanted, _number(given.get("overallLimit")))


def _of_query(call: Call) -> dict[str, Any]:
    """The parameters of a GET (`sobject=Contact&Contact.fields=Id,Name&Contact.limit=5`) as a POST has them."""
    names = [name for name in call.query.get("sobject", "").split(",") if name]
    keys = ("where", "limit", "orderBy")
    objects = [
        {
            "name": name,
            "fields": [part for part in call.query.get(f"{name}.fields", "").split(",") if part],
            **{key: call.query.get(f"{name}.{key}") for key in keys},
        }
        for name in names
    ]
    fields = [part for part in call.query.get("fields", "").split(",") if part]
    plain = {key: call.query.get(key) for key in ("q", "in", "overallLimit", "defaultLimit")}
    return {**plain, "fields": fields, "sobjects": objects}


def _texts(given: dict[str, Any], name: str) -> list[str]:
    return [str(each) for each in listed(given, name, str)]


def _number(value: Any, default: int = MOST_RECORDS) -> int:
    if value is None:
        return default
    if not str(value).isdigit() or not 0 < int(value) <= MOST_RECORDS:
        raise _malformed(f"A limit is a number from 1 to {MOST_RECORDS}, not {str(value)[:40]}")
    return int(value)


def _malformed(text: str) -> RefusedError:
    return RefusedError("MALFORMED_SEARCH", text)


def _split(text: str) -> list[str]:
    """The parts of a list, at the commas outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise _malformed("unexpected token: brackets are not closed")
    return [part.strip() for part in parts if part.strip()]


def _returning(text: str) -> Returning:
    name, _, rest = text.partition("(")
    if not rest:
        return Returning(name.strip())
    match = _RETURNING.fullmatch(rest.strip().removesuffix(")"))
    if match is None:
        raise _malformed(f"unexpected token: {text[:80]}")
    limit = _number(match["limit"])
    return Returning(name.strip(), match["fields"].strip(), match["where"] or "", match["order"] or "", limit)


def _answer(call: Call, term: str, scope: str, wanted: Sequence[Returning], limit: int) -> Answer:
    if len(term.strip().strip('*?"')) < SHORTEST:
        raise _malformed(f"search term must be longer than one character: {term[:40]}")
    if scope not in ("ALL", "NAME", "EMAIL", "PHONE", "SIDEBAR"):
        raise _malformed(f"unexpected token: {scope[:40]}")
    does_match = _matcher(term)
    found: list[dict[str, Any]] = []
    for each in wanted or [Returning(name) for name in SEARCHABLE]:
        one = call.org.object(each.name)
        if one.name not in SEARCHABLE:
            raise RefusedError("INVALID_TYPE", f"entity type {one.name} does not support search")
        found += _records(call, one, each, _ids(call, one, scope, does_match))
    records = found[:limit]
    body = records if float(call.version) < BARE_LIST_BEFORE_VERSION else {"searchRecords": records}
    return Answer(200, body, records=len(records))


def _matcher(term: str) -> Callable[[str], bool]:
    """Whether a text has the words of a term: all of them, or one of those that OR joins; `*` and `?` stand for letters."""
    choices = []
    for choice in re.split(r"\s+OR\s+", term.strip()):
        words = [quoted or word for quoted, word in _WORDS.findall(choice) if word != "AND"]
        choices.append([_pattern(word) for word in words])
    return lambda text: any(all(word.search(text) for word in words) for words in choices)


def _pattern(word: str) -> re.Pattern[str]:
    inner = re.escape(word).replace(r"\*", r"\w*").replace(r"\?", r"\w")
    return re.compile(rf"(?<!\w){inner}(?!\w)", re.IGNORECASE)


def _ids(call: Call, one: SObject, scope: str, does_match: Callable[[str], bool]) -> list[str]:
    names = [
        field.name
        for field in call.access.visible(one)
        if field.is_stored and _is_in(one, field.name, field.type, scope)
    ]
    if not names:
        return []
    text = " || ' ' || ".join(f"coalesce(\"{name}\", '')" for name in names)
    rows = call.org.database.execute(f"SELECT Id, {text} AS said FROM {one.table} WHERE IsDeleted = 0 ORDER BY Id")
    return [row["Id"] for row in rows if does_match(row["said"])][:MOST_RECORDS]


def _is_in(one: SObject, name: str, kind: str, scope: str) -> bool:
    if scope in _TYPES:
        return kind in _TYPES[scope]
    if scope == "NAME":
        return name == "Name" or (one.name in PERSON_NAME_OBJECTS and name in ("FirstName", "LastName"))
    return kind in TEXT_TYPES


def _records(call: Call, one: SObject, wanted: Returning, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Those of the ids that the conditions leave, in their order: what follows the fields is SOQL."""
    among = "Id IN ({})".format(",".join(f"'{each}'" for each in ids)) if ids else "Id = null"
    where = f"{among} AND ({wanted.where})" if wanted.where else among
    order = f" ORDER BY {wanted.order}" if wanted.order else ""
    soql = f"SELECT {wanted.fields} FROM {one.name} WHERE {where}{order} LIMIT {wanted.limit}"
    page = call.queries.run(soql, call.reader, include_deleted=False)
    return list(page["records"])
