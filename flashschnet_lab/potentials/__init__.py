"""Potentials: the SchNet network, the classical priors, the structure-based teacher, their sum."""
