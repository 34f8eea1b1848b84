"""Files that try to run code or to eat memory when they are read; none may succeed.

Written by hand, instruction by instruction or through `__reduce__`, as an attacker would. Each
would leave a file at `PROOF`, if it ran.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

PROOF = "proof_that_code_ran"


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


class WithState:
    """Pickles with a state of any kind for a class of torch.nn.modules."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> tuple:
        return torch.nn.Linear, (1, 1), self.state


def by_text(*lines: str) -> bytes:
    """Return a pickle of protocol 0 from its lines."""
    return "\n".join(lines).encode() + b"\n."


def stack_global(module: str, name: str, argument: str) -> bytes:
    """Return a pickle of protocol 4 that calls module.name(argument)."""

    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93" + text(argument) + b"\x85R."


def code_runners(folder: Path) -> dict[str, bytes]:
    """Return pickles that would run code, by what they try."""
    touch = f"touch {folder / PROOF}"
    python = f"open({str(folder / PROOF)!r}, 'w')"
    return {
        "os.system": pickle.dumps(Calls(os.system, touch)),
        "os.system in protocol 0": by_text("cos", "system", f"(S'{touch}'", "tR"),
        "INST": by_text(f"(S'{touch}'", "ios", "system", ""),
        "OBJ": b"(cposix\nsystem\nV" + touch.encode() + b"\no.",
        "eval by reduce": pickle.dumps(Calls(eval, python)),
        "exec": pickle.dumps(Calls(exec, python)),
        "getattr": pickle.dumps(Calls(getattr, "text", "format")),
        "nested in a dictionary of lists": pickle.dumps(
            {"state_dict": [{"x": Calls(eval, python)}]}
        ),
        "as a key": pickle.dumps({Calls(eval, python): 1}, protocol=2),
        "in a state": pickle.dumps(WithState({"weight": Calls(eval, python)})),
        "as a reduce of a reduce": pickle.dumps(Calls(OrderedDict, Calls(eval, python))),
        "as a default factory": b"ccollections\ndefaultdict\n(cbuiltins\neval\ntR.",
        "through a module path": stack_global("torch.nn.modules.module.torch.os", "system", touch),
        "through a dotted name": stack_global("torch.nn.modules.module", "torch.os.system", touch),
        "through a class of a known package": stack_global("torch_geometric.os", "System", touch),
        "through mlcg": stack_global("mlcg.utils.os", "system", touch),
        "torch.load": stack_global("torch.serialization", "load", touch),
        "torch.hub": stack_global("torch.hub", "load", touch),
        "numpy.load": stack_global("numpy", "load", touch),
        "runpy": stack_global("runpy", "run_path", touch),
        "a lower-case name in a known module": stack_global("torch.nn.modules.module", "os", touch),
        # The function is put into the memo as if it were data, and called from there later.
        "by the memo": b"cposix\nsystem\nq\x00]q\x01h\x00a0h\x00V" + touch.encode() + b"\n\x85R.",
        "by a memo that is written again": (
            b"ccollections\nOrderedDict\nq\x000cposix\nsystem\nq\x000h\x00V"
            + touch.encode()
            + b"\n\x85R."
        ),
        "calling the result of a call": (
            b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nNV"
            + touch.encode()
            + b"\n\x85NtR."
        ),
        "a copyreg extension": b"\x82\x01.",
        "a helper of torch": stack_global("torch._utils", "_import_dotted_name", touch),
    }


