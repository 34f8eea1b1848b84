"""Simulation: state, integrators, engine, trajectory store, restart, receipt."""
