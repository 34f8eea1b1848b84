"""Continuous-filter convolution: every bead gathers its neighbours through distance filters."""
