"""Files of torch.save are read as torch reads them, and hostile ones are refused."""

from __future__ import annotations

import argparse
import io
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from flashschnet_lab.checkpoints.pickle_machine import Instance
from flashschnet_lab.checkpoints.torch_file import read_torch_file
from flashschnet_lab.errors import UserError
from tests.checkpoints.hostile_pickles import PROOF, archive, code_runners, liars

RUNNERS = sorted(code_runners(Path()))
LIARS = sorted(liars())
LAYOUTS = {"zip": True, "legacy": False}


@pytest.fixture(params=sorted(LAYOUTS))
def saved(request, tmp_path):
    """Return a function that saves a value as torch does and reads it back with ours."""

    def save(value):
        path = tmp_path / "file.pt"
        torch.save(value, path, _use_new_zipfile_serialization=LAYOUTS[request.param])
        return read_torch_file(path)

    return save


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32]
    + [torch.int16, torch.int8, torch.uint8, torch.bool],
)
def test_tensors_of_every_type(saved, dtype):
    tensor = (torch.arange(24).reshape(2, 3, 4) % 5).to(dtype)
    found = saved({"whole": tensor, "part": tensor[:, 1, ::2], "turned": tensor.permute(2, 0, 1)})
    assert torch.equal(found["whole"], tensor)
    assert torch.equal(found["part"], tensor[:, 1, ::2])
    assert torch.equal(found["turned"], tensor.permute(2, 0, 1))
    assert found["whole"].dtype == dtype


def test_scalars_empty_and_repeated_tensors(saved):
    value = [torch.tensor(3.5), torch.zeros(0, 3), torch.ones(1, 2).expand(5, 2)]
    for found, expected in zip(saved(value), value, strict=True):
        assert torch.equal(found, expected)


def test_sparse_tensors(saved):
    dense = torch.zeros(3, 4, 4)
    dense[1, 2, 3], dense[2, 0, 0] = 1.5, -2.0
    found = saved(dense.to_sparse())
    assert found.is_sparse
    assert torch.equal(found.to_dense(), dense)


def test_parameters_are_plain_tensors(saved):
    weight = torch.nn.Parameter(torch.randn(3, 2))
    found = saved(weight)
    assert torch.equal(found, weight.detach())
    assert not found.requires_grad


def test_containers_and_plain_values(saved):
    value = OrderedDict(
        text="Å", number=-(2**70), real=0.25, nothing=None, truth=True, raw=b"\x00\xff",
        list=[1, [2]], tuple=(1, (2, ())), set={1, "a"}, size=torch.Size([2, 3]),
    )  # fmt: skip
    value["default"] = defaultdict(list, {"a": [1]})
    found = saved(value)
    assert found == value
    assert list(found) == list(value)


def test_a_value_that_occurs_twice_is_one(saved):
    shared = torch.ones(2)
    first, second = saved([shared, shared])
    first[0] = 7.0
    assert second[0] == 7.0


def test_numpy_numbers_and_arrays(saved):
    value = {
        "number": np.float64(0.5),
        "rows": np.arange(6, dtype=np.int32).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">f8"),
    }
    found = saved(value)
    assert found["number"] == 0.5
    for name in ("rows", "columns", "big"):
        np.testing.assert_array_equal(found[name].array, value[name])


def test_state_dicts(saved):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    found = saved(network.state_dict())
    assert list(found) == list(network.state_dict())
    assert all(torch.equal(found[k], v) for k, v in network.state_dict().items())


def test_modules_are_inert(saved):
    found = saved(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()))
    assert isinstance(found, Instance)
    assert str(found.cls) == "torch.nn.modules.container.Sequential"
    linear = found.attributes["_modules"]["0"]
    assert linear.is_a("Linear") and linear.attributes["in_features"] == 3


def test_namespaces_and_devices(saved):
    found = saved({"hparams": argparse.Namespace(lr=0.1), "device": torch.device("cpu")})
    assert found["hparams"].attributes == {"lr": 0.1}
    assert str(found["device"].cls) == "torch.device"


@pytest.mark.parametrize("name", RUNNERS)
def test_code_does_not_run(name, tmp_path):
    pickled = code_runners(tmp_path)[name]
    for content in (archive(pickled), pickled):
        path = tmp_path / "hostile.pt"
        path.write_bytes(content)
        with pytest.raises(UserError, match="is refused"):
            read_torch_file(path)
    assert not (tmp_path / PROOF).exists()


def test_code_does_not_run_inside_a_legacy_file(tmp_path):
    buffer = io.BytesIO()
    torch.save([1], buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue().replace(b"]q\x00K\x01a.", code_runners(tmp_path)["os.system"])
    assert content != buffer.getvalue()
    path = tmp_path / "hostile.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="system"):
        read_torch_file(path)
    assert not (tmp_path / PROOF).exists()


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("os.system", "posix.system"),
        ("eval by reduce", "builtins.eval"),
        ("through a module path", "torch.nn.modules.module.torch.os.system"),
        ("through a dotted name", "torch.nn.modules.module.torch.os.system"),
        ("by the memo", "posix.system"),
        ("runpy", "runpy.run_path"),
    ],
)
def test_what_is_refused_is_named(name, named, tmp_path):
    path = tmp_path / "hostile.pt"
    path.write_bytes(archive(code_runners(tmp_path)[name]))
    with pytest.raises(UserError, match=f"asks for '{named}'"):
        read_torch_file(path)


@pytest.mark.parametrize("name", LIARS)
def test_lies_are_refused_without_much_memory(name, tmp_path):
    path = tmp_path / "liar.pt"
    path.write_bytes(liars()[name])
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"is refused|is damaged"):
            read_torch_file(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400e6


def test_a_class_of_a_known_package_runs_nothing(tmp_path):
    """A stand-in takes a state of any form; nothing of the real class is called."""
    pickled = b"cmlcg.nn.schnet\nStandardSchNet\n)\x81}X\x0c\x00\x00\x00__setstate__K\x01sb."
    path = tmp_path / "file.pt"
    path.write_bytes(archive(pickled))
    found = read_torch_file(path)
    assert found.attributes == {"__setstate__": 1}
    assert found.is_a("StandardSchNet")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "file.pt"
    path.write_text("no pickle")
    with pytest.raises(UserError, match=r"no file of torch\.save"):
        read_torch_file(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "nothing")
    with pytest.raises(UserError, match=r"not one of torch\.save"):
        read_torch_file(path)
    with pytest.raises(UserError, match="there is no file"):
        read_torch_file(tmp_path / "nowhere.pt")
    torch.save(torch.zeros(100), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"is refused|is damaged"):
        read_torch_file(path)
