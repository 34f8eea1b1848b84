"""Which names a checkpoint may use, and what they stand for; every other name is refused.

Three kinds: functions that make data, written here; data types of PyTorch; and classes of the
packages that write such checkpoints, which become inert `Instance` objects. A class is known by its
module's whole name and a name that looks like a class, so that a path through a module to something
else (`torch.nn.modules.module.torch.os` and `system`) is not.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch

from flashschnet_lab.checkpoints.pickle_machine import (
    ClassName,
    Function,
    Instance,
    Refused,
    checked_key,
)

_CLASS = re.compile(r"_{0,2}[A-Z][A-Za-z0-9_]*")
_MODULES = re.compile(
    r"(mlcg|mlcg_tk|torchmdnet|torch_geometric|pytorch_lightning|lightning|lightning_fabric"
    r"|lightning_utilities|jsonargparse)(\.[a-z_][a-z0-9_]*)*"
    r"|torch\.nn\.modules\.[a-z_]+|torch\.nn\.parameter|torch\.optim(\.[a-z_]+)*"
)
_THROUGH = re.compile(r"(^|\.)(os|sys|posix|subprocess|builtins|importlib|shutil|socket)(\.|$)")
"""No module of these packages is called like one of Python's that does things."""

_SINGLE = {
    "argparse": ("Namespace",),
    "pathlib": ("Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath"),
    "inspect": ("_empty", "Parameter", "Signature", "_ParameterKind"),
    "typing": ("Any", "Dict", "List", "Optional", "OrderedDict", "Set", "Tuple", "Union"),
    "_operator": ("getitem",),  # Union[int, float], as pickles spell it
    "torch": ("Tensor", "device", "dtype", "layout"),
    "__builtin__": ("bool", "dict", "float", "int", "list", "long", "object", "str", "tuple"),
    "numpy": ("ndarray",),
}
_SINGLE["__builtin__"] += ("type", "bytes", "complex", "NoneType")
_SINGLE["builtins"] = _SINGLE["__builtin__"]

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_DTYPES = {
    name: getattr(torch, name)
    for name in "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
}
_DTYPES |= {"double": torch.float64, "float": torch.float32, "long": torch.int64}


class Budget:
    """What a file may make this package copy, in bytes: a few bytes can ask for it again."""

    def __init__(self, most: int) -> None:
        self.left = most

    def spend(self, size: int) -> None:
        """Count `size` bytes.

        Raises:
            Refused: they are too many.
        """
        self.left -= size
        if self.left < 0:
            raise Refused("it asks for more memory than its own size explains")


def find_name(module: str, name: str, functions: dict[str, Callable]) -> Any:
    """Return what a name of a file stands for.

    Args:
        module: as the file has it, "torch._utils".
        name: the same, "_rebuild_tensor_v2".
        functions: those that make data, by "module.name".

    Raises:
        Refused: it is none of the names that checkpoints need.
    """
    full = f"{module}.{name}"
    if full in functions:
        return Function(full, functions[full])
    if module == "torch" and name in _STORAGES:
        return _STORAGES[name]
    if module == "torch.storage" and name == "UntypedStorage":
        return _STORAGES[name]
    if module == "torch" and name in _DTYPES:
        return _DTYPES[name]
    known = name in _SINGLE.get(module, ()) or (
        _MODULES.fullmatch(module) is not None
        and _CLASS.fullmatch(name) is not None
        and _THROUGH.search(module) is None
    )
    if not known:
        raise Refused(f"it asks for {full[:200]!r}, which is no part of a model")
    return ClassName(module, name)


def plain_functions(budget: Budget) -> dict[str, Callable]:
    """Return the functions that make containers and small values, by "module.name"."""

    def values(items: Any) -> list:
        if type(items) not in (list, tuple, set, frozenset):
            raise Refused(f"it makes a container of a {type(items).__name__}")
        budget.spend(64 * len(items))
        return list(items)

    def ordered(items: Any = ()) -> OrderedDict:
        made: OrderedDict = OrderedDict()
        for key, value in values(items):
            made[checked_key(key)] = value
        return made

    def default(factory: Any = None, items: Any = ()) -> OrderedDict:
        return ordered(items)

    def set_of(items: Any = ()) -> set:
        return {checked_key(item) for item in values(items)}

    def frozen(items: Any = ()) -> frozenset:
        return frozenset(set_of(items))

    def size(items: Any = ()) -> tuple:
        return tuple(values(items))

    def encode(text: Any, encoding: Any = "latin1") -> bytes:
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise Refused("it encodes a text in an unusual way")
        budget.spend(len(text))
        return text.encode("latin1")

    def layout(name: Any) -> str:
        if type(name) is not str:
            raise Refused("it names a layout by something that is no text")
        return name

    def reconstruct(cls: Any, base: Any = None, state: Any = None) -> Instance:
        if type(cls) is not ClassName:
            raise Refused("it makes an object of something that is no class")
        return Instance(cls)

    containers = {"set": set_of, "frozenset": frozen}
    return {
        "collections.OrderedDict": ordered,
        "collections.defaultdict": default,
        "torch.Size": size,
        "torch.serialization._get_layout": layout,
        "_codecs.encode": encode,
        "copyreg._reconstructor": reconstruct,
        "copy_reg._reconstructor": reconstruct,
        **{f"builtins.{name}": function for name, function in containers.items()},
        **{f"__builtin__.{name}": function for name, function in containers.items()},
    }
