"""Launches that begin early: who does, and that nothing is read too soon."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton")

from flashschnet_kernels import dependent_launch
from tests.kernels.test_ahead_of_time import PACKAGE

WAIT = "wait_for_launch_before(DEPENDENT)"
CONSTANT = {
    *("first_bead", "molecule_start", "molecule_end", "molecule_block", "molecule_blocks"),
    *("inverse_mass", "block"),
}
"""What kernels may read before they wait: the layout of a batch, which no step writes."""


def dependent_kernels() -> dict[str, ast.FunctionDef]:
    """Return the kernels that can be launched early, by file and name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "DEPENDENT" in ast.unparse(node.args):
                found[f"{path.parent.name}/{path.name}:{node.name}"] = node
    return {name: node for name, node in found.items() if "dependent_launch" not in name}


def test_every_kernel_of_a_fused_step_waits():
    names = {name.rpartition(":")[2] for name in dependent_kernels()}
    assert names == {
        *("_find", "_turn", "coordinate_kernel", "pull_kernel", "reduce_kernel"),
        *("forward_kernel", "backward_kernel", "turn_kernel", "priors_kernel"),
        *("first_half_kernel", "second_half_kernel"),
    }
    assert len(dependent_kernels()) == 13  # forward and backward, of convolutions and of beads


@pytest.mark.parametrize("name", dependent_kernels())
def test_only_the_layout_is_read_before(name):
    body = dependent_kernels()[name].body
    waits = [place for place, line in enumerate(body) if ast.unparse(line) == WAIT]
    assert len(waits) == 1
    before = [node for line in body[: waits[0]] for node in ast.walk(line)]
    for node in before:
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("tl.load", "load_beads"):
            address = node.args[0]
            while isinstance(address, ast.BinOp):
                address = address.left
            assert ast.unparse(address) in CONSTANT
        assert not (isinstance(node, ast.Call) and "store" in ast.unparse(node.func))


@pytest.mark.parametrize(
    ("capability", "driver", "early"),
    [
        ((9, 0), 13000, True),
        ((12, 0), 12080, True),
        ((8, 0), 13000, False),
        ((8, 9), 13000, False),
        ((9, 0), 12020, False),
    ],
)
def test_which_gpus_begin_early(capability, driver, early):
    assert dependent_launch.begins_early(capability, driver) is early


def test_a_cpu_waits_for_nothing():
    assert dependent_launch.launch_options(torch.device("cpu")) == {"DEPENDENT": False}


def test_compiled_code_waits_where_it_can(tmp_path):
    program = (
        "import triton\n"
        "from flashschnet_kernels import ahead_of_time as a\n"
        "from flashschnet_kernels.neighbors.tiles import specialisations\n"
        "compiled = triton.compile\n"
        "def shown(*arguments, **options):\n"
        "    built = compiled(*arguments, **options)\n"
        "    text = built.asm['ptx']\n"
        "    print(text.count('griddepcontrol.wait'), built.metadata.launch_pdl)\n"
        "    return built\n"
        "triton.compile = shown\n"
        "turn = specialisations()[1]\n"
        "for target in ('sm_80', 'sm_90', 'sm_120'):\n"
        "    assert not a.compile_for(turn, target).problem\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(PACKAGE.parent), "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines() == ["0 False", "1 True", "1 True"]
