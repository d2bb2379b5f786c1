"""The portal's schema: what properties there are, and how ours come to be.

- Unique properties (`hasUniqueValue`) are set at creation only, at most ten per object type. Whether tasks take one is
  not documented, so installing tries it and falls back to a plain property (documentation "Properties").
- Creating a property that exists gives 409; re-creating an archived one restores it.
- Changing the options of an enumeration replaces the whole list, so ours are added to those that are there.
- Every property belongs to a group; ours get their own where the object type takes groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.errors import ConnectorError, MissingPermission, RecordConflict, RecordRejected
from connector.log import get
from connector.model import FieldSchema, FieldSpec, InstallStep, ObjectSchema, Step
from connector.sources import hubspot_associations as associations
from connector.sources.hubspot_client import Api, Json, results

_LOG = get("hubspot")

GROUP = "connector"
GROUP_LABEL = "Connector"
#: Activities have no groups of ours: custom properties of tasks live in this one.
TASK_GROUP = "task_information"

#: The property of a task that holds our dedupe key.
TASK_KEY = "connector_task_key"
NOT_UNIQUE = (
    "not unique in this portal: whether a task is there is looked up before it is made, two calls more per 100 tasks"
)

#: our type of a field -> HubSpot's type and field type
TYPES: Mapping[str, tuple[str, str]] = {
    "text": ("string", "text"),
    "long_text": ("string", "textarea"),
    "number": ("number", "number"),
    "picklist": ("enumeration", "select"),
    "date": ("date", "date"),
    "datetime": ("datetime", "date"),
}

_DESCRIBED: Mapping[tuple[str, str], str] = {
    ("string", "textarea"): "long_text",
    ("string", "html"): "long_text",
    ("string", "phonenumber"): "phone",
    ("enumeration", "checkbox"): "multi_picklist",
    ("enumeration", "booleancheckbox"): "bool",
}
_DESCRIBED_BY_TYPE: Mapping[str, str] = {
    "string": "text",
    "number": "number",
    "bool": "bool",
    "date": "date",
    "datetime": "datetime",
    "enumeration": "picklist",
    "phone_number": "phone",
}


def describe(api: Api, object_types: Sequence[str]) -> dict[str, ObjectSchema]:
    """The properties of every object type that our scopes reach, and the associations that we read as fields."""
    schemas: dict[str, ObjectSchema] = {}
    for object_type in object_types:
        try:
            fields = {each["name"]: field_schema(each) for each in api.properties(object_type)}
        except (MissingPermission, RecordRejected) as error:
            # absent from the answer, as the port has it; `check` names the stream, its read fails by name
            _LOG.warning("describe.invisible", object_type=object_type, error=type(error).__name__)
            continue
        for to_type in associations.OF.get(object_type, ()):
            name = f"associations.{to_type}"
            fields[name] = FieldSchema(name, "reference", f"associated {to_type}", is_writable=False)
        schemas[object_type] = ObjectSchema(object_type, fields)
    return schemas


def field_schema(definition: Json) -> FieldSchema:
    """A property's definition in our terms."""
    kind, field_type = str(definition.get("type")), str(definition.get("fieldType"))
    described = _DESCRIBED.get((kind, field_type)) or _DESCRIBED_BY_TYPE.get(kind, "other")
    is_read_only = (definition.get("modificationMetadata") or {}).get("readOnlyValue") or definition.get("calculated")
    options = tuple(str(option["value"]) for option in definition.get("options") or ())
    return FieldSchema(
        name=str(definition["name"]),
        type="email" if definition["name"] == "email" else described,
        label=str(definition.get("label") or ""),
        is_writable=not is_read_only,
        options=options,
        is_restricted=described in ("picklist", "multi_picklist"),
        is_unique=bool(definition.get("hasUniqueValue")),
    )


# ------------------------------------------------------------------------------------------------ install


def install(api: Api, system: str, specs: Sequence[FieldSpec], *, is_dry: bool) -> list[InstallStep]:
    """Create what does not exist, object type by object type; with `is_dry` only say so."""
    steps: list[InstallStep] = []
    for object_type in dict.fromkeys(spec.object_type for spec in specs):
        own = [spec for spec in specs if spec.object_type == object_type]
        try:
            steps += _install_type(api, system, object_type, own, is_dry)
        except (MissingPermission, RecordRejected) as error:
            detail = f"{error}. {error.hint}".rstrip(". ")
            steps += [InstallStep(system, Step.FAILED, f"{object_type}.{spec.name}", detail) for spec in own]
    return steps


