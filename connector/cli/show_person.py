"""A person on the screen: who, how the records hang together, every score line, stages, writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from connector.cli.screen import Column, escape, table, tell
from connector.matching.terms import WORDS
from connector.report import tenths
from connector.report.explain import Explained
from connector.tables import POINT, VISITOR

_FEW = 12
_FEW_APART = 5
_FEW_OTHERS = 3
_FEW_WRITES = 6
_FEW_VALUES = 3  # of one type, such as cookies
_LONG_VALUE = 40  # what is longer moves only its own line
_LONGEST = 120  # letters of what somebody wrote that are shown
#: More persons than this are only listed.
MANY = 3


def show_persons(found: Sequence[Explained]) -> None:
    """Several who are known by one value: a line for each."""
    _found_by(found)
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
    return escape(" · ".join(_short(part) for part in parts if part))


def _short(text: str) -> str:
    """What somebody wrote at any length; --json has all of it."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def show_few(found: Sequence[Explained]) -> None:
    """Each of them whole."""
    _found_by(found)
    for told in found:
        _show(told)


def _found_by(found: Sequence[Explained]) -> None:
    if found[0].found_by:
        tell(f"nobody has that very address; found by {escape(found[0].found_by)}, which reaches the same mailbox")
    for record, into in found[0].merged.items():
        tell(f"{escape(_record(record))} was merged into {escape(_record(into))}")


def _show(told: Explained) -> None:
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
    _consent(told.consent)
    _evidence(told)
    _identifiers(told.identifiers)
    _score(told)
    _stages(told.stages, told.waits)
    _writes(told)
    _others(told.others)


def _consent(refusals: Sequence[Mapping[str, Any]]) -> None:
    if refusals:
        tell("\n[bold]Consent[/bold]")
    for each in refusals[:_FEW]:
        since = f", since {_day(each['since_at'])}" if each["since_at"] else ""
        tell(f"  [yellow]{escape(each['text'])}[/yellow]  [dim]{escape(_record(each['record']))}{since}[/dim]")
    _more(len(refusals) - _FEW)


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
    hops = sorted(told.evidence, key=_is_trace)
    for hop in hops[:_FEW]:
        tell(
            f"  {escape(_record(hop['left']))} [dim]──[/dim] {escape(_link(hop))} [dim]──[/dim] {escape(_record(hop['right']))}"
        )
    _more(len(hops) - _FEW)
    reached = {end for hop in hops for end in (hop["left"], hop["right"])}
    for record in told.records:
        if record["key"] not in reached:
            tell(f"  {escape(_record(record['key']))}")
    for reason in told.refused[:_FEW_APART]:
        tell(f"  {_apart(reason)}")
    _more(len(told.refused) - _FEW_APART)


#: Follows from the address beside it: what every address has says nothing of this one.
_DERIVED = "email_base"


def _identifiers(known: Sequence[Mapping[str, Any]]) -> None:
    """What the records are known by, type by type: in which systems, and why it joins nobody."""
    shown = [each for each in known if each["type"] != _DERIVED]
    tell("\n[bold]Known by[/bold]")
    if not shown:
        tell("  nothing")
    types = dict.fromkeys(each["type"] for each in shown)
    wide = max((len(WORDS[each][0]) for each in types), default=0)
    long = max((len(_value(each)) for each in shown if len(_value(each)) <= _LONG_VALUE), default=0)
    for type_ in types:
        mine = [each for each in shown if each["type"] == type_]
        for place, each in enumerate(mine[:_FEW_VALUES]):
            word = "" if place else WORDS[type_][0]
            tell(f"  {word:<{wide}}  {escape(f'{_value(each):<{long}}')}  {_where(each)}", below=wide + long + 6)
        if len(mine) > _FEW_VALUES:
            tell(f"  {'':<{wide}}  [dim]… {len(mine) - _FEW_VALUES} more with --json[/dim]")


def _value(known: Mapping[str, Any]) -> str:
    return _record(known["value"]) if known["type"] == "crm_id" else _short(str(known["value"]))


def _where(known: Mapping[str, Any]) -> str:
    """The systems that say an identifier of the person, and why it joins nobody."""
    systems = dict.fromkeys(record.split("|")[0] for record in known["records"])
    lost = f"withdrawn {_day(known['withdrawn_at'])}" if known["withdrawn_at"] else known["unused"]
    return f"[dim]{escape(', '.join(systems))}[/dim]" + (f"  [yellow]{escape(lost)}[/yellow]" if lost else "")


def _is_trace(hop: Mapping[str, Any]) -> bool:
    return bool(hop["right"].split("|")[1] == VISITOR)


def _link(hop: Mapping[str, Any]) -> str:
    """What joins two records: what their system did with them, or the value that both have."""
    word = "joined by" if hop["type"] == "judgement" else WORDS[hop["type"]][0]
    is_own = hop["value"] in (hop["left"], hop["right"])  # a CRM id that is one of the two
    return str(hop["how"]) or (word if is_own else f"{word} {hop['value']}")


