"""A graph without the nodes that only lead on, for many searches from the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, triu
from scipy.sparse.csgraph import connected_components

from placevec.features.roads.routing import fastest

Ints = NDArray[np.int64]


def contract(graph: csr_array, keep: NDArray[np.bool_]) -> tuple[csr_array, Ints]:
    """The graph of fewer nodes in which the costs of the best ways between the nodes to `keep` are the same.

    Chains through nodes of two neighbours become one edge, dead ends without a node to keep vanish; then again, until a
    round takes away less than a twentieth.

    Args:
        graph: (n, n) costs > 0, the same in both directions.
        keep: (n,) nodes that stay.

    Returns:
        the smaller graph, and the rows (k,) that its nodes had, ascending.
    """
    rows = np.arange(graph.shape[0])
    while True:
        smaller, stay = _once(graph, keep[rows])
        done = len(stay) >= 0.95 * len(rows)
        graph, rows = smaller, rows[stay]
        if done:
            return graph, rows


def _once(graph: csr_array, keep: NDArray[np.bool_]) -> tuple[csr_array, Ints]:
    n = graph.shape[0]
    half = coo_array(triu(graph))
    a, b, cost = half.row.astype(np.int64), half.col.astype(np.int64), np.asarray(half.data, dtype=np.float64)
    gone = ~keep & (np.bincount(a, minlength=n) + np.bincount(b, minlength=n) <= 2)
    inner = gone[a] & gone[b]
    links = coo_array((np.ones(int(inner.sum()), dtype=np.int8), (a[inner], b[inner])), shape=(n, n))
    parts, label = connected_components(links, directed=False)
    length = np.bincount(label[a[inner]], cost[inner], minlength=parts)
    # Each chain touches the rest with at most two edges: with one it is a dead end, with none a lonely ring.
    rim = gone[a] != gone[b]
    chain = label[np.where(gone[a[rim]], a[rim], b[rim])].astype(np.int64)
    end, step = np.where(gone[a[rim]], b[rim], a[rim]), cost[rim]
    order = np.argsort(chain, kind="stable")
    chain, end, step = chain[order], end[order], step[order]
    one = np.flatnonzero(chain[1:] == chain[:-1])
    plain = ~gone[a] & ~gone[b]
    u = np.concatenate([a[plain], end[one]])
    v = np.concatenate([b[plain], end[one + 1]])
    w = np.concatenate([cost[plain], length[chain[one]] + step[one] + step[one + 1]])
    stay = np.flatnonzero(~gone)
    number = np.cumsum(~gone) - 1
    u, v = number[u], number[v]
    return fastest(np.concatenate([u, v]), np.concatenate([v, u]), np.concatenate([w, w]), len(stay)), stay
