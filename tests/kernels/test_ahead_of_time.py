"""Every kernel compiles for every GPU generation and fits into its shared memory; without a GPU."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("triton")

from flashschnet_kernels import ahead_of_time
from flashschnet_kernels.ahead_of_time import SHARED_LIMIT, TARGETS, all_specialisations

PACKAGE = Path(ahead_of_time.__file__).parent

THREADS = """
import json, re
from flashschnet_kernels import ahead_of_time
from flashschnet_kernels.filter_table import triton as filter_table
from flashschnet_kernels.priors import triton as priors

tables = [v for v in filter_table.specialisations() if "table" in v.signature]
texts = [ahead_of_time.build(v, "sm_90").asm["ttgir"] for v in (*tables, *priors.specialisations())]
print(json.dumps([re.findall(r"threadsPerWarp = \\[([^]]*)\\]", text) for text in texts]))
"""


def launches() -> Iterator[ast.Call]:
    """Every place where the package launches a kernel: `kernel[grid](...)`."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
                yield node


def launched_kernels() -> set[str]:
    """Names of the kernels that the package launches."""
    decorated = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                ast.unparse(d).startswith("triton.jit") for d in node.decorator_list
            ):
                decorated.add(node.name)
    return decorated & {ast.unparse(call.func.value).rpartition(".")[2] for call in launches()}


def compiled_by_module(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the module as a person would."""
    return python(folder, "-m", "flashschnet_kernels.ahead_of_time", *arguments)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with compiled kernels, not interpreted ones."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(PACKAGE.parent), "TRITON_CACHE_DIR": str(folder)}
    environment["TRITON_DISABLE_LINE_INFO"] = "1"  # a tenth of the time, and no instruction less
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_every_kernel_that_is_launched_has_its_variants():
    assert launched_kernels() == {v.kernel.__name__ for v in all_specialisations()}
    for target in TARGETS:
        names = {v.kernel.__name__ for v in all_specialisations() if target in v.targets}
        assert names == launched_kernels()


def test_every_launch_says_how_products_and_sums_are_rounded():
    for call in launches():
        assert any(k.arg is None and ast.unparse(k.value) == "FMA" for k in call.keywords), (
            f"{ast.unparse(call.func)}: give it **FMA, as `launching.py` says"
        )


def test_all_variants_compile_for_all_targets(tmp_path):
    done = compiled_by_module(tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "FP_FUSION" not in done.stderr  # a user would see the same warning
    rows = [line.split() for line in done.stdout.splitlines()]
    for target in TARGETS:
        of_target = [row for row in rows if row[0] == target]
        assert len(of_target) == sum(target in v.targets for v in all_specialisations())
        assert {row[1] for row in of_target} == launched_kernels()
        for row in of_target:
            assert int(row[row.index("shared") + 1]) <= SHARED_LIMIT[target]


def test_threads_lie_where_sums_need_few_exchanges(tmp_path):
    """Where axes tie, versions of Triton decide otherwise, and a step takes 17 % longer."""
    done = python(tmp_path, "-c", THREADS)
    assert done.returncode == 0, done.stderr[-4000:]
    *tables, single, _, _, double = json.loads(done.stdout)
    assert len(tables) == 12
    for layouts in tables:  # of the axes columns, rows and channels
        assert [layout for layout in layouts if layout.count(",") == 2] == ["4, 1, 8"]
    assert "16, 2" in single  # rows, columns
    assert "16, 2" in double


def test_unknown_targets_are_refused(tmp_path):
    done = compiled_by_module(tmp_path, "sm_35")
    assert done.returncode == 2
    assert "unknown sm_35; known: sm_80, sm_90, sm_120" in done.stderr


def test_what_cannot_run_fails(monkeypatch, capsys):
    good = ahead_of_time.Compiled("kernel", "sm_120", {"C": 128}, 8, 4096, 255, 16)
    bad = replace(good, shared_bytes=131072, problem="131072 B of shared memory")
    monkeypatch.setattr(sys, "argv", ["ahead_of_time", "sm_120"])
    for results, status in (([good], 0), ([good, bad], 1)):
        monkeypatch.setattr(ahead_of_time, "compile_all", lambda *_, r=results: iter(r))
        with pytest.raises(SystemExit) as end:
            ahead_of_time.main()
        assert end.value.code == status
    printed = capsys.readouterr().out
    assert "registers 255  stack   16 B  C=128" in printed
    assert "FAILS: 131072 B of shared memory" in printed
    assert "2 variants, 1 of them cannot run" in printed
