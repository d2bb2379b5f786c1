"""The verb for what is set aside: list by cause, explain, retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from connector.cli.books import open_books
from connector.cli.screen import CONFIG, ConfigOption, JsonOption, WaitOption, escape, ok, print_json, tell
from connector.errors import ConnectorError
from connector.state import quarantine as asides
from connector.state.quarantine import Cause

_FEW = 20
_WHAT = {
    "value": "a value that could not be read; its record went on without it",
    "record": "a record that could not be read at all",
    "change": "a change that the system refused, or that failed too often",
    "field": "a field that the system does not show us: records come without it",
}
_RELEASE = {
    "value": "by itself, once the record is mapped without this problem: mend the value in the system, or the mapping",
    "record": "by itself, once the record comes again and can be read, if it has an id",
    "change": "by itself, once the value, the owner of a task, the mapping or the permission has changed",
    "field": "by itself, once the system shows it to us",
}


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(quarantine)


def quarantine(
    action: Annotated[Literal["list", "explain", "retry"], typer.Argument(help="What to do.")] = "list",
    cause: Annotated[
        int | None, typer.Argument(help="The number of one cause, as `list` shows it.", show_default="all")
    ] = None,
    config: ConfigOption = CONFIG,
    system: Annotated[str, typer.Option("--system", help="Only this system.")] = "",
    kind: Annotated[
        Literal["value", "record", "field", "change"] | None, typer.Option("--kind", help="Only this kind.")
    ] = None,
    code: Annotated[str, typer.Option("--code", help="Only this code.")] = "",
    as_json: JsonOption = False,
    wait: WaitOption = 0.0,
) -> None:
    """What is set aside, by cause: list it, explain it, try it again."""
    books = open_books(config)
    found = asides.causes(books.state, system=system, kind=kind or "", code=code)
    if system and not found:
        books.check(system)
    if cause is not None:
        found = [each for each in found if each.id == cause]
        if not found:
            raise ConnectorError(f"nothing is set aside under {cause}", hint="see `connector quarantine`")
    if action == "retry":
        from connector.cli.retry import retry

        retry(config, found, as_json=as_json, wait_s=wait)
    elif as_json:
        print_json([_as_json(each, is_whole=action == "explain") for each in found])
    elif not found:
        tell(ok("nothing is set aside" + (" of that" if system or kind or code else "")))
    elif action == "explain":
        for each in found:
            _explain(each)
    else:
        _list(found)


def _as_json(cause: Cause, *, is_whole: bool) -> dict[str, object]:
    values = asdict(cause)
    del values["keys"]
    if not is_whole:
        del values["records"]
    return values


def _list(found: Sequence[Cause]) -> None:
    for each in found:
        code = f"{escape(each.code)}, " if each.code else ""
        tell(
            f"[bold]{each.id:>6}[/bold]  {each.count:>6,} × {each.kind:<6} {each.system} {escape(each.where)}", below=8
        )
        tell(f"        {escape(each.reason)}  [dim]{code}since {each.first_at:%-d %b %H:%M} UTC[/dim]", below=8)
    total, most = sum(each.count for each in found), max(found, key=lambda each: each.count)
    tell(
        f"{total:,} in {len(found)} cause{'' if len(found) == 1 else 's'}; `connector quarantine explain {most.id}` says more"
    )


def _explain(cause: Cause) -> None:
    tell(f"[bold]{cause.system} {escape(cause.where)}: {escape(cause.reason)}[/bold]")
    tell(f"  what      {cause.count:,} × {_WHAT.get(cause.kind, cause.kind)}", below=12)
    tell(f"  code      {escape(cause.code or 'none')}", below=12)
    tell(
        f"  since     {cause.first_at:%-d %b %Y %H:%M} UTC, last {cause.last_at:%-d %b %Y %H:%M} UTC; "
        f"tried {'once' if cause.attempts == 1 else f'{cause.attempts} times'}",
        below=12,
    )
    if cause.hint:
        tell(f"  to do     {escape(cause.hint)}", below=12)
    tell(f"  released  {_RELEASE.get(cause.kind, '')}; or `connector quarantine retry {cause.id}`", below=12)
    for record in cause.records[:_FEW]:
        tell(f"    {escape(record.replace('|', ' '))}")
    if len(cause.records) > _FEW:
        tell(f"    [dim]… {len(cause.records) - _FEW:,} more with --json[/dim]")
