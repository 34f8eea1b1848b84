"""Radial bases and the cosine envelope: a distance becomes a vector of smooth features.

Every implementation is a module with `expand(positions, receiver, sender, basis, edges=None)`.
"""
