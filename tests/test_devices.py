"""Which device computes."""

from __future__ import annotations

import pytest
import torch

from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation.engine import Simulation


def test_the_gpu_is_taken_where_there_is_one():
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device(None).type == best
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")


def test_a_device_that_nobody_knows():
    with pytest.raises(UserError, match="'abacus' is unknown; use cpu or cuda"):
        resolve_device("abacus")
    with pytest.raises(UserError, match="unknown"):
        Simulation(load_system("chignolin"), device="abacus")


def test_a_gpu_that_is_not_there():
    chignolin = load_system("chignolin")
    if torch.cuda.is_available():
        assert Simulation(chignolin, device="cuda").device.type == "cuda"
        return
    with pytest.raises(UserError, match="sees no GPU; use --device cpu"):
        Simulation(chignolin, device="cuda")
