"""What a trajectory says: structure measures (`structure`) and still pictures (`pictures`)."""
