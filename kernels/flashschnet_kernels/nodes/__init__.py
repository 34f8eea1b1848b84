"""All that happens to a bead between two sums over its neighbours: updates and output network.

`weights.NodeWeights` holds the weights, `reference` is the definition; `cpu` works on a CPU, and
`network_cpu` makes a whole network of it and of `filter_table`.
"""
