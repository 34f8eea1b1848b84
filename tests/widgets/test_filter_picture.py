"""Filters of network and table: the curves are theirs."""

from __future__ import annotations

import copy
import math

import torch

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.table import build_table
from flashschnet_lab.potentials.table_errors import filter_networks
from flashschnet_lab.widgets.filter_picture import filter_curves, filter_picture


def test_the_curves_are_those_of_the_network_and_its_table(system):
    network = system.model.network
    cutoff = network.shape.cutoff
    errors = []
    for pieces in (64, 128):
        table = build_table(filter_networks(network), Knots(pieces, 0.0, cutoff), "cubic")
        r_ij, exact, tabulated = filter_curves(network, table, block=1)
        assert exact.shape == tabulated.shape == (len(r_ij), network.shape.channels)
        errors.append(float((exact - tabulated).abs().max()))
    assert errors[1] < errors[0] / 4  # in the limit of many pieces 16 times smaller
    rbf = copy.deepcopy(network).double().radial_basis(r_ij)
    envelope = 0.5 * (1.0 + torch.cos(math.pi * r_ij / cutoff))
    filters = copy.deepcopy(network).double().blocks[1].filters(rbf, envelope)
    torch.testing.assert_close(exact, filters.detach(), atol=1e-9, rtol=1e-6)
    upper, lower = filter_picture(network, table).axes
    assert len(upper.lines) == 2 * 2 + 2 and len(lower.lines) == 1  # channels 0 and 5 of 16
