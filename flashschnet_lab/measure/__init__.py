"""Measuring: accuracy first, then time and memory of a plan on a real protein."""
