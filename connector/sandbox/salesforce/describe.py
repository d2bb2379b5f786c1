"""Describe results made from the schema: the complete key sets of the real API, for one user's eyes.

REST API Developer Guide, "sObject Describe", "Describe Global".
"""

from __future__ import annotations

from typing import Any

from connector.sandbox.salesforce.cascades import is_cascade, is_restriction
from connector.sandbox.salesforce.org import Access
from connector.sandbox.salesforce.schema import (
    MINE,
    NUMBER_TYPES,
    PERSON_NAME_OBJECTS,
    TEXT_TYPES,
    Field,
    Schema,
    SObject,
)

_SOAP_TYPES = {
    "id": "tns:ID", "reference": "tns:ID", "boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double",
    "currency": "xsd:double", "percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime",
    "address": "urn:address",
}  # fmt: skip
SEARCHABLE = ("Account", "Contact", "Lead", "Opportunity", "Campaign", "Case", "Task", "Event", "User")
"""The objects in which words are looked for."""

MASTER_RECORD_TYPE = "012000000000000AAA"
"""The record type of all records of an org that has none of its own."""

_NAME_FIELDS = {"Case": "CaseNumber", "Task": "Subject", "Event": "Subject", "EmailMessage": "Subject"}


def object_summary(one: SObject, base: str) -> dict[str, Any]:
    """The item of the global describe, which is also the top of an object's describe."""
    url = f"{base}/sobjects/{one.name}"
    return {
        "activateable": False,
        "associateEntityType": None,
        "associateParentEntity": None,
        "createable": one.is_createable,
        "custom": False,
        "customSetting": False,
        "deepCloneable": False,
        "deletable": one.is_deletable,
        "deprecatedAndHidden": False,
        "feedEnabled": one.name in ("Account", "Contact", "Lead", "Opportunity", "Case", "Task", "Event"),
        "hasSubtypes": False,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": one.prefix,
        "label": one.label,
        "labelPlural": one.label_plural,
        "layoutable": True,
        "mergeable": one.name in ("Account", "Contact", "Lead", "Case"),
        "mruEnabled": True,
        "name": one.name,
        "queryable": True,
        "replicateable": True,
        "retrieveable": True,
        "searchable": one.name in SEARCHABLE,
        "triggerable": True,
        "undeletable": one.is_undeletable,
        "updateable": one.is_updateable,
        "urls": {
            "rowTemplate": f"{url}/{{ID}}",
            "describe": f"{url}/describe",
            "sobject": url,
            "layouts": f"{url}/describe/layouts",
            "compactLayouts": f"{url}/describe/compactLayouts",
        },
    }


def object_describe(schema: Schema, access: Access, one: SObject, base: str) -> dict[str, Any]:
    """`GET /sobjects/X/describe`."""
    url = f"{base}/sobjects/{one.name}"
    summary = object_summary(one, base)
    summary["urls"] = {**summary["urls"], "approvalLayouts": f"{url}/describe/approvalLayouts"}
    return {
        "actionOverrides": [],
        **summary,
        "childRelationships": [_child(child, field) for child, field in schema.children_of(one.name)],
        "compactLayoutable": True,
        "defaultImplementation": None,
        "extendedBy": None,
        "extendsInterfaces": None,
        "fields": [field_describe(one, field, access) for field in access.visible(one)],
        "implementedBy": None,
        "implementsInterfaces": None,
        "isInterface": False,
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": [
            {
                "active": True,
                "available": True,
                "defaultRecordTypeMapping": True,
                "developerName": "Master",
                "master": True,
                "name": "Master",
                "recordTypeId": MASTER_RECORD_TYPE,
                "urls": {"layout": f"{url}/describe/layouts/{MASTER_RECORD_TYPE}"},
            }
        ],
        "searchLayoutable": True,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [
            {"label": f"{'My' if name == MINE else 'All'} {one.label_plural.lower()}", "name": name}
            for name in one.scopes
        ],
    }


def _child(child: SObject, field: Field) -> dict[str, Any]:
    return {
        "cascadeDelete": is_cascade(child, field),
        "childSObject": child.name,
        "deprecatedAndHidden": False,
        "field": field.name,
        "junctionIdListNames": [],
        "junctionReferenceTo": [],
        "relationshipName": field.children,
        "restrictedDelete": is_restriction(child, field),
    }


