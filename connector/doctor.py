"""Is it right: what the systems say about our access, and creating the fields that we write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches

from connector import mapping
from connector.budget import CONSENT, READ
from connector.errors import ConnectorError, QuotaExhausted
from connector.model import (
    Change,
    Check,
    FieldSchema,
    FieldSpec,
    Finding,
    InstallStep,
    ObjectSchema,
    Request,
    Stream,
    System,
)
from connector.plan import OUTPUTS
from connector.state import holdings
from connector.steps.reads import fields_of
from connector.steps.setup import Connected, Setup

_CLOCK_SKEW_S = 120
_LABELS = {
    "score": "Score",
    "grade": "Grade",
    "stage": "Lifecycle Stage",
    "stage_since": "Lifecycle Stage Since",
    "reasons": "Score Reasons",
    "person_id": "Person Id",
}
#: What we write -> the types of fields that take it. A long text holds notes of people, not what is sorted and filtered by.
TAKEN_BY: Mapping[str, tuple[str, ...]] = {
    "number": ("number", "integer", "text"),
    "picklist": ("picklist", "text"),
    "datetime": ("datetime", "date", "text"),
    "text": ("text", "long_text"),
}
_NEARLY = 0.85  # how alike a name is to one that it may stand for: a new one is as good
_LETTERS = 20  # of an instant; of a number fewer


@dataclass(frozen=True)
class Checked:
    """What one system's check came to: what it says, or why it could not be asked."""

    system: str
    title: str
    check: Check | None
    findings: tuple[Finding, ...]
    error: ConnectorError | None = None

    @property
    def is_only_waiting(self) -> bool:
        """Whether it could not be asked for want of calls alone: nothing is wrong then."""
        return isinstance(self.error, QuotaExhausted)


def check(setup: Setup, connected: Connected, system: System) -> Checked:
    """Sign in, and hold what we read and write against what the system shows us. Changes nothing."""
    requests = [_judged_by_it(stream, connected) for stream in connected.streams()]
    if system.governor is not None:
        system.governor.admit(CONSENT, 0)  # a check is asked for by a person
    try:
        told = system.source.check(requests)
        objects = dict.fromkeys([request.stream.object_type for request in requests] + list(connected.outputs))
        schemas = system.source.describe(list(objects))
    except ConnectorError as problem:
        return Checked(connected.name, connected.adapter.title, None, (), problem)
    findings = [*told.findings, *_mapping_findings(connected, schemas), *_output_findings(setup, connected, schemas)]
    findings += _quota_findings(connected.name, system)
    if abs(told.clock_skew_s) > _CLOCK_SKEW_S:
        findings.append(
            Finding(
                "warning",
                f"its clock and ours are {abs(told.clock_skew_s):.0f} s apart",
                "synchronise this machine's clock (NTP)",
            )
        )
    return Checked(connected.name, connected.adapter.title, told, tuple(findings))


def left_behind(setup: Setup) -> list[Checked]:
    """Systems of which the stores hold something and that are not in the configuration any more."""
    return [
        Checked(each.system, "", None, (Finding("warning", each.what, each.mend),))
        for each in holdings.left_behind(setup.state, setup.systems)
    ]


def open_secrets(files: Mapping[str, str]) -> list[Checked]:
    """Secrets (by their path in the configuration) in files that others than their owner may read."""
    found = [
        Finding("warning", f"{path}: others may read the file {file}", f"chmod 600 {file}")
        for path, file in files.items()
    ]
    return [Checked("secrets", "", None, tuple(found))] if found else []


def _quota_findings(name: str, system: System) -> list[Finding]:
    told = system.governor.budget() if system.governor is not None else None
    if told is None or told.left(READ) != 0:
        return []
    what = (
        f"{told.ours:,} of our {told.calls:,} calls of today are used; the system's other clients used {told.others:,}"
    )
    return [Finding("warning", what, f"it goes on by itself; [systems.{name}.quota] says how many are ours")]


def _judged_by_it(stream: Stream, connected: Connected) -> Request:
    """What the system itself is asked about: our outputs and the fields that the admin named have rules, and mends, of their own."""
    own = connected.ours(stream.object_type)
    named = {name for name in connected.mappings[stream.name].overridden if "." not in name}
    return Request(stream, tuple(name for name in fields_of(connected, stream) if name not in own | named))


def _mapping_findings(connected: Connected, schemas: Mapping[str, ObjectSchema]) -> list[Finding]:
    findings = []
    for stream in connected.streams():
        schema = schemas.get(stream.object_type)
        if schema is None:
            continue
        mapped = connected.mappings[stream.name]
        named = mapped.overridden - connected.ours(stream.object_type)
        for problem in mapping.validate(connected.name, mapped, schema, of=named):
            findings.append(Finding("error", f"{problem.path}: {problem.what}", problem.mend))
    return findings


