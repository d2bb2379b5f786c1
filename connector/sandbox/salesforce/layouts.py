"""Page layouts of an object: one for all, in which every field that the user sees stands in a row of its own, and no compact one.

REST API Developer Guide, "sObject Layouts", "sObject CompactLayouts"; SOAP API Developer Guide, "DescribeLayoutResult".
"""

from __future__ import annotations

from typing import Any

from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.describe import MASTER_RECORD_TYPE, field_describe
from connector.sandbox.salesforce.ids import native_id
from connector.sandbox.salesforce.records import resource
from connector.sandbox.salesforce.refusal import not_found
from connector.sandbox.salesforce.schema import SObject

LAYOUT_PREFIX = "00h"


def layouts(call: Call, name: str) -> Answer:
    """`GET /sobjects/X/describe/layouts`."""
    one = resource(call, name)
    layout = _layout(call, one)
    url = f"{call.base}/sobjects/{one.name}/describe/layouts/{MASTER_RECORD_TYPE}"
    mapping = {
        "active": True, "available": True, "defaultRecordTypeMapping": True, "developerName": "Master", "layoutId": layout["id"],
        "master": True, "name": "Master", "picklistsForRecordType": [], "recordTypeId": MASTER_RECORD_TYPE, "urls": {"layout": url},
    }  # fmt: skip
    return Answer(200, {"layouts": [layout], "recordTypeMappings": [mapping], "recordTypeSelectorRequired": [False]})


def layout_of(call: Call, name: str, record_type: str) -> Answer:
    """`GET /sobjects/X/describe/layouts/recordTypeId`: there is the master record type alone."""
    one = resource(call, name)
    if record_type not in (MASTER_RECORD_TYPE, MASTER_RECORD_TYPE[:15]):
        raise not_found()
    return Answer(200, _layout(call, one))


def compact_layouts(call: Call, name: str) -> Answer:
    """`GET /sobjects/X/describe/compactLayouts`."""
    resource(call, name)
    mapping = {
        "available": True, "compactLayoutId": None, "compactLayoutName": "SYSTEM", "recordTypeId": MASTER_RECORD_TYPE,
        "recordTypeName": "Master",
    }  # fmt: skip
    body = {"compactLayouts": [], "defaultCompactLayoutId": None, "recordTypeCompactLayoutMappings": [mapping]}
    return Answer(200, body)


def _layout(call: Call, one: SObject) -> dict[str, Any]:
    layout_id = native_id(LAYOUT_PREFIX, 1 + list(call.org.schema.objects).index(one.name))
    fields = [field_describe(one, field, call.access) for field in call.access.visible(one)]
    rows = [{"layoutItems": [_item(field, number)], "numItems": 1} for number, field in enumerate(fields, 1)]
    section = {
        "collapsed": False, "columns": 1, "heading": f"{one.label} Information", "layoutRows": rows, "layoutSectionId": None,
        "parentLayoutId": layout_id, "rows": len(rows), "tabOrder": "LeftToRight",
        "useCollapsibleSection": False, "useHeading": False,
    }  # fmt: skip
    return {
        "buttonLayoutSection": {"detailButtons": []}, "detailLayoutSections": [section], "editLayoutSections": [section],
        "feedView": None, "highlightsPanelLayoutSection": None, "id": layout_id,
        "multirowEditLayoutSections": [], "offlineLinks": [], "quickActionList": {"quickActionListItems": []},
        "relatedContent": None, "relatedLists": [], "saveOptions": [],
    }  # fmt: skip


def _item(field: dict[str, Any], number: int) -> dict[str, Any]:
    component = {
        "details": field, "displayLines": 1, "tabOrder": number, "type": "Field", "value": field["name"],
    }  # fmt: skip
    return {
        "editableForNew": field["createable"], "editableForUpdate": field["updateable"], "label": field["label"],
        "layoutComponents": [component], "placeholder": False, "required": field["createable"] and not field["nillable"],
    }  # fmt: skip
