"""Neighbour search: which beads of the same molecule lie within the cutoff."""