def _output_findings(setup: Setup, connected: Connected, schemas: Mapping[str, ObjectSchema]) -> list[Finding]:
    if setup.writeback.systems and connected.name not in setup.writeback.systems:
        return []
    missing: dict[str, list[str]] = {}
    locked: dict[str, list[str]] = {}
    unfit: list[Finding] = []
    for spec in specs(setup, connected):
        schema = schemas.get(spec.object_type)
        found = schema.fields.get(spec.name) if schema else None
        if schema is not None and found is None:
            missing.setdefault(spec.object_type, []).append(spec.name)
        elif found is not None and not found.is_writable:
            locked.setdefault(spec.object_type, []).append(spec.name)
        elif found is not None and (why := misfit(spec, found)):
            unfit.append(Finding("error", f"{spec.object_type}.{spec.name} {why}", _refit(connected, spec, found)))
    absent = [
        Finding("error", f"{name}: no {_listed(fields)} to write to", _made(setup, connected, schemas[name], fields))
        for name, fields in missing.items()
    ]
    mend = "give our user edit access"
    locks = [
        Finding("error", f"{name}: {_listed(fields)} not writable for us", mend) for name, fields in locked.items()
    ]
    return absent + locks + unfit


def _made(setup: Setup, connected: Connected, schema: ObjectSchema, missing: Sequence[str]) -> str:
    """What to do about fields that are not there; one that is there, nearly has the name of one and takes what goes there may be meant."""
    wanted = {spec.name: spec for spec in specs(setup, connected) if spec.object_type == schema.object_type}
    free = {name: found for name, found in schema.fields.items() if found.is_writable and name not in wanted}
    meant: list[str] = []
    for name in missing:
        fitting = [other for other, found in free.items() if not misfit(wanted[name], found)]
        near = get_close_matches(name, fitting, n=1, cutoff=_NEARLY)
        meant += [f'did you mean "{other}" by {name}?' for other in near]
    install = f"run `connector install {connected.name}`"
    return " ".join([*meant, f"Else {install}"]) if meant else install


def misfit(spec: FieldSpec, found: FieldSchema) -> str:
    """Why a field that is there does not hold what we write ("" when it does). One that rounds or cuts our values is the customer's
    own choice."""
    if found.type not in TAKEN_BY[spec.type] and found.type != "other":  # what is not told is not judged
        return f"is of type {found.type.replace('_', ' ')}, and cannot hold the {spec.label.lower()} ({spec.type})"
    if found.type == "picklist" and found.is_restricted:
        lacking = [option for option in spec.options if option not in found.options]
        return f"lacks the values {_listed(lacking)}" if lacking else ""
    needed = max(map(len, spec.options)) if spec.options else spec.length if spec.type == "text" else _LETTERS
    if found.type in ("text", "long_text") and found.length and found.length < needed:
        return f"holds {found.length} characters, should hold {needed}"
    return ""


def _refit(connected: Connected, spec: FieldSpec, found: FieldSchema) -> str:
    """What to do about a field that is there and does not hold what we write."""
    outputs = connected.outputs.get(spec.object_type, {})
    output = next((output for output, native in outputs.items() if native == spec.name), "")
    if not output:
        return "give it the type that we need, or rename it, so that `connector install` makes ours"
    option = f"writeback.fields.{connected.name}.{spec.object_type}.{output}"
    otherwise = f'name another one in {option} ("" leaves it out)'
    if spec.type == found.type == "picklist":  # it only lacks values, which not every system lets us add
        return f"run `connector install {connected.name}`; if it says that the field differs, add them yourself, or {otherwise}"
    return f"change the field, or {otherwise}"


def unready(setup: Setup, systems: Mapping[str, System], changes: Sequence[Change]) -> Sequence[tuple[str, Finding]]:
    """What is missing for changes to be taken, by system. A system that cannot be asked is told of elsewhere."""
    found: list[tuple[str, Finding]] = []
    for name in dict.fromkeys(change.system for change in changes):
        if name in systems:
            connected = setup.systems[name]
            types = dict.fromkeys(spec.object_type for spec in specs(setup, connected))
            with suppress(ConnectorError):
                schemas = systems[name].source.describe(list(types))
                found += [(name, each) for each in _output_findings(setup, connected, schemas)]
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def specs(setup: Setup, connected: Connected) -> list[FieldSpec]:
    """The fields that we write in one system, as `install` creates them."""
    model = setup.models.get(setup.writeback.model)
    options = {"stage": tuple(setup.lifecycle.stage_names), "grade": model.grade_names if model else ()}
    made = [
        FieldSpec(
            object_type=object_type,
            name=native,
            label=_LABELS[output],
            type=OUTPUTS[output][1],
            length=64 if output == "person_id" else 255,
            options=options.get(output, ()),
            description=f"Written by the connector: {_LABELS[output].lower()} of the person behind this record.",
        )
        for object_type, fields in connected.outputs.items()
        for output, native in fields.items()
    ]
    object_type, native = connected.capabilities.task_key
    if native:
        described = "Written by the connector: makes sure that a task is made once."
        made.append(
            FieldSpec(object_type, native, "Task Key", "text", length=64, is_unique=True, description=described)
        )
    return made


def install(setup: Setup, connected: Connected, system: System, *, is_dry: bool) -> Sequence[InstallStep]:
    """Create the fields that we write, or say what would be created. Raises what the system raises."""
    if system.target is None:
        return []
    return system.target.install(specs(setup, connected), is_dry=is_dry)
