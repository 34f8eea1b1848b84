"""Memory of the interpreted machine: every load, store and atomic is looked at and written down.

Each tensor lies at a made-up address, far from all others, so that an address always tells which
tensor was meant, also one that is out of bounds. Nothing outside a tensor is ever touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

REGION_BITS = 44
"""log2 of the bytes between two tensors; a pointer to the middle of its region may run far."""
MIDDLE = 1 << (REGION_BITS - 1)
WILD_INDEX = 1 << 30
"""What a load of integers gives where it is masked off without `other`: it must not be used."""


@dataclass(frozen=True)
class Access:
    """One load, store or atomic of one program: what it touched of one tensor.

    Attributes:
        kind: "load", "store" or "atomic".
        launch: number of the kernel launch.
        program: program_id along x, y, z.
        line: of the kernel's source, where it is known.
        array: name of the tensor.
        elements: [lanes] in the tensor's storage, only lanes that are switched on and inside.
        values: [lanes] what was stored; empty for loads and atomics.
        outside: [lanes] elements beyond the tensor's ends; they were not touched.
        unset: [lanes] elements that were read although nothing had been written there.
    """

    kind: str
    launch: int
    program: tuple[int, int, int]
    line: str
    array: str
    elements: np.ndarray
    values: np.ndarray
    outside: np.ndarray
    unset: np.ndarray


@dataclass
class Region:
    """A tensor in memory.

    Attributes:
        name: for diagnoses.
        tensor: kept alive, so that its storage is not used again.
        flat: [elements] the storage as numpy sees it; shares memory with the tensor.
        unset: [elements] whether nothing was ever written here.
    """

    name: str
    tensor: Tensor
    flat: np.ndarray
    unset: np.ndarray


@dataclass
class Memory:
    """All tensors that a launcher may touch, and what it did to them.

    Attributes:
        accesses: in order.
        launches: kernels launched so far.
        program: program_id of what runs now.
        line: source line of what runs now.
    """

    accesses: list[Access] = field(default_factory=list)
    launches: int = 0
    program: tuple[int, int, int] = (0, 0, 0)
    line: str = ""
    _regions: list[Region] = field(default_factory=list)
    _known: dict[int, int] = field(default_factory=dict)

    def add(self, name: str, tensor: Tensor, poisoned: bool = False) -> None:
        """Give a tensor a name; `poisoned` says that nothing has been written there yet."""
        flat = _flat(tensor)
        region = Region(name, tensor, flat, np.full(len(flat), poisoned))
        if tensor.untyped_storage().nbytes():
            self._known[tensor.untyped_storage().data_ptr()] = len(self._regions)
        self._regions.append(region)

    def address(self, name: str, tensor: Tensor) -> int:
        """Return the address of a tensor's first element; a new one gets this name."""
        storage = tensor.untyped_storage()
        if storage.nbytes() == 0 or storage.data_ptr() not in self._known:
            self.add(name, tensor)
            number = len(self._regions) - 1
        else:
            number = self._known[storage.data_ptr()]
        offset = int(tensor.storage_offset()) * tensor.element_size()
        return ((number + 1) << REGION_BITS) + MIDDLE + offset

    def refresh(self) -> None:
        """Notice what plain PyTorch has written since: what is a number is not poison."""
        for region in self._regions:
            if region.unset.any():
                region.unset &= ~(region.flat == region.flat)

    def load(
        self, addresses: np.ndarray, active: np.ndarray, other: np.ndarray | None, dtype: np.dtype
    ) -> np.ndarray:
        """Return what lies at addresses; where masked off `other`, or what must not be used."""
        undefined = np.full(addresses.shape, _undefined(dtype), dtype=dtype)
        result = undefined.copy() if other is None else np.broadcast_to(other, addresses.shape)
        result = np.array(result, dtype=dtype)
        for region, lanes, elements in self._split(addresses, active):
            inside = (elements >= 0) & (elements < len(region.flat))
            found = _as(region.flat, dtype)[elements[inside]]
            values = undefined[lanes]
            values[inside] = found
            result[lanes] = values
            unset = elements[inside][region.unset[elements[inside]]]
            self._note("load", region, elements, inside, unset=unset)
        return result

    def store(self, addresses: np.ndarray, values: np.ndarray, active: np.ndarray) -> None:
        """Write values; of lanes with the same address the last one wins."""
        values = np.broadcast_to(values, addresses.shape)
        for region, lanes, elements in self._split(addresses, active):
            inside = (elements >= 0) & (elements < len(region.flat))
            written = values[lanes][inside]
            _as(region.flat, values.dtype)[elements[inside]] = written
            region.unset[elements[inside]] = False
            self._note("store", region, elements, inside, values=written)

    def atomic(
        self, operation: str, addresses: np.ndarray, values: np.ndarray, active: np.ndarray
    ) -> np.ndarray:
        """Combine values with what is there, one lane after another; return what was there."""
        values = np.broadcast_to(values, addresses.shape)
        before = np.zeros(addresses.shape, values.dtype)
        for region, lanes, elements in self._split(addresses, active):
            inside = (elements >= 0) & (elements < len(region.flat))
            flat, there = _as(region.flat, values.dtype), elements[inside]
            unset = there[region.unset[there]]
            old = np.zeros(len(elements), values.dtype)
            old[inside] = flat[there]
            before[lanes] = old
            if operation == "exchange":
                flat[there] = values[lanes][inside]
            else:
                getattr(np, operation).at(flat, there, values[lanes][inside])
            region.unset[there] = False
            self._note("atomic", region, elements, inside, unset=unset)
        return before

    def _split(
        self, addresses: np.ndarray, active: np.ndarray
    ) -> list[tuple[Region, np.ndarray, np.ndarray]]:
        """Return for each tensor that is meant: its region, the lanes (a mask), their elements."""
        active = np.broadcast_to(active, addresses.shape).astype(bool)
        numbers = (addresses >> np.uint64(REGION_BITS)).astype(np.int64) - 1
        parts = []
        for number in np.unique(numbers[active]):
            if not 0 <= number < len(self._regions):
                raise IndexError("a pointer leads nowhere: it was made of no tensor's address")
            region = self._regions[number]
            lanes = active & (numbers == number)
            base = np.int64(((int(number) + 1) << REGION_BITS) + MIDDLE)
            distance = addresses[lanes].astype(np.int64) - base
            parts.append((region, lanes, distance // region.flat.itemsize))
        return parts

    def _note(
        self,
        kind: str,
        region: Region,
        elements: np.ndarray,
        inside: np.ndarray,
        values: np.ndarray | None = None,
        unset: np.ndarray | None = None,
    ) -> None:
        nothing = np.zeros(0, np.int64)
        self.accesses.append(
            Access(
                kind,
                self.launches,
                self.program,
                self.line,
                region.name,
                elements[inside],
                nothing if values is None else values.copy(),
                elements[~inside],
                nothing if unset is None else unset,
            )
        )


def _flat(tensor: Tensor) -> np.ndarray:
    """Return the whole storage of a tensor; bfloat16, unknown to numpy, as its bits."""
    tensor = tensor.detach()
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    flat = torch.as_strided(tensor, (count,), (1,), 0)
    if tensor.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    return flat.numpy()


def _as(flat: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array as elements of another type of the same size."""
    if flat.dtype.itemsize != dtype.itemsize:
        raise TypeError(f"a pointer to {flat.dtype} was used as one to {dtype}")
    return flat.view(dtype)


def _undefined(dtype: np.dtype) -> float | int:
    """Return a value that shows when it is used."""
    if dtype.kind == "f":
        return float("nan")
    if dtype == np.uint16:  # the bits of a bfloat16
        return 0x7FC0
    return min(WILD_INDEX, int(np.iinfo(dtype).max)) if dtype.kind in "iu" else 0
