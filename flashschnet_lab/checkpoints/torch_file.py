"""Reads files of `torch.save` without running code: tensors, containers and inert instances.

Two layouts: a zip archive with `data.pkl` and one entry per storage (PyTorch 1.6 and later), and
the older row of pickles followed by the storages. Every storage must have as many bytes as the file
says and holds, every tensor must lie inside its storage, and nothing may be compressed: a file can
make no more memory than it has bytes, save for a fixed allowance.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashschnet_lab.checkpoints.known_names import Budget, find_name, plain_functions
from flashschnet_lab.checkpoints.pickle_machine import ClassName, Function, Refused, read_pickle
from flashschnet_lab.checkpoints.pickled_numpy import build_numpy, numpy_functions
from flashschnet_lab.errors import UserError

LARGEST_FILE = 1 << 32
LARGEST_PICKLE = 1 << 28
MOST_ENTRIES = 100_000
MOST_REPEATED = 1 << 20
"""Elements of a tensor that repeats its storage (strides of 0)."""
COPY_ALLOWANCE = 1 << 28
"""Bytes that lists, texts and NumPy arrays may be copied to, beyond the size of the file."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_torch_file(path: Path) -> Any:
    """Return what a file of `torch.save` holds; no code of the file runs.

    Tensors are on the CPU and contiguous views of the file's bytes; parameters are plain tensors;
    objects of known packages are `Instance`.

    Raises:
        UserError: no such file, it is something else, it is damaged, or it asks for anything that
            models do not need, named in the message.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path} has more than {LARGEST_FILE >> 30} GiB, which no model has")
    data = path.read_bytes()
    try:
        return _read_zip(data) if zipfile.is_zipfile(io.BytesIO(data)) else _read_legacy(data)
    except Refused as error:
        raise UserError(f"{path} is refused: {error}") from error
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is damaged ({error}); copy it again") from error


class _Storage:
    """Numbers of one type, in bytes of their own."""

    def __init__(self, data: bytearray, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.size = len(data) // dtype.itemsize
        self.data = data

    def numbers(self, dtype: torch.dtype) -> Tensor:
        if not self.data:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(self.data, dtype=dtype)


class _Reader:
    """What names and storages of one file stand for; see `pickle_machine.Names`."""

    def __init__(self, size: int, storage: Callable[[str, torch.dtype, int], _Storage]) -> None:
        self._budget = Budget(COPY_ALLOWANCE + size)
        self._storage = storage
        self._functions = {
            **plain_functions(self._budget),
            **numpy_functions(self._budget),
            **_tensor_functions(),
        }

    def find(self, module: str, name: str) -> Any:
        return find_name(module, name, self._functions)

    def persistent(self, identity: Any) -> _Storage | ClassName:
        if type(identity) is tuple and len(identity) == 4 and type(identity[1]) is ClassName:
            return identity[1]  # older layout: a class of a module, with its source for people
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise Refused("it refers to something outside that is no storage of a tensor")
        _, dtype, key, _, count = identity[:5]
        if len(identity) == 6 and identity[5] is not None:
            raise Refused("it has a storage that is a view of another one; save it again")
        if type(dtype) is not torch.dtype or type(key) is not str or not _count(count):
            raise Refused("it has a storage without a proper type, name or size")
        storage = self._storage(key, dtype, count)
        if storage.dtype != dtype or storage.size != count:
            raise Refused(
                f"storage {key[:40]!r} should have {count} numbers, but the file holds "
                f"{len(storage.data)} bytes of it"
            )
        return storage

    def build(self, value: Any, state: Any) -> None:
        if isinstance(value, (dict, Tensor)):
            return  # a state dict's notes on versions; attributes of a parameter
        if not build_numpy(value, state, self._budget):
            raise Refused(f"it gives a state to a {type(value).__name__}")


def _read_zip(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES:
            raise Refused(f"it has more than {MOST_ENTRIES} entries")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise Refused("its entries are compressed, which PyTorch never does")
        sizes = {entry.filename: entry.file_size for entry in entries}
        if sum(sizes.values()) > len(data):
            raise Refused("its entries together are larger than the file")
        pickles = [name for name in sizes if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("it is a zip archive, but not one of torch.save (no single data.pkl)")
        if "constants.pkl" in {name.rpartition("/")[2] for name in sizes}:
            raise Refused("it is a TorchScript program, not a checkpoint")
        root = pickles[0].removesuffix("data.pkl")
        if sizes[pickles[0]] > LARGEST_PICKLE:
            raise Refused(f"its pickle is larger than {LARGEST_PICKLE >> 20} MiB")
        order = f"{root}byteorder"
        if order in sizes and archive.read(order).strip() != b"little":
            raise Refused("its numbers are big-endian; save it on another machine")
        kept: dict[str, _Storage] = {}

        def storage(key: str, dtype: torch.dtype, count: int) -> _Storage:
            if key not in kept:
                name = f"{root}data/{key}"
                if name not in sizes:
                    raise Refused(f"it lacks the storage {key[:40]!r}")
                if sizes[name] != count * dtype.itemsize:
                    raise Refused(
                        f"storage {key[:40]!r} should have {count} numbers of {dtype}, but the "
                        f"file holds {sizes[name]} bytes of it"
                    )
                kept[key] = _Storage(bytearray(archive.read(name)), dtype)
            return kept[key]

        reader = _Reader(len(data), storage)
        return read_pickle(io.BytesIO(archive.read(pickles[0])), reader)


def _read_legacy(data: bytes) -> Any:
    stream = io.BytesIO(data)
    kept: dict[str, _Storage] = {}
    room = len(data)

    def storage(key: str, dtype: torch.dtype, count: int) -> _Storage:
        nonlocal room
        if key not in kept:
            room -= count * dtype.itemsize
            if room < 0:
                raise Refused(f"storage {key[:40]!r} is larger than the file")
            kept[key] = _Storage(bytearray(count * dtype.itemsize), dtype)
        return kept[key]

    reader = _Reader(len(data), storage)
    if data[:2] != b"\x80\x02":
        raise Refused("it is no file of torch.save")
    if read_pickle(stream, reader) != _LEGACY_MAGIC:
        raise Refused("it is a pickle, but no file of torch.save")
    if read_pickle(stream, reader) != _LEGACY_PROTOCOL:
        raise Refused("it has an unknown version of the older layout of torch.save")
    about = read_pickle(stream, reader)
    if type(about) is not dict or about.get("little_endian") is not True:
        raise Refused("its numbers are big-endian; save it on another machine")
    value = read_pickle(stream, reader)
    keys = read_pickle(stream, reader)
    if type(keys) is not list or set(map(str, keys)) != set(kept):
        raise Refused("its list of storages does not fit its tensors")
    for key in keys:
        target = kept[key].data
        head = stream.read(8)
        if len(head) != 8 or struct.unpack("<q", head)[0] != kept[key].size:
            raise Refused(f"storage {key[:40]!r} has another size than its tensors say")
        if stream.readinto(target) != len(target):
            raise Refused("it ends too early; copy it again")
    return value


def _tensor_functions() -> dict[str, Callable]:
    """Return the functions that make tensors, by "module.name"."""

    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        return _strided(storage, offset, size, stride, getattr(storage, "dtype", None))

    def tensor_of_type(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
        return _strided(storage, offset, size, stride, rest[2])  # requires_grad, hooks, dtype

    def parameter(data: Any, *_: Any) -> Tensor:
        if not isinstance(data, Tensor):
            raise Refused("it has a parameter that is no tensor")
        return data

    def sparse(layout: Any, data: Any) -> Tensor:
        if layout != "torch.sparse_coo" or type(data) is not tuple or len(data) not in (3, 4):
            raise Refused(f"it has a sparse tensor of layout {str(layout)[:40]!r}, not sparse_coo")
        return _sparse(*data[:3])

    def of_type(function: Any, cls: Any, arguments: Any, state: Any) -> Tensor:
        if type(function) is not Function or function.name not in functions:
            raise Refused("it makes a tensor by something that makes no tensors")
        made: Tensor = function.call(*arguments)
        return made

    functions: dict[str, Callable] = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": tensor_of_type,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "torch._utils._rebuild_sparse_tensor": sparse,
    }
    return {**functions, "torch._tensor._rebuild_from_type_v2": of_type}


def _strided(storage: Any, offset: Any, size: Any, stride: Any, dtype: Any) -> Tensor:
    """Return a tensor of a storage if it lies inside it."""
    if type(storage) is not _Storage or type(dtype) is not torch.dtype:
        raise Refused("it has a tensor without a storage")
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise Refused("it has a tensor whose sizes and strides do not fit")
    if len(size) > 32 or not all(map(_count, (offset, *size, *stride))):
        raise Refused("it has a tensor with a strange size, stride or offset")
    numbers = storage.numbers(dtype)
    count = math.prod(size)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if offset > len(numbers) or (count and last >= len(numbers)):
        raise Refused(f"it has a tensor of shape {list(size)} that does not lie in its storage")
    if count > max(len(numbers), MOST_REPEATED):
        raise Refused(f"it has a tensor of shape {list(size)} that repeats few numbers too often")
    return numbers.as_strided(size, stride, offset)


def _sparse(indices: Any, values: Any, size: Any) -> Tensor:
    """Return a sparse tensor if its indices lie inside its shape."""
    if not isinstance(indices, Tensor) or not isinstance(values, Tensor) or type(size) is not tuple:
        raise Refused("it has a sparse tensor without indices and values")
    if not all(map(_count, size)) or len(size) > 32:
        raise Refused("it has a sparse tensor of a strange shape")
    dense = len(size) - indices.shape[0] if indices.ndim == 2 else -1
    if indices.dtype != torch.int64 or values.ndim != 1 or dense != 0:
        raise Refused("it has a sparse tensor whose indices do not fit its shape")
    if indices.shape[1] != len(values):
        raise Refused("it has a sparse tensor with more indices than values, or fewer")
    limits = torch.tensor(size, dtype=torch.int64)[:, None]
    if bool(((indices < 0) | (indices >= limits)).any()):
        raise Refused("it has a sparse tensor with indices outside its shape")
    return torch.sparse_coo_tensor(indices, values, size, check_invariants=False)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40
