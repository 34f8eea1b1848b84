"""What a trajectory says.

Numbers of every frame of a run come from `observables`, surfaces from `landscape`, who is folded
from `folding`, slow modes from `kinetics`, and how far two runs are apart from `ensembles`.
Trajectories are read in pieces (`blocks`). `flashschnet_lab.report` makes a page of all of it.
"""
