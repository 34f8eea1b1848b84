"""Proteins as beads: from a structure file, or from a sequence, to positions and topology."""
