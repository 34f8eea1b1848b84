"""Vectors of 16 float32 numbers inside Numba kernels: what a loop does to them is what is written.

LLVM decides by itself whether a loop becomes vector instructions, and keeps no sum in a register
while it stores to an array that might overlap. Where that costs most, kernels work on these values
instead. On a machine with AVX-512 a vector is one register; elsewhere LLVM takes two or four.

Arrays are contiguous and float32, of any number of dimensions; an index counts numbers from the
first one, and nothing checks it.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

ir = cgutils.ir
LANES = 16
"""Numbers of a vector."""
SLAB = 32
"""Columns of a matrix that lie together: [rows, 32 n] is stored as [n, rows, 32]."""
TILE_ROWS = 8
"""Rows that `add_product` works on at a time."""
UNROLLED = 16
"""Steps of a product that LLVM sees at once."""

_INDEX = ir.IntType(32)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


class _Vector(types.Type):
    def __init__(self):
        super().__init__(name="float32x16")


vector = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, data_model_manager, frontend_type):
        super().__init__(data_model_manager, frontend_type, _VECTOR)


def zeros(*shape: int) -> np.ndarray:
    """Return zeros, float32, that begin where a vector may begin: at a multiple of 64 bytes."""
    array: np.ndarray = torch.zeros(shape, dtype=torch.float32).numpy()
    return array


def _pointer(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def stay_apart(typing_context):
    """Keep LLVM from copying the function to where it is called, which takes long to compile."""

    def code(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.none(), code


@intrinsic
def load(typing_context, array, index):
    """Return the vector array[index : index + 16]."""

    def code(context, builder, signature, arguments):
        at = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(at, _VECTOR.as_pointer()), align=4)

    return vector(array, types.intp), code


@intrinsic
def store(typing_context, array, index, value):
    """Write a vector to array[index : index + 16]."""

    def code(context, builder, signature, arguments):
        at = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], builder.bitcast(at, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), code


@intrinsic
def read(typing_context, array, index):
    """Return array[index], of any dtype; unlike a subscript it never asks for the sign of index."""

    def code(context, builder, signature, arguments):
        return builder.load(_pointer(context, builder, signature.args[0], *arguments))

    return array.dtype(array, types.intp), code


@intrinsic
def spread(typing_context, number):
    """Return the vector whose numbers are all `number`."""

    def code(context, builder, signature, arguments):
        return _spread(builder, arguments[0])

    return vector(types.float32), code


@intrinsic
def fma(typing_context, a, b, c):
    """Return a * b + c, rounded once."""

    def code(context, builder, signature, arguments):
        return _fma(builder, *arguments)

    return vector(vector, vector, vector), code


@intrinsic
def add(typing_context, a, b):
    """Return a + b."""

    def code(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return vector(vector, vector), code


@intrinsic
def multiply(typing_context, a, b):
    """Return a * b."""

    def code(context, builder, signature, arguments):
        return builder.fmul(*arguments)

    return vector(vector, vector), code


@intrinsic
def divide(typing_context, a, b):
    """Return a / b."""

    def code(context, builder, signature, arguments):
        return builder.fdiv(*arguments)

    return vector(vector, vector), code


@intrinsic
def where_less(typing_context, a, b, yes, no):
    """Return yes where a < b, and no elsewhere, or where one of them is NaN."""

    def code(context, builder, signature, arguments):
        a, b, yes, no = arguments
        return builder.select(builder.fcmp_ordered("<", a, b), yes, no)

    return vector(vector, vector, vector, vector), code


@intrinsic
def power_of_two(typing_context, k_shifted):
    """Return 2^k of k + 1.5 * 2^23, a sum that rounded k to a whole number from -126 to 127."""

    def code(context, builder, signature, arguments):
        integers = ir.VectorType(_INDEX, LANES)
        bits = builder.bitcast(arguments[0], integers)
        bias, place = (ir.Constant(integers, [n] * LANES) for n in (127, 23))
        return builder.bitcast(builder.shl(builder.add(bits, bias), place), _VECTOR)

    return vector(vector), code


@intrinsic
def total(typing_context, a):
    """Return the sum of the 16 numbers: halves on halves, the same way every time."""

    def code(context, builder, signature, arguments):
        value, lanes = arguments[0], LANES
        while lanes > 1:
            lanes //= 2
            half = ir.VectorType(_INDEX, lanes)
            low = builder.shuffle_vector(value, value, ir.Constant(half, list(range(lanes))))
            places = ir.Constant(half, list(range(lanes, 2 * lanes)))
            value = builder.fadd(low, builder.shuffle_vector(value, value, places))
        return builder.extract_element(value, ir.Constant(_INDEX, 0))

    return types.float32(vector), code


@intrinsic
def add_product(typing_context, out, out_at, a, a_at, a_stride, slabs, weights, weights_at):
    """Add the product of 8 rows with a matrix of 32 columns to `out`, in the order of its rows.

    Rows lie in slabs of 32 columns: number k of row r is [k // 32 * stride + 32 r + k % 32],
    counted from where they begin. The 16 vectors of sums stay in registers.

    Args:
        out, out_at: 8 rows, one slab, and where it begins.
        a, a_at, a_stride: 8 rows of `slabs` slabs.
        slabs: 32 of them is the width of the rows.
        weights, weights_at: the matrix [32 slabs, 32], contiguous.
    """

    def code(context, builder, signature, arguments):
        out, out_at, a, a_at, a_stride, slabs, weights, weights_at = arguments
        out_type, a_type, weights_type = (signature.args[place] for place in (0, 2, 6))

        def number(n):
            return ir.Constant(out_at.type, n)

        def vector_at(array_type, array, at, offset):
            at = _pointer(context, builder, array_type, array, builder.add(at, number(offset)))
            return builder.bitcast(at, _VECTOR.as_pointer())

        tile = [(row, part) for row in range(TILE_ROWS) for part in range(SLAB // LANES)]
        places = [vector_at(out_type, out, out_at, SLAB * r + LANES * part) for r, part in tile]
        sums = [cgutils.alloca_once_value(builder, builder.load(at, align=4)) for at in places]
        with cgutils.for_range(builder, slabs) as slab:
            row = builder.add(a_at, builder.mul(slab.index, a_stride))
            matrix = builder.add(weights_at, builder.mul(slab.index, number(SLAB * SLAB)))
            with cgutils.for_range(builder, number(SLAB // UNROLLED)) as some:
                column = builder.add(row, builder.mul(some.index, number(UNROLLED)))
                line = builder.add(matrix, builder.mul(some.index, number(UNROLLED * SLAB)))
                for k in range(UNROLLED):
                    w = [
                        builder.load(
                            vector_at(weights_type, weights, line, SLAB * k + LANES * part), align=4
                        )
                        for part in range(SLAB // LANES)
                    ]
                    for (r, part), kept in zip(tile, sums, strict=True):
                        if part == 0:
                            at = builder.add(column, number(SLAB * r + k))
                            x = _spread(
                                builder,
                                builder.load(_pointer(context, builder, a_type, a, at)),
                            )
                        builder.store(_fma(builder, x, w[part], builder.load(kept)), kept)
        for at, kept in zip(places, sums, strict=True):
            builder.store(builder.load(kept), at, align=4)
        return context.get_dummy_value()

    place = types.intp
    return types.none(out, place, a, place, place, place, weights, place), code


@njit
def tanh(x):
    """Return tanh(x), off by little more than one unit in the last place; NaN stays NaN."""
    zero, one, two = spread(np.float32(0.0)), spread(np.float32(1.0)), spread(np.float32(2.0))
    a = where_less(x, zero, multiply(x, spread(np.float32(-1.0))), x)
    a = where_less(spread(np.float32(10.0)), a, spread(np.float32(10.0)), a)
    # Large: 1 - 2 e / (1 + e) with e = exp(-2 a) = 2^k exp(t), where nothing cancels.
    shift = spread(np.float32(12582912.0))  # 1.5 * 2^23: what is added to it becomes whole
    shifted = fma(a, spread(np.float32(-2.0 / math.log(2.0))), shift)
    k = add(shifted, multiply(shift, spread(np.float32(-1.0))))
    t = fma(k, spread(np.float32(-0.693359375)), multiply(a, spread(np.float32(-2.0))))
    t = fma(k, spread(np.float32(2.12194440054690583e-4)), t)
    e = spread(np.float32(1.0 / 720.0))  # Taylor: the next term is at most 1e-7 at |t| = log(2) / 2
    e = fma(e, t, spread(np.float32(1.0 / 120.0)))
    e = fma(e, t, spread(np.float32(1.0 / 24.0)))
    e = fma(e, t, spread(np.float32(1.0 / 6.0)))
    e = fma(e, t, spread(np.float32(0.5)))
    e = fma(e, t, one)
    e = multiply(fma(e, t, one), power_of_two(shifted))
    large = fma(divide(multiply(e, spread(np.float32(-1.0))), add(e, one)), two, one)
    # Small: x + x^3 p(x^2), fitted up to 0.55 to a relative error of 1e-9, rounding aside.
    z = multiply(x, x)
    p = spread(np.float32(-0.00627424))
    p = fma(p, z, spread(np.float32(0.02107168)))
    p = fma(p, z, spread(np.float32(-0.05385231)))
    p = fma(p, z, spread(np.float32(0.13332586)))
    p = fma(p, z, spread(np.float32(-0.33333318)))
    small = fma(multiply(x, z), p, x)
    large = where_less(x, zero, multiply(large, spread(np.float32(-1.0))), large)
    return where_less(a, spread(np.float32(0.55)), small, large)


def _spread(builder, number):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(undefined, number, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(
        one, undefined, ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)
    )


def _fma(builder, a, b, c):
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
    return builder.call(function, (a, b, c))
