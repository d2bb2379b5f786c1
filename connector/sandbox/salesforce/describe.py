"""Describe results made from the schema: the complete key sets of the real API, for one user's eyes."""

from __future__ import annotations

from typing import Any

from connector.sandbox.salesforce.org import Access
from connector.sandbox.salesforce.schema import (
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
        "searchable": True,
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
    record_type = "012000000000000AAA"
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
                "recordTypeId": record_type,
                "urls": {"layout": f"{url}/describe/layouts/{record_type}"},
            }
        ],
        "searchLayoutable": True,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [{"label": f"All {one.label_plural.lower()}", "name": "everything"}],
    }


def _child(child: SObject, field: Field) -> dict[str, Any]:
    return {
        "cascadeDelete": not child.is_undeletable,
        "childSObject": child.name,
        "deprecatedAndHidden": False,
        "field": field.name,
        "junctionIdListNames": [],
        "junctionReferenceTo": [],
        "relationshipName": field.children,
        "restrictedDelete": False,
    }


def field_describe(one: SObject, field: Field, access: Access) -> dict[str, Any]:
    """The 57 keys of a field."""
    is_text = field.type in TEXT_TYPES
    is_number = field.type in NUMBER_TYPES
    is_double = is_number and field.type != "int"
    may_edit = access.may_edit(one, field)
    is_long = field.type == "textarea" and field.length > 255
    has_default = field.default is not None or field.is_owner
    is_name = field.name == _NAME_FIELDS.get(one.name, "Name")
    is_system = field.name in ("Id", "IsDeleted", "SystemModstamp") or field.name.startswith(
        ("Created", "LastModified")
    )
    return {
        "aggregatable": field.type not in ("boolean", "address") and not is_long,
        "aiPredictionField": False,
        "autoNumber": field.name == "CaseNumber",
        "byteLength": field.length * 3 if is_text else 18 if field.type in ("id", "reference") else 0,
        "calculated": False,
        "calculatedFormula": None,
        "cascadeDelete": False,
        "caseSensitive": field.is_case_sensitive,
        "compoundFieldName": _compound(one, field),
        "controllerName": None,
        "createable": field.is_createable and may_edit and one.is_createable,
        "custom": field.is_custom,
        "defaultValue": field.default,
        "defaultValueFormula": None,
        "defaultedOnCreate": has_default or is_system,
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "digits": field.precision or 8 if field.type == "int" else 0,
        "displayLocationInDecimal": False,
        "encrypted": False,
        "externalId": field.is_external_id,
        "extraTypeInfo": _extra_type(one, field),
        "filterable": field.is_filterable,
        "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": False,
        "groupable": not is_double and field.type not in ("datetime", "address") and not is_long,
        "highScaleNumber": False,
        "htmlFormatted": False,
        "idLookup": field.is_id_lookup,
        "inlineHelpText": field.help_text,
        "label": field.label,
        "length": field.length if is_text or field.type in ("id", "reference") else 0,
        "mask": None,
        "maskType": None,
        "name": field.name,
        "nameField": is_name,
        "namePointing": field.type == "reference" and len(field.to) > 1,
        "nillable": not (field.is_required or field.type in ("boolean", "id") or is_system or field.is_owner),
        "permissionable": not (field.is_required or is_system or field.is_owner),
        "picklistValues": [_picklist_value(field, value) for value in field.values],
        "polymorphicForeignKey": field.type == "reference" and len(field.to) > 1,
        "precision": field.precision if is_double else 0,
        "queryByDistance": field.type == "address",
        "referenceTargetField": None,
        "referenceTo": list(field.to),
        "relationshipName": field.relationship,
        "relationshipOrder": None,
        "restrictedDelete": False,
        "restrictedPicklist": field.is_restricted,
        "scale": field.scale if is_double else 0,
        "searchPrefilterable": field.type == "reference",
        "soapType": _SOAP_TYPES.get(field.type, "xsd:string"),
        "sortable": field.is_filterable,
        "type": field.type,
        "unique": field.is_unique,
        "updateable": field.is_updateable and may_edit and one.is_updateable,
        "writeRequiresMasterRead": False,
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