def _apart(reason: Mapping[str, Any]) -> str:
    """Who was not joined with this person though they have a value in common: a record of each, by name, and why."""
    judged = reason["type"] == "judgement"
    shares = "" if judged else f"{WORDS[reason['type']][0]} {reason['value']}: "
    whom = _one_of_each(reason["others"])
    if not whom:
        return f"[yellow]not used[/yellow]: {escape(shares + reason['why'])}"
    named = [
        _record(other["record"]) + (f' "{other["name"]}"' if other["name"] else "") for other in whom[:_FEW_OTHERS]
    ]
    more = f" and {len(whom) - _FEW_OTHERS} more" if len(whom) > _FEW_OTHERS else ""
    why = f"({'' if judged else 'shares '}{shares}{reason['why']})"
    return f"[yellow]not joined[/yellow]: {escape(', '.join(named) + more)} [dim]{escape(why)}[/dim]"


def _one_of_each(others: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first record of each person, of those that give a name if any does."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for other in others:
        known = chosen.setdefault(other["person"] or other["record"], other)
        if other["name"] and not known["name"]:
            chosen[other["person"] or other["record"]] = other
    return list(chosen.values())


def _more(count: int) -> None:
    if count > 0:
        tell(f"  [dim]… {count} more with --json[/dim]")


def _score(told: Explained) -> None:
    score = told.score
    tell("\n[bold]Score[/bold]" + (f"  [dim]as of {_moment(score['scored_at'])}[/dim]" if score else ""))
    if score is None:
        tell("  not scored yet")
        return
    total = tenths.rounded(score["score"])
    fit, engagement = tenths.shared_out([score["fit"], score["engagement"]], total)
    tell(
        f"  [bold]{total / 10:.1f}[/bold] · grade {score['grade']} · fit {fit / 10:.1f} "
        f"({score['coverage_known']} of {score['coverage_of']} inputs known) · engagement {engagement / 10:.1f}"
        + _crossing(told.crossing)
    )
    shown = _shown(told.lines, {"fit": fit, "engagement": engagement})
    for line, points in zip(told.lines, shown, strict=True):
        colour = "green" if line["points"] > 0 else "red"
        count = f"  [dim]{line['events']}×[/dim]" if (line.get("events") or 0) > 1 else ""
        said = line["half"] if line["half"] != "fit" else _read(told.inputs.get(line["rule"], ()))
        text = f"{escape(str(line['text']))}{count}  [dim]{escape(said)}[/dim]"
        tell(f"  [{colour}]{points:+7.1f}[/{colour}]  {text}")
    if not told.lines:
        tell("    [dim]no rule gives or takes points[/dim]")
    tell(f"  = {sum(shown):.1f}")


def _shown(lines: Sequence[Mapping[str, Any]], halves: Mapping[str, int]) -> list[float]:
    """The lines' points to a tenth, so that those of each half add up to what is shown of it."""
    points = [0.0] * len(lines)
    for half, total in halves.items():
        mine = [place for place, line in enumerate(lines) if line["half"] == half]
        for place, part in zip(mine, tenths.shared_out([lines[each]["points"] for each in mine], total), strict=True):
            points[place] = math.copysign(part / 10, lines[place]["points"])
    return points


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
        value = "empty" if given["value"] is None else value
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
    chosen = _first_to_tell(told.writes)
    for place in chosen:
        tell(f"  {_write(told.writes[place])}")
    _more(len(told.writes) - len(chosen))
    tell("")


def _first_to_tell(writes: Sequence[Mapping[str, Any]]) -> list[int]:
    """The latest write of fields to each record, and every task; then as many of the others as there is room for."""
    newest: dict[tuple[str, ...], int] = {}
    for place, write in enumerate(writes):
        if not write["task"]:
            newest.setdefault((write["system"], write["object_type"], write["native_id"]), place)
    chosen = {place for place, write in enumerate(writes) if write["task"]} | set(newest.values())
    room = max(0, _FEW_WRITES - len(chosen))
    others = [place for place in range(len(writes)) if place not in chosen]
    return sorted([*chosen, *others[:room]])


def _write(write: Mapping[str, Any]) -> str:
    if write["task"]:
        what = f"task “{write['task']}”"
    else:
        what = " · ".join(f"{name} {value}" for name, value in list(write["fields"].items())[:3] if value is not None)
    how = write["result"] + (f" ({write['code']})" if write["code"] else "")
    if write["status"] == "withdrawn":
        how = "withdrawn" + (f": {write['held_because']}" if write["held_because"] else "")
    how += f", {len(write['tries'])} tries" if len(write["tries"]) > 1 else ""
    went = f", {write['how']} {_record(write['into'])}" if write["into"] else ""
    return (
        f"{write['system']} {write['object_type']} {escape(write['native_id'] + went)}  {escape(what)}  "
        f"[dim]{_moment(write['at'])}, run {write['run']}, {escape(how)}[/dim]"
    )


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"


def _moment(at: datetime) -> str:
    return f"{at.day} {at:%b %H:%M}"
