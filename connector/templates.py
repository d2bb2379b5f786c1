"""Templates of tasks: what they may name, and the text that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import jinja2.meta
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

from connector import rules
from connector.tables import ACCOUNT, PERSON

#: What a template is given -> the fields of each, of a reason for the list of reasons; () for plain values.
GIVEN: Mapping[str, Sequence[str]] = {
    "person": PERSON.names,
    "account": ACCOUNT.names,
    **dict.fromkeys(("score", "fit", "engagement", "grade", "stage"), ()),
    "reasons": ("text", "points", "rule"),
    "trigger": (),
}
_ENVIRONMENT = SandboxedEnvironment(
    undefined=jinja2.ChainableUndefined, finalize=lambda value: "" if value is None else value, autoescape=False
)


def rendered(template: str, words: Mapping[str, Any]) -> str:
    """The text of a template, which `wrong` found nothing in, with the values of `GIVEN`."""
    return _ENVIRONMENT.from_string(template).render(words)


def wrong(template: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a template, each with its mend."""
    try:
        tree = _ENVIRONMENT.parse(template)
        _ENVIRONMENT.from_string(template)
    except jinja2.TemplateError as error:
        yield f"is not a template: {error.message}", "write names as {{ person.first_name }}"
        return
    for name in sorted(jinja2.meta.find_undeclared_variables(tree) - set(GIVEN)):
        yield f'unknown name "{name}"', rules.did_you_mean(name, list(GIVEN))
    looped = {
        _name(each.target): GIVEN["reasons"] for each in tree.find_all(nodes.For) if _name(each.iter) == "reasons"
    }
    for node in tree.find_all(nodes.Getattr):
        of = _name(node.node.node if isinstance(node.node, nodes.Getitem) else node.node)
        known = looped.get(of) or GIVEN.get(of)
        if known and node.attr not in known:
            yield f'unknown field "{of}.{node.attr}"', rules.did_you_mean(node.attr, known)
    if (odd := next((node for node in tree.find_all(nodes.Node) if not _is_plain(node)), None)) is not None:
        what = "may name person.first_name or reasons[0].text, and use filters; nothing deeper, no calls"
        yield f"a template {what} (line {odd.lineno})", "write the name itself"


def _name(node: nodes.Node) -> str:
    return node.name if isinstance(node, nodes.Name) else ""


def _is_plain(node: nodes.Node) -> bool:
    """Whether a part of a template stays with plain names: one attribute of a name or of a numbered item, and no call."""
    if isinstance(node, nodes.Getattr):
        is_near = isinstance(node.node, nodes.Getitem) or (
            isinstance(node.node, nodes.Name) and node.node.name not in set(GIVEN) - {"person", "account"}
        )
        return is_near and not node.attr.startswith("_")
    if isinstance(node, nodes.Getitem):
        is_number = isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, int)
        return is_number and isinstance(node.node, nodes.Name)
    return not isinstance(
        node,
        nodes.Call | nodes.CallBlock | nodes.Macro | nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends,
    ) and not (isinstance(node, nodes.Filter) and node.name in ("attr", "map", "selectattr", "rejectattr", "groupby"))
