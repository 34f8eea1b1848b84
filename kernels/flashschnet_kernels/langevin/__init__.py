"""The random numbers of a Langevin step: one counter-based stream per replica."""
