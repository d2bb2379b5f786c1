"""The filters of a DYNAMIC list: an OR of ANDs of conditions on properties, put as search filters and made SQL by these.

Other branches (associations, events, lists of lists) and time points are refused.
Source: https://developers.hubspot.com/docs/api-reference/crm-lists-v3/list-filters
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.sandbox.hubspot.answers import Refused
from connector.sandbox.hubspot.catalog import Catalog
from connector.sandbox.hubspot.filters import Condition, condition
from connector.sandbox.hubspot.object_types import ObjectType

#: The operators of lists -> of searches, with how values are given.
OPERATORS: Mapping[str, tuple[str, str]] = {
    "IS_EQUAL_TO": ("IN", "values"), "IS_NOT_EQUAL_TO": ("NOT_IN", "values"), "IS_ANY_OF": ("IN", "values"),
    "IS_NONE_OF": ("NOT_IN", "values"), "CONTAINS": ("CONTAINS_TOKEN", "value"),
    "DOES_NOT_CONTAIN": ("NOT_CONTAINS_TOKEN", "value"), "IS_GREATER_THAN": ("GT", "value"),
    "IS_GREATER_THAN_OR_EQUAL_TO": ("GTE", "value"), "IS_LESS_THAN": ("LT", "value"),
    "IS_LESS_THAN_OR_EQUAL_TO": ("LTE", "value"), "IS_KNOWN": ("HAS_PROPERTY", ""), "IS_UNKNOWN": ("NOT_HAS_PROPERTY", ""),
}  # fmt: skip


def members_of(catalog: Catalog, kind: ObjectType, branch: Any) -> Condition:
    """The records that are on the list and since when, as a SELECT.

    Raises:
        Refused: 400, the branch is not an OR of ANDs, or a filter makes no sense.
    """
    if not isinstance(branch, Mapping) or branch.get("filterBranchType") != "OR":
        raise _refused("The root of filterBranch must be an OR branch.")
    ands = branch.get("filterBranches") or []
    if branch.get("filters") or not ands or any(each.get("filterBranchType") != "AND" for each in ands):
        raise _refused("An OR branch has AND branches, and no filters of its own.")
    groups = [{"filters": [_filter(each) for each in part.get("filters") or ()]} for part in ands]
    if any(part.get("filterBranches") for part in ands) or not all(group["filters"] for group in groups):
        raise _refused("An AND branch has filters, and no branches of its own.")
    where = condition(catalog, kind, {"filterGroups": groups})
    statement = (
        f"SELECT id AS record, modified_ms AS at_ms FROM {kind.table} WHERE archived_ms IS NULL AND ({where.sql})"
    )
    return Condition(statement, where.variables)


def _filter(given: Mapping[str, Any]) -> dict[str, Any]:
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
    return made


def _refused(text: str) -> Refused:
    return Refused(400, text, sub_category="ILS.INVALID_FILTER_DEFINITION")
