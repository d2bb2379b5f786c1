"""Connected components of a star, by scipy, with labels that depend on the members alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from connector.matching.star import Star, renumbered

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Pairs = tuple[Ints, Ints]


def components(star: Star, links: Pairs) -> Ints:
    """For each record the number of its component over the star's edges and the `links` between pairs of records.

    The numbers go from 0 without a gap, in no particular order.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    records = len(star.records)
    does_join = star.present() > 1  # a value of one record joins nothing
    edges = does_join[star.edge_value]
    node = np.cumsum(does_join) - 1 + records
    rows = np.concatenate([star.edge_record[edges], links[0]])
    columns = np.concatenate([node[star.edge_value[edges]], links[1]])
    nodes = records + int(does_join.sum())
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(nodes, nodes))
    count, label = connected_components(graph, directed=False)
    return renumbered(label[:records], count)


def first_members(component: Ints, order: Ints) -> Ints:
    """For each component the index of its member that is first by `order` (a number of its own for each record)."""
    size = int(component.max()) + 1 if len(component) else 0
    lowest = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(lowest, component, order)
    places = np.flatnonzero(lowest[component] == order)
    first = np.zeros(size, dtype=np.int64)
    first[component[places]] = places
    return first
