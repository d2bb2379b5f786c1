"""Connected components of a star, by scipy, with labels that depend on the members alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from connector.matching.star import Star

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Pairs = tuple[Ints, Ints]


def components(star: Star, links: Pairs) -> Ints:
    """For each record the number of its component over the star's edges and the `links` between pairs of records.

    The numbers go from 0 without a gap, in no particular order.
    """
    records = len(star.records)
    joins = star.present()[star.edge_value] > 1  # a value of one record joins nothing
    _, value = np.unique(star.edge_value[joins], return_inverse=True)
    rows = np.concatenate([star.edge_record[joins], links[0]])
    columns = np.concatenate([value + records, links[1]])
    nodes = records + (int(value.max()) + 1 if len(value) else 0)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(nodes, nodes))
    _, label = connected_components(graph, directed=False)
    _, dense = np.unique(label[:records], return_inverse=True)
    return dense.astype(np.int64)


def first_members(component: Ints, order: Ints) -> Ints:
    """For each component the index of its member that is first by `order` (a number of its own for each record)."""
    sequence = np.lexsort((order, component))
    starts = np.flatnonzero(np.diff(component[sequence], prepend=-1))
    first: Ints = sequence[starts]
    return first
