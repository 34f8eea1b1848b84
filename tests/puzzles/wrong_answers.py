"""Typical wrong answers: a solution with one mistake put in, and what the checker must say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WrongAnswer:
    """A mistake.

    Attributes:
        name: of the mistake.
        edits: (old, new) pieces of the solution's source; all of `old` must be there.
        category: of the first finding.
        words: some of what the findings must say.
    """

    name: str
    edits: tuple[tuple[str, str], ...]
    category: str
    words: tuple[str, ...] = ()


def _one(name: str, old: str, new: str, category: str, *words: str) -> WrongAnswer:
    return WrongAnswer(name, ((old, new),), category, words)


NO_OTHER = ((", mask=inside, other=0)", ", mask=inside)"),)


WRONG_ANSWERS: dict[str, tuple[WrongAnswer, ...]] = {
    "double": (
        _one("no mask in the store", ", mask=inside), mask=inside)", ", mask=inside))", "mask",
             "writes 11 elements beyond the end of `y`", "element 37", "0 to 36"),
        _one("no mask in the load", "tl.load(x + n, mask=inside)", "tl.load(x + n)", "mask",
             "reads 11 elements beyond the end of `x`"),
        _one("rounded down", "triton.cdiv(len(x), 16)", "len(x) // 16", "mask",
             "5 of 37 elements", "first number 32", "triton.cdiv"),
        _one("square", "2.0 * tl.load(x + n, mask=inside)", "tl.load(x + n, mask=inside) * "
             "tl.load(x + n, mask=inside)", "formula", "square"),
        _one("half", "2.0 * tl.load(x + n, mask=inside)",
             "(2.0 * tl.load(x + n, mask=inside)).to(tl.float16)", "dtype", "digits are lost"),
        _one("the input is overwritten", "tl.store(y + n", "tl.store(x + n", "index",
             "overwrites its input `x`"),
        _one("every program the same block", "tl.program_id(0) * BLOCK + ", "", "mask",
             "never written"),
        _one("fragments that do not fit", "2.0 * tl.load(x + n, mask=inside)",
             "tl.load(x + n, mask=inside) + tl.arange(0, 2 * BLOCK)", "crash", "must fit"),
        _one("length that is no power of two", "BLOCK=16)", "BLOCK=20)", "crash", "power of two"),
    ),
    "distance": (
        _one("no mask in the store", "dz * dz), mask=inside)", "dz * dz))", "mask",
             "writes", "beyond the end of `r_ij`"),
        WrongAnswer("a garbage index", NO_OTHER, "index", ("far outside", "other=")),
        _one("no root", "tl.sqrt(dx * dx + dy * dy + dz * dz)", "dx * dx + dy * dy + dz * dz",
             "formula", "squares of the distances", "edge 0 (i = 0, j = 1)"),
        WrongAnswer("stride of one", (("+ 3 * j", "+ j"), ("+ 3 * i", "+ i")), "index",
                    ("stride between beads is 1",)),
        _one("z forgotten", " + dz * dz)", ")", "formula", "z does not"),
        _one("cut to whole numbers", "dz * dz), mask", "dz * dz).to(tl.int32), mask", "dtype",
             "whole numbers"),
        _one("in half precision", "dz * dz), mask", "dz * dz).to(tl.float16), mask", "dtype",
             "digits are lost"),
        _one("one place off", "tl.store(r_ij + e,", "tl.store(r_ij + (e + 1) % edges,", "index",
             "shifted by one place"),
        _one("all edges to one place", "tl.store(r_ij + e,", "tl.store(r_ij + e // 2,", "race",
             "lanes of one program"),
    ),
    "rbf": (
        _one("no envelope", "envelope[:, None] * tl.exp", "tl.exp", "formula",
             "the envelope is missing"),
        _one("no cutoff", "tl.where(r < cutoff, 0.5", "tl.where(r > 0, 0.5", "formula",
             "comes back up"),
        _one("factor of two", "0.5 * (tl.cos", "(tl.cos", "formula", "2 times"),
        _one("transposed", "e[:, None] * functions + f[None, :]", "f[None, :] * edges + e[:, None]",
             "index", "transposed"),
        _one("no mask for functions", " & (f < functions)[None, :]", "", "mask",
             "beyond the end of `rbf`"),
        _one("not squared", "-width * z * z", "-width * z", "formula", "not squared"),
        _one("one centre", "centres + f,", "centres + 0 * f,", "index", "centre of the first"),
    ),
    "gather": (
        _one("i and j swapped", "gather_kernel[grid](features, sender,",
             "gather_kernel[grid](features, receiver,", "index", "i and j are swapped"),
        _one("no mask for channels", " & (c < channels)[None, :]", "", "mask", "beyond the end"),
        _one("a stride of one", "j[:, None] * channels", "j[:, None]", "index",
             "stride between rows is 1"),
        _one("transposed", "e.to(tl.int64)[:, None] * channels + c[None, :]",
             "c[None, :] * edges + e.to(tl.int64)[:, None]", "index", "transposed"),
        WrongAnswer("programs write the same rows",
                    (("out + e.to(tl.int64)", "out + (e % EDGES).to(tl.int64)"),), "race",
                    ("programs (0) and (1)", "tl.program_id")),
        WrongAnswer("rounded down", (("triton.cdiv(edges, 16)", "edges // 16"),), "mask",
                    ("never written", "edge 32")),
    ),
    "segment_reduce": (
        WrongAnswer("atomics onto nothing",
                    (("tl.store(out + i * channels", "tl.atomic_add(out + i * channels"),), "start",
                    ("out.zero_()",)),
        WrongAnswer("read, add, write", (
            ("    total = tl", "    r = tl.load(receiver + i)\n    total = tl"),
            ("start, end = tl.load(row_start + i), tl.load(row_start + i + 1)",
             "start, end = i, i + 1"),
            ("sum_kernel(values, row_start", "sum_kernel(values, receiver, row_start"),
            ("sum_kernel[(beads,)](values", "out.zero_()\n    sum_kernel[(len(receiver),)](values"),
            ("(values, row_start, out, channels, EDGES=", "(values, receiver, row_start, out, "
             "channels, EDGES="),
            ("tl.store(out + i * channels + c, total",
             "tl.store(out + r * channels + c, total + tl.load(out + r * channels + c, "
             "mask=c < channels)"),
        ), "race", ("stored by one program and touched by another", "atomic_add")),
        _one("the last edge left out", "(e < end)", "(e < end - 1)", "index", "last edge"),
        _one("one edge too many", "(e < end)", "(e <= end)", "mask", "beyond the end of `values`"),
        _one("no loop", "range(start, end, EDGES)", "range(start, start + EDGES, EDGES)", "mask",
             "only the first 16 edges"),
        WrongAnswer("added in half precision", (
            ("[BLOCK], dtype=tl.float32)", "[BLOCK], dtype=tl.float16)"),
            (".to(tl.float32), axis=0", ".to(tl.float16), axis=0"),
        ), "dtype", ("digits are lost",)),
        _one("nothing written for empty rows", "tl.store(out + i * channels + c, total, "
             "mask=c < channels)", "tl.store(out + i * channels + c, total, "
             "mask=(c < channels) & (end > start))", "mask", "whole rows are left out"),
        _one("no value for masked lanes", ", mask=inside, other=0.0)", ", mask=inside)", "mask",
             "NaN", "other=0.0"),
        _one("mean", "out + i * channels + c, total",
             "out + i * channels + c, total / (end - start)", "formula", "mean"),
    ),
    "cfconv": (
        _one("i and j swapped", "features + j[:, None] * C", "features + i * C + 0 * j[:, None]",
             "index", "i and j are swapped"),
        _one("no envelope on the filter", "filters = envelope[:, None] * tl.dot",
             "filters = tl.where(inside, 1.0, 0.0)[:, None] * tl.dot", "formula",
             "envelope on the filter is missing"),
        _one("lanes past the end", "inside & (r < cutoff)", "r < cutoff", "mask",
             "lanes past the end of a row"),
        _one("no cutoff", "inside & (r < cutoff)", "inside", "formula", "comes back up"),
        _one("no tanh", "2.0 * tl.sigmoid(2.0 * x) - 1.0", "x", "formula", "tanh is missing"),
        _one("no loop", "tl.load(row_start + i), end, E)", "tl.load(row_start + i), "
             "tl.load(row_start + i) + 1, E)", "mask", "only the first 16 edges"),
        _one("the first weight's strides swapped", "c[None, :] * F + f[:, None]",
             "f[:, None] * C + c[None, :]", "index", "first weight"),
        _one("the second weight transposed", "c[None, :] * C + c[:, None]",
             "c[:, None] * C + c[None, :]", "index", "second weight"),
        _one("in half precision", "tanh(tl.dot(rbf, first", "tanh(tl.dot(rbf.to(tl.float16), "
             "first.to(tl.float16)", "dtype", "digits are lost"),
    ),
    "cfconv_backward": (
        _one("no derivative of the envelope", "-0.5 * k * tl.sin(k * r)", "0.0 * r", "formula",
             "derivative of the envelope", "everywhere", "7.5 %"),
        _one("none on the filter", "filters_slope = envelope_slope * tl.dot(hidden",
             "filters_slope = 0.0 * tl.dot(hidden", "formula", "on the filter"),
        _one("none in the basis", "(envelope_slope - 2.0 * width", "(0.0 - 2.0 * width",
             "formula", "in the basis"),
        _one("one direction", "product += h_i[None, :] * tl.load(message_gradient + at)", "pass",
             "index", "only the messages that i receives"),
        WrongAnswer("all signs", tuple((f"sum_{k} -=", f"sum_{k} +=") for k in "xyz"), "formula",
                    ("the sign is wrong everywhere",)),
        _one("no unit vector", "* filters_slope, axis=1) / r", "* filters_slope, axis=1)",
             "formula", "not a unit vector"),
    ),
    "tile": (
        WrongAnswer("stores instead of atomic sums",
                    (("tl.atomic_add(messages + at_j, to_j", "tl.store(messages + at_j, "
                      "tl.load(messages + at_j, mask=inside_j) + to_j"),), "race", ("`messages`",)),
        _one("not zeroed", "    messages.zero_()\n", "", "start", "messages.zero_()"),
        _one("with itself", "i[:, None] < j[None, :]", "i[:, None] <= j[None, :]", "mask",
             "to itself, twice"),
        _one("twice within a tile", "(i[:, None] < j[None, :])",
             "(i[:, None] != j[None, :]) & known_i[:, None]", "mask", "counted twice"),
        _one("one direction", "        tl.atomic_add(messages + at_j, to_j, mask=inside_j)\n", "",
             "index", "only the message from j to i"),
        _one("only the diagonal", "tl.program_id(0) <= tl.program_id(1)",
             "tl.program_id(0) == tl.program_id(1)", "index", "within one tile"),
        _one("no mask for the last tile", "to_j, mask=inside_j)", "to_j)", "mask",
             "writes", "beyond the end of `messages`"),
    ),
}  # fmt: skip
