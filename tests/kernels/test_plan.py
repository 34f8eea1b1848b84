"""The plan: which implementation runs is a value that is checked, named and explained."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from itertools import chain, combinations, product

import pytest
import torch

from flashschnet_kernels import plan as module
from flashschnet_kernels.implementations import IMPLEMENTATIONS
from flashschnet_kernels.plan import (
    BASELINE,
    DEVICES,
    FLASH,
    LADDER,
    PLANS,
    PRECISION_CLASSES,
    REFERENCE,
    SWITCHES,
    KernelPlan,
    available,
    check_usable,
    default_plan,
    flash,
    parse_plan,
    switched,
    tabulated,
)

OPERATORS = [field.name for field in fields(KernelPlan)]
SUBSETS = list(chain.from_iterable(combinations(SWITCHES, n) for n in range(len(SWITCHES) + 1)))
PLAINEST = {"quantization": "none", "filters": "network"}
"""What the operators without an implementation "reference" do in the reference."""
CPU, CUDA = torch.device("cpu"), torch.device("cuda")

TILES = {"message_passing": "triton", "neighbors": "tiles"}
ROWS = {"message_passing": "cpu", "neighbors": "verlet"}


def every_plan() -> list[KernelPlan]:
    """Return all plans that are not refused; of priors and Langevin steps, which fit any, a few."""
    found = []
    known = {name: [*implementations] for name, implementations in IMPLEMENTATIONS.items()}
    known["langevin"] = known["langevin"][:1]
    known["priors"] = known["priors"][:2]
    for chosen in product(*known.values()):
        try:
            found.append(KernelPlan(**dict(zip(IMPLEMENTATIONS, chosen, strict=True))))
        except ValueError:
            continue
    return found


def device_of(plan: KernelPlan) -> str | None:
    """Return the kind of device that a plan is made for, None if any."""
    chosen = {getattr(plan, operator) for operator in OPERATORS}
    return "cuda" if chosen & {"triton", "tiles"} else "cpu" if "cpu" in chosen else None


@pytest.fixture
def installed(monkeypatch):
    """Pretend that some of the compilers are installed, and that Triton interprets or not."""

    def pretend(*names: str, interpreting: bool = False) -> None:
        monkeypatch.setattr(
            module.importlib.util, "find_spec", lambda name: object() if name in names else None
        )
        monkeypatch.setattr(module, "_interpreting", lambda: interpreting)

    return pretend


def test_the_default_is_the_reference():
    plan = KernelPlan()
    assert plan == REFERENCE
    assert plan.name == "reference"
    assert not (plan.fused or plan.atomic or plan.switches)
    for operator in OPERATORS:
        assert getattr(plan, operator) == PLAINEST.get(operator, "reference")


def test_every_operator_has_implementations():
    assert list(IMPLEMENTATIONS) == OPERATORS
    for operator, known in IMPLEMENTATIONS.items():
        assert PLAINEST.get(operator, "reference") in known
        for implementation in known.values():
            assert implementation.needs in ("", "triton", "numba", "cpu")
            assert implementation.reason
            assert implementation.determinism


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_unknown_implementation_is_refused_with_the_known_ones(operator):
    first = next(iter(IMPLEMENTATIONS[operator]))
    with pytest.raises(ValueError, match=f"{operator}.*'magic'.*{first}"):
        KernelPlan(**{operator: "magic"})


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"message_passing": "triton"}, "reads neighbors=tiles, not reference"),
        ({"message_passing": "triton", "neighbors": "verlet"}, "reads neighbors=tiles"),
        ({"message_passing": "cpu"}, "reads neighbors=verlet"),
        ({"aggregation": "cpu"}, "aggregation=cpu reads neighbors=verlet"),
        ({"aggregation": "cpu", "neighbors": "verlet"}, "use message_passing=edge_list"),
        ({"neighbors": "verlet"}, "use message_passing=edge_list"),
        ({"neighbors": "tiles"}, "read by message_passing=triton alone"),
        (
            {"message_passing": "cpu", "neighbors": "verlet", "radial_basis": "cpu"},
            "computes the radial basis itself",
        ),
        ({"filters": "table-exact", "radial_basis": "cpu"}, "filters=table-exact needs no radial"),
        (
            {"filters": "table-fast", "message_passing": "edge_list"},
            "filters=table-fast goes with message_passing=reference, triton or cpu",
        ),
        ({"nodes": "cpu"}, "needs filters=table-exact, table-balanced or table-fast"),
        ({"nodes": "triton", "filters": "table-fast"}, "and message_passing=triton"),
        (
            {**TILES, "nodes": "triton", "filters": "table-fast", "quantization": "bf16"},
            "cannot work with quantization=bf16; use none or fp16",
        ),
        (
            {**ROWS, "nodes": "cpu", "filters": "table-exact", "quantization": "fp16"},
            "cannot work with quantization=fp16; use none$",
        ),
    ],
)
def test_operators_that_do_not_fit_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        KernelPlan(**chosen)


def test_a_plan_is_a_value():
    plan = KernelPlan()
    assert plan == KernelPlan()
    assert hash(plan) == hash(KernelPlan())
    with pytest.raises(FrozenInstanceError):
        plan.aggregation = "other"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("switches", SUBSETS, ids=lambda s: ",".join(s) or "none")
def test_switches_are_turned_on_one_by_one(switches, device):
    plan = switched(switches, device)
    assert parse_plan(",".join(switches) or "baseline", device) == plan
    assert parse_plan(plan.name, device) == plan
    # Inside the fused convolution the radial basis is fused already.
    fused = "message_passing" in switches
    expected = tuple(s for s in switches if not (fused and s == "radial_basis"))
    assert plan.switches == expected
    coarse = replace(plan, quantization="bf16")
    assert parse_plan(coarse.name, device) == coarse
    assert plan.fused == fused
    assert device_of(plan) in (device, None)


def test_no_two_plans_share_a_name_and_every_name_is_read_back():
    for device in DEVICES:
        plans = [plan for plan in every_plan() if device_of(plan) in (device, None)]
        assert len({plan.name for plan in plans}) == len(plans) > 20
        for plan in plans:
            assert parse_plan(plan.name, device) == plan


@pytest.mark.parametrize("device", DEVICES)
def test_names_of_the_command_line(device):
    for name, plan in PLANS.items():
        assert parse_plan(name, device) == plan
        assert plan.name == name
    for name, quantization in FLASH.items():
        plan = parse_plan(name, device)
        assert plan == flash(device, quantization)
        assert plan.name == name
        assert plan.fused and not plan.atomic
    for name in PRECISION_CLASSES:
        plan = parse_plan(name, device)
        assert plan == tabulated(device, name)
        assert plan.name == name
        assert plan.tabulated and plan.table_class == name
        assert plan.fused and not plan.atomic
        assert plan.quantization == ("fp16" if (name, device) == ("fast", "cuda") else "none")
        assert device_of(plan) == device
    for name in LADDER:
        assert parse_plan(name, device).name == name
    assert parse_plan("fp16", device) == switched(("quantization",), device)
    assert parse_plan("message_passing, bf16", device).quantization == "bf16"
    assert parse_plan("radial_basis,message_passing", device).name == "message_passing"
    assert BASELINE == parse_plan("message_passing=edge_list", device)
    slower = parse_plan("exact, langevin=reference, priors=reference", device)
    assert slower == replace(tabulated(device, "exact"), langevin="reference", priors="reference")
    assert parse_plan(slower.name, device) == slower
    single = parse_plan("quantization=fp16", device)
    assert single == KernelPlan(quantization="fp16")
    assert parse_plan(single.name, device) == single


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quick", "'quick'.*reference"),
        ("radial_basis,fast", "'fast'.*radial_basis"),
        ("", "empty plan"),
        (" , ", "empty plan"),
        ("engine=fast", "'engine=fast'"),
        ("aggregation=magic", "no implementation 'magic'"),
        ("message_passing=triton", "reads neighbors=tiles"),
    ],
)
def test_what_is_no_plan_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_plan(text)


def test_explain_has_a_line_per_operator():
    for plan in every_plan():
        lines = plan.explain().splitlines()
        assert [line.split()[0] for line in lines] == OPERATORS
        assert [line.split()[1] for line in lines] == [getattr(plan, o) for o in OPERATORS]
        for line in lines:
            assert "; " in line
    for line in REFERENCE.explain().splitlines():
        operator, chosen, *_ = line.split()
        implementation = IMPLEMENTATIONS[operator][chosen]
        assert implementation.reason in line
        assert implementation.determinism in line


def test_explain_tells_what_happens_inside_the_fused_convolution():
    inside = dict(line.split(maxsplit=1) for line in flash("cuda").explain().splitlines())
    assert "inside message_passing" in inside["radial_basis"]
    assert "partial sums" in inside["aggregation"]
    assert all("same bits every run" in text for text in inside.values())
    atomic = parse_plan("message_passing", "cuda")
    assert atomic.atomic
    lines = dict(line.split(maxsplit=1) for line in atomic.explain().splitlines())
    assert "atomic adds" in lines["aggregation"]
    for operator in ("aggregation", "message_passing"):
        assert "last bits change" in lines[operator]
    assert "serial" in flash("cpu").explain()


def test_explain_tells_what_a_table_promises():
    inside = dict(
        line.split(maxsplit=1) for line in tabulated("cuda", "fast").explain().splitlines()
    )
    assert "inside the table of filters" in inside["radial_basis"]
    assert "at most 3e-3" in inside["filters"]
    assert all("same bits every run" in text for text in inside.values())


def test_references_run_everywhere():
    for device in (CPU, CUDA):
        rows = available(device)
        assert [(row.operator, row.implementation) for row in rows] == [
            (operator, name) for operator, known in IMPLEMENTATIONS.items() for name in known
        ]
        plain = ("reference", "none", "network", "table-exact", "table-balanced", "table-fast")
        assert all(row.usable for row in rows if row.implementation in plain)
        for row in rows:
            implementation = IMPLEMENTATIONS[row.operator][row.implementation]
            assert row.reason
            assert (row.reason == implementation.reason) == row.usable


@pytest.mark.parametrize(
    ("found", "device", "implementation", "reason"),
    [
        (("triton", "numba"), CUDA, "triton", ""),
        (("triton", "numba"), CUDA, "cpu", "works on a CPU"),
        (("triton", "numba"), CPU, "triton", "needs a GPU"),
        (("triton", "numba"), CPU, "cpu", ""),
        ((), CUDA, "triton", "pip install triton"),
        ((), CPU, "cpu", "pip install numba"),
        ((), CPU, "reference", ""),
    ],
)
def test_what_cannot_run_says_why(installed, found, device, implementation, reason):
    installed(*found)
    row = next(
        row
        for row in available(device)
        if (row.operator, row.implementation) == ("aggregation", implementation)
    )
    assert row.usable is not bool(reason)
    assert reason in row.reason
    neighbors = "reference" if implementation == "reference" else "verlet"
    plan = replace(BASELINE, aggregation=implementation, neighbors=neighbors)
    if reason:
        with pytest.raises(ValueError, match=f"cannot run on {device.type}: .*{reason}"):
            check_usable(plan, device)
    else:
        check_usable(plan, device)


def test_triton_runs_on_a_cpu_in_its_interpreter(installed):
    plan = flash("cuda")
    installed("triton", "numba", interpreting=True)
    check_usable(plan, CPU)
    installed("triton", "numba")
    with pytest.raises(ValueError, match=r"cannot run on cpu: needs a GPU"):
        check_usable(plan, CPU)


@pytest.mark.parametrize(("device", "compiler"), [(CPU, "numba"), (CUDA, "triton")])
def test_a_verlet_list_needs_a_compiler_too(installed, device, compiler):
    """It is compiled for either kind of device, although it has one name."""
    installed()
    plan = replace(BASELINE, neighbors="verlet")
    with pytest.raises(ValueError, match=f"neighbors=verlet.*pip install {compiler}"):
        check_usable(plan, device)
    installed(compiler)
    check_usable(plan, device)


def test_the_default_plan_is_the_fastest_that_keeps_float32(installed):
    installed("triton", "numba")
    for device in DEVICES:
        plan = default_plan(device)
        assert plan == tabulated(device, "exact")
        assert plan.quantization == "none"
    assert default_plan("cpu", torch.float64) == flash("cpu")
    assert default_plan("cuda", torch.float64) == REFERENCE
    assert default_plan("mps") == REFERENCE
    installed()
    assert default_plan("cpu") == default_plan("cuda") == REFERENCE


def test_a_table_on_a_cpu_is_read_by_the_whole_network_or_by_the_reference():
    whole = tabulated("cpu", "exact")
    with pytest.raises(ValueError, match="it needs nodes=cpu, or message_passing=reference"):
        replace(whole, nodes="reference")
    assert KernelPlan(filters="table-exact").nodes == "reference"
