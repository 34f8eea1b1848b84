"""Neighbour search: which beads of the same molecule lie within the cutoff.

`reference` is the definition, `verlet` the list that a simulation keeps.
"""
