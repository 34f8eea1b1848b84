"""Continuous-filter convolution: every bead gathers its neighbours through distance filters.

An implementation is a module with `links(pairs)`, the rows that filters are evaluated on, and
`pass_messages(features, filters, links)`. All give the same messages.
"""

from flashschnet_kernels.message_passing import edge_list, reference

IMPLEMENTATIONS = {"reference": reference, "edge_list": edge_list}
