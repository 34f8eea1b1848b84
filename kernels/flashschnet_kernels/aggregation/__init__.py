"""Aggregation: what arrives over the pairs of a bead is summed into that bead."""
