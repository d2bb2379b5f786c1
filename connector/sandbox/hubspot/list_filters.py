"""The filters of a DYNAMIC list: an OR of ANDs of conditions on properties, on lists, and on linked records.

Conditions on properties are put as search filters and made SQL by these. Branches on events and time points are refused.
Source: https://developers.hubspot.com/docs/api-reference/crm-lists-v3/list-filters
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connector.sandbox.hubspot.answers import Refused
from connector.sandbox.hubspot.catalog import Catalog
from connector.sandbox.hubspot.filters import Condition, condition
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.records import as_id

#: The operators of lists -> of searches, with how values are given.
OPERATORS: Mapping[str, tuple[str, str]] = {
    "IS_EQUAL_TO": ("IN", "values"), "IS_NOT_EQUAL_TO": ("NOT_IN", "values"), "IS_ANY_OF": ("IN", "values"),
    "IS_NONE_OF": ("NOT_IN", "values"), "CONTAINS": ("CONTAINS_TOKEN", "value"),
    "DOES_NOT_CONTAIN": ("NOT_CONTAINS_TOKEN", "value"), "IS_GREATER_THAN": ("GT", "value"),
    "IS_GREATER_THAN_OR_EQUAL_TO": ("GTE", "value"), "IS_LESS_THAN": ("LT", "value"),
    "IS_LESS_THAN_OR_EQUAL_TO": ("LTE", "value"), "IS_KNOWN": ("HAS_PROPERTY", ""), "IS_UNKNOWN": ("NOT_HAS_PROPERTY", ""),
}  # fmt: skip
MOST_FILTERS = 60
"""Filters of a list, nested ones included."""

ListOf = Callable[[int], Condition | None]
"""The members of a list of the portal as a SELECT of `record`; None where there is none."""


def members_of(catalog: Catalog, kind: ObjectType, branch: Any, list_of: ListOf) -> Condition:
    """The records that are on the list and since when, as a SELECT.

    Raises:
        Refused: 400, the branch is not an OR of ANDs, or a filter makes no sense.
    """
    if not isinstance(branch, Mapping) or branch.get("filterBranchType") != "OR":
        raise _refused("The root of filterBranch must be an OR branch.")
    ands = branch.get("filterBranches") or []
    if branch.get("filters") or not ands or any(each.get("filterBranchType") != "AND" for each in ands):
        raise _refused("An OR branch has AND branches, and no filters of its own.")
    if _count(branch) > MOST_FILTERS:
        raise _refused(f"A list has at most {MOST_FILTERS} filters.")
    where = _joined([_all_of(catalog, kind, part, list_of) for part in ands], " OR ")
    statement = (
        f"SELECT id AS record, modified_ms AS at_ms FROM {kind.table} WHERE archived_ms IS NULL AND ({where.sql})"
    )
    return Condition(statement, where.variables)


def lists_in(branch: Mapping[str, Any]) -> set[str]:
    """The ids of the lists that the filters of a branch name."""
    named = {str(each.get("listId")) for each in branch.get("filters") or () if each.get("filterType") == "IN_LIST"}
    return named.union(*(lists_in(each) for each in branch.get("filterBranches") or ()))


def _count(branch: Mapping[str, Any]) -> int:
    return len(branch.get("filters") or ()) + sum(_count(each) for each in branch.get("filterBranches") or ())


def _joined(conditions: list[Condition], word: str) -> Condition:
    sql = word.join(f"({each.sql})" for each in conditions)
    return Condition(sql, tuple(variable for each in conditions for variable in each.variables))


def _all_of(catalog: Catalog, kind: ObjectType, branch: Mapping[str, Any], list_of: ListOf) -> Condition:
    """The filters and branches of an AND, or of what is asked of a linked record."""
    parts = [_filter(catalog, kind, each, list_of) for each in branch.get("filters") or ()]
    parts += [_linked(catalog, kind, each, list_of) for each in branch.get("filterBranches") or ()]
    if not parts:
        raise _refused("An AND branch has filters.")
    return _joined(parts, " AND ")


def _filter(catalog: Catalog, kind: ObjectType, given: Mapping[str, Any], list_of: ListOf) -> Condition:
    if given.get("filterType") == "IN_LIST":
        return _in_list(given, list_of)
    operation = given.get("operation")
    if given.get("filterType") != "PROPERTY" or not isinstance(operation, Mapping):
        raise _refused(f"filterType {str(given.get('filterType'))[:50]} is not supported here.")
    operator, how = OPERATORS.get(str(operation.get("operator")), ("", ""))
    if not operator:
        raise _refused(f"The operator {str(operation.get('operator'))[:50]} is not valid for the filter.")
    made: dict[str, Any] = {"propertyName": str(given.get("property") or ""), "operator": operator}
    values = operation.get("values") or ([operation["value"]] if "value" in operation else [])
    if how and not values:
        raise _refused("The filter has no value.")
    if how == "values":
        made["values"] = values
    elif how:
        made["value"] = values[0]
    return condition(catalog, kind, {"filters": [made]})


def _in_list(given: Mapping[str, Any], list_of: ListOf) -> Condition:
    members = list_of(as_id(given.get("listId")) or -1)
    if members is None or given.get("operator") not in ("IN_LIST", "NOT_IN_LIST"):
        raise _refused("An IN_LIST filter needs the listId of a list, and IN_LIST or NOT_IN_LIST as its operator.")
    word = "IN" if given["operator"] == "IN_LIST" else "NOT IN"
    return Condition(f"id {word} (SELECT record FROM ({members.sql}))", members.variables)


def _linked(catalog: Catalog, kind: ObjectType, branch: Mapping[str, Any], list_of: ListOf) -> Condition:
    """Records that have a link to one for which the branch holds."""
    if branch.get("filterBranchType") != "ASSOCIATION":
        raise _refused(f"A branch of type {str(branch.get('filterBranchType'))[:50]} is not supported here.")
    other = catalog.types.get(str(branch.get("objectTypeId") or ""))
    known = {link.type_id for link in catalog.types.links(kind.name, other.name)}
    type_id = branch.get("associationTypeId")
    if type_id is not None and as_id(type_id) not in known:
        raise _refused(f"The association type {str(type_id)[:20]} is not one between these objects.")
    inner = _all_of(catalog, other, branch, list_of)
    of_type = f" AND type_id = {as_id(type_id)}" if type_id is not None else ""
    return Condition(
        f"id IN (SELECT from_id FROM hubspot_link WHERE from_type = ? AND to_type = ?{of_type} AND to_id IN"
        f" (SELECT id FROM {other.table} WHERE archived_ms IS NULL AND ({inner.sql})))",
        (kind.name, other.name, *inner.variables),
    )


def _refused(text: str) -> Refused:
    return Refused(400, text, sub_category="ILS.INVALID_FILTER_DEFINITION")
