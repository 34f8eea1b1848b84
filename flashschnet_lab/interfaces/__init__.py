"""Our force fields under other packages' drivers: ASE and TorchSim."""
