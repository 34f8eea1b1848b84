"""What the accesses of a kernel say about it: out of bounds, races, memory that was never set.

On a GPU programs run at the same time and in any order, and so do the lanes of one program. The
interpreter runs them one after another and gets a lucky result. So races are not looked for in the
result, but in who touched what: an element that one program stores and another one touches is a
race, in whatever order they ran.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flashschnet_lab.puzzles.memory import Access
from flashschnet_lab.puzzles.specification import Finding

Words = Callable[[str, int], str]
"""Says in words what an element of a named array stands for."""

NOBODY, SEVERAL = -1, -2


def access_findings(
    accesses: Sequence[Access], sizes: dict[str, int], words: Words
) -> list[Finding]:
    """Return what is wrong with the accesses of a launcher, at most one finding of each kind.

    Args:
        accesses: in order, of all launches.
        sizes: elements of each named array.
        words: place of an element, in words.
    """
    outside = [*_beyond(accesses, sizes)]
    if outside:
        return outside  # what lies beyond the end of a row collides with the next: a second symptom
    return [*_races(accesses, words), *_unset(accesses, words)]


def _beyond(accesses: Sequence[Access], sizes: dict[str, int]) -> list[Finding]:
    """Return the first array that is left by a store, or else by a load."""
    guilty = [a for a in accesses if len(a.outside)]
    if not guilty:
        return []
    first = min(guilty, key=lambda access: access.kind == "load")
    same = [a for a in guilty if a.array == first.array and a.kind == first.kind]
    count = sum(len(a.outside) for a in same)
    element, size = int(first.outside[0]), sizes.get(first.array)
    verb = "reads" if first.kind == "load" else "writes"
    length = "" if size is None else f"; `{first.array}` has {size} elements, 0 to {size - 1}"
    far = element < 0 or (size is not None and element >= 16 * max(size, 64))
    where = f"program {_program(first)}, element {element}{length}{_line(first)}"
    if far:
        what = f"the kernel {verb} `{first.array}` far outside: an address is computed wrongly"
        hint = (
            "print the index for the first program by hand. An index that was loaded with a mask "
            "but without `other=` is garbage in the lanes that are switched off: do not use it "
            "there."
        )
        return [Finding("index", what, where, hint)]
    what = f"the kernel {verb} {count} element{'s' * (count > 1)} beyond the end of `{first.array}`"
    hint = (
        "the last block is not full. Lanes past the end must be switched off in every tl.load and "
        "tl.store: mask=(index < length), for rows and for columns."
    )
    return [Finding("mask", what, where, hint)]


def _races(accesses: Sequence[Access], words: Words) -> list[Finding]:
    """Return the first element that two lanes or two programs fight for."""
    for access in accesses:
        lane = _lanes_collide(access)
        if lane is not None:
            what = (
                f"lanes of one program store different values to the same element of "
                f"`{access.array}`; only one of them survives"
            )
            where = f"program {_program(access)}, {words(access.array, lane)}{_line(access)}"
            hint = (
                "a sum from several lanes needs tl.atomic_add, or tl.sum before one store. If "
                "these lanes should be different elements, the index is wrong."
            )
            return [Finding("race", what, where, hint)]
    for launch in sorted({access.launch for access in accesses}):
        for array in dict.fromkeys(access.array for access in accesses):
            mine = [a for a in accesses if a.array == array and a.launch == launch]
            found = _programs_collide(mine, words)
            if found is not None:
                return [found]
    return []


def _lanes_collide(access: Access) -> int | None:
    """Return an element that gets different values in one store."""
    if access.kind != "store" or len(access.elements) < 2:
        return None
    order = np.argsort(access.elements, kind="stable")
    elements, values = access.elements[order], access.values[order]
    clash = (elements[1:] == elements[:-1]) & (values[1:] != values[:-1])
    return int(elements[1:][clash][0]) if clash.any() else None


def _programs_collide(accesses: Sequence[Access], words: Words) -> Finding | None:
    """Return the first element of one array that one program stores and another one touches."""
    if not any(access.kind == "store" for access in accesses):
        return None
    programs = list(dict.fromkeys(access.program for access in accesses))
    length = 1 + max(int(a.elements.max(initial=0)) for a in accesses)
    owner = np.full((3, length), NOBODY)  # who loaded, who stored, who added
    rows = {"load": 0, "store": 1, "atomic": 2}
    last_value = np.zeros(length)
    differs = np.zeros(length, bool)
    for access in accesses:
        row, elements, number = rows[access.kind], access.elements, programs.index(access.program)
        if access.kind == "store":
            foreign = (owner[1, elements] != NOBODY) & (owner[1, elements] != number)
            with np.errstate(invalid="ignore"):
                differs[elements] |= foreign & (last_value[elements] != access.values)
            last_value[elements] = access.values
        taken = (owner[row, elements] != NOBODY) & (owner[row, elements] != number)
        owner[row, elements] = np.where(taken, SEVERAL, number)
    loads, stores, adds = owner
    read_too = (stores != NOBODY) & (loads != NOBODY) & ((loads != stores) | (loads == SEVERAL))
    added_too = (stores != NOBODY) & (adds != NOBODY) & ((adds != stores) | (adds == SEVERAL))
    clash = differs | read_too | added_too
    if not clash.any():
        return None
    element = int(np.argmax(clash))
    touching = [a for a in accesses if element in a.elements]
    both = list(dict.fromkeys(_program(a) for a in touching))[:2]
    array = accesses[0].array
    what = (
        f"{np.count_nonzero(clash)} elements of `{array}` are stored by one program and touched by "
        "another; on a GPU both run at once, and one result is lost"
    )
    last = [a for a in touching if a.kind == "store"][-1]
    where = f"programs {' and '.join(both)}, {words(array, element)}{_line(last)}"
    hint = (
        "reading, adding and storing are three steps, and another program may come in between: use "
        "tl.atomic_add, or let a single program own each element. If these programs should write "
        "to different places: how does the index depend on tl.program_id?"
    )
    return Finding("race", what, where, hint)


def _unset(accesses: Sequence[Access], words: Words) -> list[Finding]:
    """Return the first element that was read, or added to, before anybody wrote it."""
    for access in accesses:
        if len(access.unset):
            verb = "adds to" if access.kind == "atomic" else "reads"
            what = f"the kernel {verb} `{access.array}` before anything was written there"
            where = (
                f"program {_program(access)}, {words(access.array, int(access.unset[0]))}"
                f"{_line(access)}"
            )
            hint = f"new memory holds anything. Start from zero: {access.array}.zero_() first."
            return [Finding("start", what, where, hint)]
    return []


def _program(access: Access) -> str:
    """Return a program_id without the axes that the grid does not use, but at least one."""
    return f"({access.program[0]}, {access.program[1]}, {access.program[2]})".replace(
        ", 0, 0)", ")"
    )


def _line(access: Access) -> str:
    return f", in `{access.line}`" if access.line else ""
