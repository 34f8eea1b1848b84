"""Reads a pickle without running code: a machine for its instructions that knows only data.

A pickle is a program. Python's own reader lets it name any function of any module and call it, so
that opening a stranger's file can run a stranger's code. This machine never imports what a file
names. It asks `Names` what a name stands for: one of a few functions written here that make data
(tensors, arrays, dictionaries), or a `ClassName`, from which only an `Instance` can be made: a bag
of values that does nothing. Any other name ends the reading with an error that says it.

Python's `pickletools` splits the bytes into instructions; it checks every length against the bytes
that are there. The limits below bound everything else.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

MOST_INSTRUCTIONS = 20_000_000
MOST_STACK = 1_000_000
MOST_MARKS = 1_000
LONGEST_TEXT = 1 << 26
DEEPEST_TUPLE = 64
"""Tuples in tuples: Python's hash of a tuple goes down all of them."""


class Refused(ValueError):
    """The file asks for something that no model needs, or breaks a limit."""


@dataclass(frozen=True)
class ClassName:
    """A class that a file names; it is not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Instance:
    """What stands in for an object of a class: its name, arguments and attributes, inert.

    Attributes:
        cls: what it would be an object of.
        arguments: that it would have been made with.
        attributes: its state, where that is a dictionary.
        state: its state otherwise.
    """

    cls: ClassName
    arguments: tuple = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    state: Any = None

    def is_a(self, *names: str) -> bool:
        """Tell whether the class has one of these names, in any module."""
        return self.cls.name in names


@dataclass(frozen=True)
class Function:
    """A function of this package that a file may call under its name there."""

    name: str
    call: Callable[..., Any]


class Names(Protocol):
    """What the names and storages of a file stand for."""

    def find(self, module: str, name: str) -> ClassName | Function | object:
        """Return what a name stands for, or raise `Refused`."""

    def persistent(self, identity: Any) -> Any:
        """Return the storage that a persistent id names, or raise `Refused`."""

    def build(self, value: Any, state: Any) -> None:
        """Give a value that is no `Instance` its state, or raise `Refused`."""


def read_pickle(stream: BinaryIO, names: Names) -> Any:
    """Return what one pickle describes, made of plain values, tensors and instances.

    Args:
        stream: binary, at the first byte of the pickle; left behind its last.
        names: what the file may name.

    Raises:
        Refused: the pickle names what is not known, breaks a limit, or is damaged.
    """
    machine, place = _Machine(names), 0
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            place = position or 0
            if count > MOST_INSTRUCTIONS:
                raise Refused(f"it has more than {MOST_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return machine.pop()
            machine.do(opcode.name, argument)
    except Refused:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise Refused(f"it is damaged near byte {place} of its pickle ({error})") from error
    raise Refused("its pickle has no end")


class _Machine:
    """Stack, marks and memo of one pickle."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.tuple_depth: dict[int, int] = {}
        self.tuples: list[tuple] = []  # kept, so that no id is used twice

    def do(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _IGNORED:
            return
        if name in _CONSTANTS:
            self.push(_CONSTANTS[name])
        elif name in _EMPTY:
            self.push(_EMPTY[name]())
        elif name in _WITH_VALUE:
            if isinstance(argument, (str, bytes)) and len(argument) > LONGEST_TEXT:
                raise Refused(f"it holds a text longer than {LONGEST_TEXT} characters")
            self.push(argument)
        elif name in _PUT:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in _GET:
            self.push(self.memo[argument])
        elif (method := _METHODS.get(name)) is not None:
            method(self, argument)
        else:
            raise Refused(f"it uses the pickle instruction {name}, which no model needs")

    def push(self, value: Any) -> None:
        if len(self.stack) >= MOST_STACK:
            raise Refused(f"it needs a stack of more than {MOST_STACK} values")
        self.stack.append(value)

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise Refused("it takes a value beyond a mark")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def mark(self, _: Any) -> None:
        if len(self.marks) >= MOST_MARKS:
            raise Refused(f"it nests more than {MOST_MARKS} deep")
        self.marks.append(len(self.stack))

    def tuple_of(self, values: list[Any]) -> None:
        made = tuple(values)
        depth = 1 + max((self.tuple_depth.get(id(v), 0) for v in values), default=0)
        if depth > DEEPEST_TUPLE:
            raise Refused(f"it nests tuples more than {DEEPEST_TUPLE} deep")
        if made:
            self.tuple_depth[id(made)] = depth
            self.tuples.append(made)
        self.push(made)

    def tuple_of_last(self, count: int) -> None:
        self.tuple_of([self.pop() for _ in range(count)][::-1])

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused(f"it appends to a {_name(target)}")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict):
            raise Refused(f"it sets items of a {_name(target)}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[checked_key(key)] = value

    def add_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise Refused(f"it adds to a {_name(target)}")
        target.update(checked_key(value) for value in values)

    def find(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise Refused("it names a class by something that is no text")
        self.push(self.names.find(module, name))

    def call(self, function: Any, arguments: Any) -> None:
        if type(arguments) is not tuple:
            raise Refused(f"it calls {_name(function)} with a {_name(arguments)}")
        if type(function) is Function:
            self.push(function.call(*arguments))
        elif type(function) is ClassName:
            self.push(Instance(function, arguments))
        else:
            raise Refused(f"it calls a {_name(function)}")

    def reduce(self, _: Any) -> None:
        arguments = self.pop()
        self.call(self.pop(), arguments)

    def new_object(self, _: Any) -> None:
        arguments = self.pop()
        self.call(self.pop(), arguments)

    def new_object_with_names(self, _: Any) -> None:
        named, arguments = self.pop(), self.pop()
        self.call(self.pop(), (*arguments, named))

    def instance(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        values = self.pop_to_mark()
        self.find(module, name)
        self.call(self.pop(), tuple(values))

    def object_of(self, _: Any) -> None:
        function, *values = self.pop_to_mark()
        self.call(function, tuple(values))

    def build(self, _: Any) -> None:
        state, value = self.pop(), self.stack[-1]
        if type(value) is not Instance:
            self.names.build(value, state)
            return
        parts = state if type(state) is tuple and len(state) == 2 else (state,)
        if all(part is None or type(part) in (dict, OrderedDict) for part in parts):
            for part in parts:
                value.attributes.update(part or {})
        else:
            value.state = state


def checked_key(key: Any, depth: int = 0) -> Any:
    """Return a key of a dictionary or member of a set if it is plain.

    Raises:
        Refused: it is something else: its hash would be code, or might never end.
    """
    if key is None or type(key) in (str, bytes, int, float, bool, complex, ClassName):
        return key
    if type(key) is tuple and depth < 4 and len(key) <= 64:
        for part in key:
            checked_key(part, depth + 1)
        return key
    raise Refused(f"it uses a {_name(key)} as a key")


def _name(value: Any) -> str:
    if type(value) in (Function, ClassName, Instance):
        return f"{value.cls if type(value) is Instance else getattr(value, 'name', value)}"
    return type(value).__name__


_IGNORED = ("PROTO", "FRAME")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_WITH_VALUE = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_PUT = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_GET = ("GET", "BINGET", "LONG_BINGET")
_METHODS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": _Machine.mark,
    "POP": lambda m, _: m.stack.pop() if len(m.stack) > (m.marks or [0])[-1] else m.marks.pop(),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "TUPLE": lambda m, _: m.tuple_of(m.pop_to_mark()),
    "TUPLE1": lambda m, _: m.tuple_of_last(1),
    "TUPLE2": lambda m, _: m.tuple_of_last(2),
    "TUPLE3": lambda m, _: m.tuple_of_last(3),
    "LIST": lambda m, _: m.push(m.pop_to_mark()),
    "DICT": lambda m, _: _dict(m),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_to_mark()),
    "SETITEM": lambda m, _: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.pop_to_mark()),
    "ADDITEMS": lambda m, _: m.add_items(m.pop_to_mark()),
    "FROZENSET": lambda m, _: m.push(frozenset(map(checked_key, m.pop_to_mark()))),
    "GLOBAL": lambda m, argument: m.find(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.find(*[m.pop(), m.pop()][::-1]),
    "INST": _Machine.instance,
    "OBJ": _Machine.object_of,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "NEWOBJ_EX": _Machine.new_object_with_names,
    "BUILD": _Machine.build,
    "BINPERSID": lambda m, _: m.push(m.names.persistent(m.pop())),
}


def _dict(machine: _Machine) -> None:
    values = machine.pop_to_mark()
    machine.push({})
    machine.set_items(values)
