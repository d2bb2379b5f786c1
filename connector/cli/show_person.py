"""A person on the screen: who, how the records hang together, every score line, stages, writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from connector.cli.screen import Column, escape, table, tell
from connector.matching.terms import WORDS
from connector.report.explain import Explained
from connector.tables import POINT, VISITOR

_FEW = 12
#: More persons than this are only listed.
MANY = 3


def show_persons(found: Sequence[Explained]) -> None:
    """Several who are known by one value: a line for each."""
    rows = []
    for told in found:
        score = told.score
        scored = f"{score['score'] / POINT:.1f} {score['grade']}" if score else "–"
        stage = told.stages[0]["stage"] if told.stages else "–"
        rows.append([told.person["key"], scored, stage, _who(told)])
    table([Column("person"), Column("score", is_number=True), Column("stage"), Column("who")], rows)
    tell(f"{_count(len(found), 'person')} known by that; `connector explain {found[0].person['key']}` tells all of one")


def _who(told: Explained) -> str:
    """Name, title and company."""
    person, account = told.person, told.account or {}
    name = person.get("name") or person.get("email") or "somebody"
    parts = [name, person.get("title"), account.get("name") or person.get("company")]
    return escape(" · ".join(part for part in parts if part))


def show_person(told: Explained) -> None:
    """One screen; the rest is in `--json`."""
    known = [record for record in told.records if record["object_type"] != VISITOR]
    systems = {record["system"] for record in known}
    tell(f"\n[bold]{_who(told)}[/bold]  [dim]person {told.person['key']}[/dim]")
    traces = len(told.records) - len(known)
    more = f" and {traces} bare trace{'' if traces == 1 else 's'} (e-mail, cookie)" if traces else ""
    tell(
        f"  {_count(len(known), 'record')} in {_count(len(systems), 'system')}{more}"
        + (f" · owner {escape(told.owner)}" if told.owner else "")
    )
    _evidence(told)
    _score(told)
    _stages(told.stages, told.waits)
    _writes(told)
    _others(told.others)


def _others(others: Sequence[Mapping[str, Any]]) -> None:
    if others:
        tell("[bold]Other writers[/bold]")
    for each in others[:8]:
        where = f"  {escape(_record(each['record']))} {escape(each['field'])}"
        if "frozen_until" in each:
            until = f"frozen {_moment(each['at'])} to {_moment(each['frozen_until'])}"
            tell(f"{where} [yellow]{until}[/yellow]: {escape(each['why'])}")
        else:
            was, made = each["ours"] or "nothing", each["theirs"] or "nothing"
            tell(
                f"{where}  {escape(was)} → {escape(made)} by {escape(each['editor'])}  [dim]{_moment(each['at'])}[/dim]"
            )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _record(key: str) -> str:
    system, object_type, native_id = key.split("|", 2)
    return f"{system} {'trace' if object_type == VISITOR else object_type} {native_id[:12] if object_type == VISITOR else native_id}"


def _evidence(told: Explained) -> None:
    tell("\n[bold]Who[/bold]")
    if not told.evidence:
        tell(f"  {escape(_record(told.records[0]['key']))}")
    seen: set[tuple[str, str]] = set()
    for chain in told.evidence:
        for hop in chain:
            pair = (hop["left"], hop["right"])
            if pair in seen or len(seen) >= _FEW:
                continue
            seen.add(pair)
            word = WORDS.get(hop["type"], (hop["type"],))[0]
            value = "" if hop["type"] == "crm_id" else f" {hop['value']}"
            tell(
                f"  {escape(_record(hop['left']))} [dim]──[/dim] {escape(word + value)} [dim]──[/dim] {escape(_record(hop['right']))}"
            )
    if sum(len(chain) for chain in told.evidence) > _FEW:
        tell("  [dim]… the rest with --json[/dim]")
    for reason in told.refused[:5]:
        tell(f"  [yellow]not joined[/yellow]: {escape(reason)}")


def _score(told: Explained) -> None:
    score = told.score
    tell("\n[bold]Score[/bold]")
    if score is None:
        tell("  not scored yet")
        return
    tell(
        f"  [bold]{score['score'] / POINT:.1f}[/bold] · grade {score['grade']} · fit {score['fit'] / POINT:.1f} "
        f"({score['coverage_known']} of {score['coverage_of']} inputs known) · engagement {score['engagement'] / POINT:.1f}"
        + _crossing(told.crossing)
    )
    for line in told.lines:
        points = line["points"] / POINT
        colour = "green" if points > 0 else "red"
        count = f"  [dim]{line['events']}×[/dim]" if (line.get("events") or 0) > 1 else ""
        said = line["half"] if line["half"] != "fit" else _read(told.inputs.get(line["rule"], ()))
        text = f"{escape(str(line['text']))}{count}  [dim]{escape(said)}[/dim]"
        tell(f"  [{colour}]{points:+7.1f}[/{colour}]  {text}")
    if not told.lines:
        tell("    [dim]no rule gives or takes points[/dim]")
    tell(f"  = {sum(line['points'] for line in told.lines) / POINT:.1f}")


def _crossing(crossing: Mapping[str, Any] | None) -> str:
    """What decay alone will change next, and when."""
    if crossing is None:
        return ""
    what = "" if crossing["half"] == "score" else f"{crossing['half']} "
    way = "below" if crossing["is_down"] else "up to"
    grade = f" (grade {crossing['grade']})" if crossing["grade"] else ""
    return f" · {what}{way} {crossing['level']:g}{grade} on {_day(crossing['at'])} if nothing happens"


def _read(inputs: Sequence[Mapping[str, Any]]) -> str:
    """What a fit rule read: field, value, and the system and object that gave it."""
    parts = []
    for given in inputs:
        source = "" if given["record"] is None else " (" + " ".join(given["record"].split("|")[:2]) + ")"
        value = f"{given['value']:,}" if type(given["value"]) is int else str(given["value"])
        parts.append(f"{given['field'].replace('.', ' ').replace('_', ' ')} {value}{source}")
    return "fit" + (": " + ", ".join(parts) if parts else "")


#: why time alone may change something -> how that reads
_WAITS = {
    "dwell": "has been low for long enough to leave its stage",
    "fact": "a window or an age that a condition looks at ends",
    "event": "something that is planned happens",
}


def _stages(stages: Sequence[Mapping[str, Any]], waits: Sequence[Mapping[str, Any]]) -> None:
    tell("\n[bold]Stage[/bold]")
    if not stages:
        tell("  none yet")
    for interval in stages[:6]:
        until = "now" if interval["left_at"] is None else _day(interval["left_at"])
        tell(
            f"  {interval['stage']:<9} {_day(interval['entered_at'])} – {until}  [dim]{escape(interval['why'] or '')}[/dim]"
        )
    for wait in waits:
        tell(f"  looked at again {_day(wait['due_at'])}  [dim]{_WAITS.get(wait['why'], wait['why'])}[/dim]")


def _writes(told: Explained) -> None:
    tell("\n[bold]Written[/bold]")
    if not told.writes:
        tell("  nothing yet")
    for write in told.writes[:6]:
        if write["task"]:
            what = f"task “{write['task']}”"
        else:
            what = " · ".join(
                f"{name} {value}" for name, value in list(write["fields"].items())[:3] if value is not None
            )
        how = write["result"] + (f" ({write['code']})" if write["code"] else "")
        tell(
            f"  {write['system']} {write['object_type']} {escape(write['native_id'])}  {escape(what)}  "
            f"[dim]{_moment(write['at'])}, run {write['run']}, {how}[/dim]"
        )
    tell("")


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"


def _moment(at: datetime) -> str:
    return f"{at.day} {at:%b %H:%M}"
