"""Radial bases and the cosine envelope: a distance becomes a vector of smooth features."""
