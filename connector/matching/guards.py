"""The guards after the first two: which values are shared, which are weak, and where anything could be refused.

Each is a pure function of the present records, so a result never depends on the order of arrival.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute

from connector import identifiers
from connector.matching.components import components
from connector.matching.names import contradict
from connector.matching.star import CRM_ID, Star, distinct, runs, text
from connector.matching.terms import Terms

pc: Any = pyarrow.compute  # its published types know neither masks nor chunked columns

if TYPE_CHECKING:
    from connector.matching.components import Pairs

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Bools = np.ndarray[Any, np.dtype[np.bool_]]

#: Types whose limit holds for each part of their values: a network, a system's object type.
_PARTS = {"social_id": r"^([^:]*):.*$", CRM_ID: r"^([^|]*\|[^|]*)\|.*$"}


@dataclass(frozen=True, slots=True)
class Scopes:
    """What is limited: for each value its scope (-1: none), and for each scope its type and limit."""

    of_value: Ints
    types: tuple[str, ...]
    limits: Ints


def scopes(star: Star, terms: Terms) -> Scopes:
    """The scopes of the star's values. A scope is a type, or a type's part (one network)."""
    of_value = np.full(len(star.values), -1, dtype=np.int64)
    types: list[str] = []
    for place, type_ in enumerate(star.types):
        if type_ not in terms.limits:
            continue
        here = np.flatnonzero(star.type == place)
        if type_ not in _PARTS:
            of_value[here] = len(types)
            types.append(type_)
            continue
        parts = pc.replace_substring_regex(star.values.take(here), _PARTS[type_], r"\1").dictionary_encode()
        of_value[here] = np.asarray(parts.indices) + len(types)
        types.extend(type_ for _ in range(len(parts.dictionary)))
    return Scopes(of_value, tuple(types), np.array([terms.limits[each] for each in types], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Sharing:
    """For each value the distinct names, and the most exclusive ids of one scope, among its holders; and the verdict."""

    names: Ints
    exclusive: Ints
    is_shared: Bools


def sharing(star: Star, scoped: Scopes, terms: Terms) -> Sharing:
    """Values whose holders carry too many names, or two exclusive ids: a household's, a team's. They link nobody."""
    is_checked = star.is_type(frozenset(terms.shared_names)) & (star.present() > 1)
    names = np.zeros(len(star.values), dtype=np.int64)
    edges = is_checked[star.edge_value] & (star.name[star.edge_record] >= 0)
    if edges.any():
        width = len(star.names)
        pairs = distinct(star.edge_value[edges] * width + star.name[star.edge_record[edges]])
        names = np.bincount(pairs // width, minlength=len(star.values)).astype(np.int64)
    exclusive = _exclusive_ids(star, scoped, is_checked)
    limit = np.array([terms.shared_names.get(each, np.iinfo(np.int64).max) for each in star.types] or [0])[star.type]
    return Sharing(names, exclusive, is_checked & ((names > limit) | (exclusive > 1)))


def _exclusive_ids(star: Star, scoped: Scopes, is_checked: Bools) -> Ints:
    """The largest number of distinct exclusive ids of one scope that the holders of a value have."""
    most = np.zeros(len(star.values), dtype=np.int64)
    checked = is_checked[star.edge_value]
    size = (len(star.values), len(star.records))
    holders = _matrix(star.edge_value[checked], star.edge_record[checked], size)
    scope = scoped.of_value[star.edge_value]
    for each in np.flatnonzero(scoped.limits == 1):
        held = scope == each
        numbers, column = np.unique(star.edge_value[held], return_inverse=True)
        ids = _matrix(star.edge_record[held], column, (size[1], len(numbers)))
        np.maximum(most, np.diff((holders @ ids).indptr), out=most)
    return most


def _matrix(rows: Ints, columns: Ints, size: tuple[int, int]) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=size)


def weak(star: Star, terms: Terms) -> Bools:
    """Which values are weak evidence: those of weak types, and mailboxes of a role (info@, sales@)."""
    marks = star.is_type(terms.weak)
    mail = np.flatnonzero(star.is_type(frozenset({"email"})))
    local = pc.replace_substring_regex(star.values.take(mail), r"[+@].*$", "")
    roles = pc.is_in(local, value_set=text(sorted(identifiers.words("role_mailboxes"))))
    marks[mail] |= np.asarray(roles.to_numpy(zero_copy_only=False), dtype=bool)
    return marks


def hard(
    star: Star, linking: Star, component: Ints, scoped: Scopes, is_weak: Bools, *, judged: Ints, links: Pairs
) -> Bools:
    """For each component whether a merge inside it could be refused: then it goes through the ordered merge.

    `linking` is the star without its shared values, `component` its components, `judged` the records that people
    decided about.
    """
    count = int(component.max()) + 1 if len(component) else 0
    is_hard = _over_limit(star, component, scoped, count)
    is_hard[component[judged]] = True
    is_hard |= _contradicting(linking, component, is_weak, links, count)
    return is_hard


def _over_limit(star: Star, component: Ints, scoped: Scopes, count: int) -> Bools:
    edges = (scoped.of_value[star.edge_value] >= 0) & star.is_live[star.edge_record]
    width = max(len(star.values), 1)
    held = distinct(component[star.edge_record[edges]] * width + star.edge_value[edges])
    owner, scope = held // width, scoped.of_value[held % width]
    is_over = np.zeros(count, dtype=bool)
    for each, limit in enumerate(scoped.limits):
        is_over |= np.bincount(owner[scope == each], minlength=count) > limit
    return is_over


def _contradicting(linking: Star, component: Ints, is_weak: Bools, links: Pairs, count: int) -> Bools:
    """Components that only weak evidence holds together and whose names do not all agree."""
    marks = np.zeros(count, dtype=bool)
    known = linking.name >= 0
    width = max(len(linking.names), 1)
    pairs = distinct(component[known] * width + linking.name[known])
    several = np.bincount(pairs // width, minlength=count) > 1
    if not several.any():
        return marks
    strong = components(linking.without(is_weak), links)
    width_of_strong = int(strong.max()) + 1
    parts = distinct(component * width_of_strong + strong) // width_of_strong
    doubtful = several & (np.bincount(parts, minlength=count) > 1)
    chosen = pairs[doubtful[pairs // width]]
    owners, starts, ends = runs(chosen // width)
    texts = linking.names.take(chosen % width).to_pylist()
    for owner, start, end in zip(owners, starts, ends, strict=True):
        marks[owner] = any(contradict(one, other) for one, other in combinations(texts[start:end], 2))
    return marks