_OF_NO_FIELD: dict[str, Any] = {
    "aiPredictionField": False, "cascadeDelete": False,
    "controllerName": None, "defaultValueFormula": None, "dependentPicklist": False, "deprecatedAndHidden": False,
    "displayLocationInDecimal": False, "encrypted": False, "filteredLookupInfo": None,
    "formulaTreatNullNumberAsZero": False, "highScaleNumber": False, "htmlFormatted": False, "mask": None,
    "maskType": None, "referenceTargetField": None, "relationshipOrder": None, "restrictedDelete": False,
    "writeRequiresMasterRead": False,
}  # fmt: skip
"""Keys of a field's describe that are the same for every field of this org."""


def field_describe(one: SObject, field: Field, access: Access) -> dict[str, Any]:
    """The 57 keys of a field, in the order of their names."""
    formula = {"calculated": field.formula is not None, "calculatedFormula": field.formula}
    found = {**_OF_NO_FIELD, **formula, **_sized(field), **_typed(one, field), **_writable(one, field, access)}
    return dict(sorted(found.items()))


def _sized(field: Field) -> dict[str, Any]:
    is_text, is_key = field.type in TEXT_TYPES, field.type in ("id", "reference")
    is_double = field.type in NUMBER_TYPES and field.type != "int"
    return {
        "byteLength": field.length * 3 if is_text else 18 if is_key else 0,
        "digits": field.precision or 8 if field.type == "int" else 0,
        "length": field.length if is_text or is_key else 0,
        "precision": field.precision if is_double else 0,
        "scale": field.scale if is_double else 0,
    }


def _typed(one: SObject, field: Field) -> dict[str, Any]:
    is_polymorphic = field.type == "reference" and len(field.to) > 1
    return {
        "aggregatable": field.is_aggregatable,
        "autoNumber": field.name == "CaseNumber",
        "caseSensitive": field.is_case_sensitive,
        "compoundFieldName": _compound(one, field),
        "custom": field.is_custom,
        "defaultValue": field.default,
        "externalId": field.is_external_id,
        "extraTypeInfo": _extra_type(one, field),
        "filterable": field.is_filterable,
        "groupable": field.is_groupable,
        "idLookup": field.is_id_lookup,
        "inlineHelpText": field.help_text,
        "label": field.label,
        "name": field.name,
        "nameField": field.name == _NAME_FIELDS.get(one.name, "Name"),
        "namePointing": is_polymorphic,
        "picklistValues": [_picklist_value(field, value) for value in field.values],
        "polymorphicForeignKey": is_polymorphic,
        "queryByDistance": field.type == "address",
        "referenceTo": list(field.to),
        "relationshipName": field.relationship,
        "restrictedPicklist": field.is_restricted,
        "searchPrefilterable": field.type == "reference",
        "soapType": _SOAP_TYPES.get(field.type, "xsd:string"),
        "sortable": field.is_filterable,
        "type": field.type,
        "unique": field.is_unique,
    }


def _writable(one: SObject, field: Field, access: Access) -> dict[str, Any]:
    is_audit = field.name.startswith(("Created", "LastModified"))
    is_system = field.name in ("Id", "IsDeleted", "SystemModstamp") or is_audit
    may_edit = access.may_edit(one, field)
    return {
        "createable": field.is_createable and may_edit and one.is_createable,
        "defaultedOnCreate": field.default is not None or field.is_owner or is_system,
        "nillable": not (field.is_required or field.type in ("boolean", "id") or is_system or field.is_owner),
        "permissionable": not (field.is_required or is_system or field.is_owner),
        "updateable": field.is_updateable and may_edit and one.is_updateable,
    }


def _compound(one: SObject, field: Field) -> str | None:
    if one.name in PERSON_NAME_OBJECTS and field.name in ("FirstName", "LastName", "Salutation"):
        return "Name"
    for other in one.fields.values():
        if other.parts is not None and field.name in {
            f"{other.parts}{part}" for part in ("Street", "City", "State", "PostalCode", "Country")
        }:
            return other.name
    return None


def _extra_type(one: SObject, field: Field) -> str | None:
    if field.type == "textarea":
        return "plaintextarea"
    if one.name in PERSON_NAME_OBJECTS and field.name in ("FirstName", "LastName"):
        return "personname"
    return "switchablepersonname" if one.name == "Account" and field.name == "Name" else None


def _picklist_value(field: Field, value: str) -> dict[str, Any]:
    return {"active": True, "defaultValue": value == field.default, "label": value, "validFor": None, "value": value}