def _install_type(
    api: Api, system: str, object_type: str, specs: Sequence[FieldSpec], is_dry: bool
) -> list[InstallStep]:
    existing = {str(each["name"]): each for each in api.properties(object_type)}
    missing = [spec for spec in specs if spec.name not in existing]
    steps = [_compare(api, system, spec, existing[spec.name], is_dry) for spec in specs if spec.name in existing]
    if missing:
        steps += _ensure_group(api, system, object_type, is_dry)
    if is_dry:
        return steps + [InstallStep(system, Step.CREATE, _what(spec), _as_words(spec)) for spec in missing]
    steps += [_create_unique(api, system, spec) for spec in missing if spec.is_unique]
    return steps + _create(api, system, object_type, [spec for spec in missing if not spec.is_unique])


def _ensure_group(api: Api, system: str, object_type: str, is_dry: bool) -> list[InstallStep]:
    name = group_of(object_type)
    if name != GROUP or any(group.get("name") == GROUP for group in api.property_groups(object_type)):
        return []
    if not is_dry:
        api.create_group(object_type, {"name": GROUP, "label": GROUP_LABEL, "displayOrder": -1})
    return [InstallStep(system, Step.CREATE, f"{object_type} property group {GROUP}")]


def _create(api: Api, system: str, object_type: str, specs: Sequence[FieldSpec]) -> list[InstallStep]:
    if not specs:
        return []
    answer = api.create_properties(object_type, [definition(spec) for spec in specs])
    made = {str(each["name"]) for each in results(answer)}
    errors = [str(error.get("message") or error.get("category")) for error in answer.get("errors") or ()]
    refused = "; ".join(errors) or "HubSpot did not create it and gave no reason"
    return [
        InstallStep(system, Step.CREATE, _what(spec), _as_words(spec))
        if spec.name in made
        else InstallStep(system, Step.FAILED, _what(spec), refused)
        for spec in specs
    ]


def _create_unique(api: Api, system: str, spec: FieldSpec) -> InstallStep:
    try:
        api.create_property(spec.object_type, definition(spec))
    except RecordConflict:
        return InstallStep(system, Step.EXISTS, _what(spec))
    except (MissingPermission, RecordRejected):
        plain = definition(spec) | {"hasUniqueValue": False}
        api.create_property(spec.object_type, plain)
        return InstallStep(
            system,
            Step.CREATE,
            _what(spec),
            f"text, {NOT_UNIQUE}",
        )
    return InstallStep(system, Step.CREATE, _what(spec), _as_words(spec))


def _compare(api: Api, system: str, spec: FieldSpec, existing: Json, is_dry: bool) -> InstallStep:
    kind = TYPES[spec.type][0]
    if existing.get("type") != kind:
        return InstallStep(
            system, Step.DIFFERS, _what(spec), f"is of type {existing.get('type')}, we need {kind}: rename one of them"
        )
    there = existing.get("options") or []
    lacking = [value for value in spec.options if value not in {option["value"] for option in there}]
    if not lacking:
        is_plain = spec.is_unique and not existing.get("hasUniqueValue")
        return InstallStep(system, Step.EXISTS, _what(spec), NOT_UNIQUE if is_plain else "")
    if not is_dry:
        options = [*there, *_options(lacking, start=len(there))]
        try:
            api.update_property(spec.object_type, spec.name, {"options": options})
        except ConnectorError as error:
            return InstallStep(system, Step.FAILED, _what(spec), f"options {', '.join(lacking)}: {error}")
    return InstallStep(system, Step.CREATE, _what(spec), f"options {', '.join(lacking)}")


def group_of(object_type: str) -> str:
    """The property group that our properties of this object type belong to."""
    return TASK_GROUP if object_type == "tasks" else GROUP


def definition(spec: FieldSpec) -> Json:
    """The body that creates a property."""
    kind, field_type = TYPES[spec.type]
    body: Json = {
        "name": spec.name,
        "label": spec.label,
        "type": kind,
        "fieldType": field_type,
        "groupName": group_of(spec.object_type),
        "description": spec.description,
    }
    if spec.options:
        body["options"] = _options(spec.options, start=0)
    if spec.is_unique:
        body["hasUniqueValue"] = True
    return body


def _options(values: Sequence[str], *, start: int) -> list[Json]:
    return [
        {"label": value, "value": value, "displayOrder": start + place, "hidden": False}
        for place, value in enumerate(values)
    ]


def _what(spec: FieldSpec) -> str:
    return f"{spec.object_type}.{spec.name}"


def _as_words(spec: FieldSpec) -> str:
    words = [
        spec.type,
        f"({', '.join(spec.options)})" if spec.options else "",
        "unique, if the portal takes it" if spec.is_unique else "",
    ]
    return " ".join(word for word in words if word)