def archive(pickled: bytes, storages: dict[str, bytes] | None = None, **entries: bytes) -> bytes:
    """Return a zip archive as `torch.save` makes it, with any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for key, data in (storages or {}).items():
            file.writestr(f"archive/data/{key}", data)
        for name, data in entries.items():
            file.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def tensor_pickle(
    *,
    kind: str = "FloatStorage",
    key: str = "0",
    count: int = 4,
    offset: int = 0,
    size: tuple = (4,),
    stride: tuple = (1,),
    tag: Any = "storage",
) -> bytes:
    """Return the pickle of one tensor with any metadata."""

    def ints(values: tuple) -> bytes:
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = b"(" + _value(tag) + b"ctorch\n" + kind.encode() + b"\n" + _value(key)
    storage += b"V" + b"cpu\n" + b"I%d\ntQ" % count
    body = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I%d\n" % offset
    return b"\x80\x02" + body + ints(size) + ints(stride) + b"I00\nccollections\nOrderedDict\n)RtR."


def _value(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


@cache
def liars() -> dict[str, bytes]:
    """Return archives whose tensors, storages or sizes are not what they say."""
    four = {"0": struct.pack("<4f", 1, 2, 3, 4)}
    huge = 1 << 36
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", tensor_pickle(count=1 << 24, size=(1 << 24,)))
        file.writestr("archive/data/0", bytes(1 << 26))
    encode = b"c_codecs\nencode\nq\x02V" + b"a" * (1 << 20) + b"\nq\x03V" + b"latin1\n\x86q\x04"
    return {
        "a storage larger than its bytes": archive(tensor_pickle(count=huge, size=(4,)), four),
        "a storage that is not there": archive(tensor_pickle(key="7"), four),
        "a storage of another type": archive(tensor_pickle(kind="DoubleStorage"), four),
        "a storage of objects": archive(tensor_pickle(kind="QInt8Storage"), four),
        "a tensor beyond its storage": archive(tensor_pickle(size=(5,)), four),
        "an offset beyond the storage": archive(tensor_pickle(offset=3, size=(2,)), four),
        "a stride beyond the storage": archive(tensor_pickle(size=(2,), stride=(4,)), four),
        "a negative stride": archive(tensor_pickle(size=(2,), stride=(-1,), offset=3), four),
        "a negative offset": archive(tensor_pickle(offset=-1), four),
        "sizes without strides": archive(tensor_pickle(stride=()), four),
        "a repeated number, too often": archive(tensor_pickle(size=(huge,), stride=(0,)), four),
        "a persistent id that is no storage": archive(tensor_pickle(tag="module"), four),
        "a persistent id that is a number": archive(b"K\x01Q.", four),
        "a persistent id with a class for a name": archive(
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nctorch\nTensor\nVcpu\nI4\ntQ.", four
        ),
        "a zip bomb": bomb.getvalue(),
        "a memo that is large": archive(b"\x80\x02Nr\xff\xff\xff\x7f" * 3 + b"j\xff\xff\x00\x00."),
        "a text that is longer than the file": archive(b"X\xff\xff\xff\x7fabc."),
        "a long number that is longer than the file": archive(b"\x8b\xff\xff\xff\x7fabc."),
        "marks without end": archive(b"(" * 100_000 + b"."),
        "tuples without end": archive(b")" + b"\x85" * 100_000 + b"."),
        "a deep tuple as a key": archive(b"})" + b"\x85" * 60 + b"Ns."),
        "a list as a key": archive(b"}](K\x01eNs."),
        "one text encoded again and again": archive(encode + b"R" + b"0h\x02h\x04R" * 1000 + b"."),
        "no end": archive(b"\x80\x02K\x01"),
        "a stack that is empty": archive(b"\x80\x02\x85."),
        "a mark that is not there": archive(b"\x80\x02t."),
        "a memo that is not there": archive(b"\x80\x02h\x07."),
        "a state for a number": archive(b"K\x01}b."),
        "items of a tensor": archive(tensor_pickle()[:-1] + b"K\x00K\x01s.", four),
        "a dictionary of odd length": archive(b"}(K\x01u."),
        "a big-endian file": archive(tensor_pickle(), four, byteorder=b"big"),
        "a TorchScript program": archive(tensor_pickle(), four, **{"constants.pkl": b"."}),
        "no pickle": archive(b".")[:40],
        "two pickles": _two_pickles(),
        "an array of objects": archive(
            pickle.dumps(np.array([object], dtype=object), protocol=2), four
        ),
        "an array with fields": archive(
            pickle.dumps(np.zeros(1, dtype=[("a", "i4"), ("b", "f8")]), protocol=2), four
        ),
        "an array without its bytes": archive(
            pickle.dumps(np.zeros(3), protocol=2).replace(b"K\x03\x85", b"M\xff\xff\x85"), four
        ),
        "sparse indices outside the shape": _sparse(index=9),
        "sparse indices below zero": _sparse(index=-1),
        "a legacy file with a huge storage": _legacy_huge(),
    }


def _two_pickles() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.pkl", b"K\x01.")
        file.writestr("b/data.pkl", b"K\x02.")
    return buffer.getvalue()


def _sparse(index: int) -> bytes:
    """Return an archive of a sparse tensor of three numbers with one index."""
    tensor = torch.sparse_coo_tensor(
        torch.tensor([[1]]), torch.tensor([5.0]), (3,), check_invariants=False
    )
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    with zipfile.ZipFile(buffer) as file:
        pickled = next(file.read(n) for n in file.namelist() if n.endswith("data.pkl"))
        storages = {n.rpartition("/")[2]: file.read(n) for n in file.namelist() if "/data/" in n}
    indices = next(k for k, v in storages.items() if v == struct.pack("<q", 1))
    storages[indices] = struct.pack("<q", index)
    return archive(pickled, storages)


def _legacy_huge() -> bytes:
    buffer = io.BytesIO()
    torch.save(torch.zeros(4), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue().replace(b"K\x04N", b"J\xff\xff\xff\x7fN")
