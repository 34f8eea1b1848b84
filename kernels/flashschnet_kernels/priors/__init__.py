"""Classical terms of a coarse-grained force field: bonds, angles, dihedrals, repulsion."""
