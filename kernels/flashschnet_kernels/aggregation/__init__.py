"""Aggregation: features of beads go out to edges, and what arrives over edges is summed into beads.

Every implementation is a module with `gather(features, edges)` and `aggregate(values, edges)`, each
the other's derivative: the edges from a bead are the opposites of those to it.
"""
