"""Register-blocked inner loops of mixtures as explicit vectors: squares of triangular products, moments, exponentials.

LLVM does not find these blocks by itself. Every function has a readable version beside it, which also serves where
numba is turned off. Arrays are flat; rows of data lie along the lanes of a vector.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

Floats = npt.NDArray[np.float64]

cg: Any = cgutils  # which has no types
plain: bool = config.DISABLE_JIT  # type: ignore[attr-defined]

LANES = 8  # rows in a vector
STRIP = 4 * LANES  # rows whose squares are summed at once
DEPTH = 64  # rows between two visits of the sums of products

DOUBLE, WORD = ir.DoubleType(), ir.IntType(64)
VECTOR, WORDS = ir.VectorType(DOUBLE, LANES), ir.VectorType(WORD, LANES)

LOWEST = -700.0  # exponent below which a share counts as 0
SHIFTER = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, in the low bits
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
EXP_TERMS = tuple(1.0 / math.factorial(i) for i in range(13, -1, -1))
LOG_TERMS = tuple(2.0 / (2 * i + 1) for i in range(11, -1, -1))
MANTISSA, EXPONENT_OF_HALF = (1 << 52) - 1, 0x3FE << 52
ONE_BITS, SQRT_HALF_BITS = 0x3FF << 52, 0x3FE6A09E667F3BCD


class Emit:
    """Vector instructions, one a method."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.context, self.builder, self.signature, self.arguments = context, builder, signature, arguments
        kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
        self.fused = cg.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f64")

    def data(self, position: int) -> Any:
        """Where the data of an array argument begin."""
        array = self.context.make_array(self.signature.args[position])
        return array(self.context, self.builder, self.arguments[position]).data

    def whole(self, value: int) -> Any:
        """An integer constant."""
        return self.context.get_constant(types.intp, value)

    def at(self, index: Any, step: int = 0, times: Any = None) -> Any:
        """``index + step * times``."""
        offset = self.whole(step) if times is None else self.builder.mul(self.whole(step), times)
        return self.builder.add(index, offset)

    def load(self, data: Any, index: Any) -> Any:
        """`LANES` numbers from an index on."""
        place = self.builder.bitcast(self.builder.gep(data, [index]), VECTOR.as_pointer())
        return self.builder.load(place, align=8)

    def store(self, value: Any, data: Any, index: Any) -> None:
        """Write `LANES` numbers from an index on."""
        place = self.builder.bitcast(self.builder.gep(data, [index]), VECTOR.as_pointer())
        self.builder.store(value, place, align=8)

    def spread(self, scalar: Any) -> Any:
        """A number in every lane."""
        one = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), mask)

    def each(self, data: Any, index: Any) -> Any:
        """The number at an index in every lane."""
        return self.spread(self.builder.load(self.builder.gep(data, [index])))

    def number(self, value: float) -> Any:
        """A constant in every lane."""
        return ir.Constant(VECTOR, [value] * LANES)

    def word(self, value: int) -> Any:
        """An integer constant in every lane."""
        return ir.Constant(WORDS, [value] * LANES)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """``a b + c``, rounded once."""
        return self.builder.call(self.fused, [a, b, c])

    def polynomial(self, terms: tuple[float, ...], x: Any) -> Any:
        """A polynomial, its highest coefficient first."""
        value = self.number(terms[0])
        for term in terms[1:]:
            value = self.multiply_add(value, x, self.number(term))
        return value

    def exp(self, x: Any) -> Any:
        """``exp(x)`` for x in [LOWEST, 700]; NaN stays."""
        b = self.builder
        shifted = self.multiply_add(x, self.number(LOG2_E), self.number(SHIFTER))
        turns = b.fsub(shifted, self.number(SHIFTER))
        rest = self.multiply_add(turns, self.number(-LN2_HIGH), x)
        rest = self.multiply_add(turns, self.number(-LN2_LOW), rest)
        bits = b.shl(b.bitcast(shifted, WORDS), self.word(52))
        return b.bitcast(b.add(b.bitcast(self.polynomial(EXP_TERMS, rest), WORDS), bits), VECTOR)

    def log(self, x: Any) -> Any:
        """``log(x)`` of positive normal numbers, minus infinity at 0; NaN stays."""
        b = self.builder
        bits = b.bitcast(x, WORDS)
        above = b.ashr(b.sub(bits, self.word(SQRT_HALF_BITS)), self.word(52))
        turns = b.sitofp(above, VECTOR)
        mantissa = b.bitcast(b.sub(bits, b.shl(above, self.word(52))), VECTOR)
        one = self.number(1.0)
        ratio = b.fdiv(b.fsub(mantissa, one), b.fadd(mantissa, one))
        series = b.fmul(ratio, self.polynomial(LOG_TERMS, b.fmul(ratio, ratio)))
        value = self.multiply_add(turns, self.number(LN2_HIGH), self.multiply_add(turns, self.number(LN2_LOW), series))
        value = b.select(b.fcmp_ordered("==", x, self.number(0.0)), self.number(-math.inf), value)
        return b.select(b.fcmp_unordered("uno", x, x), x, value)


def squares(n_rows: int) -> Any:
    """A function that adds the squares of some rows of a product to the sums of a strip."""

    def add_squares(typingctx: Any, matrix: Any, begin: Any, stride: Any, n: Any, strip: Any, out: Any, at: Any) -> Any:
        signature = types.void(matrix, types.intp, types.intp, types.intp, strip, out, types.intp)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emit(context, builder, signature, arguments)
            matrix, strip, out = e.data(0), e.data(4), e.data(5)
            begin, stride, n, at = arguments[1], arguments[2], arguments[3], arguments[6]
            wide = STRIP // LANES
            sums = [[cg.alloca_once_value(builder, e.number(0.0)) for _ in range(wide)] for _ in range(n_rows)]
            starts = [begin]
            for _ in range(n_rows - 1):
                starts.append(builder.add(starts[-1], stride))
            with cg.for_range(builder, n) as loop:
                columns = [e.load(strip, e.at(e.whole(LANES * c), STRIP, loop.index)) for c in range(wide)]
                for r in range(n_rows):
                    entry = e.each(matrix, builder.add(starts[r], loop.index))
                    for c in range(wide):
                        total = e.multiply_add(entry, columns[c], builder.load(sums[r][c]))
                        builder.store(total, sums[r][c])
            for c in range(wide):
                place = e.at(at, LANES * c)
                total = e.load(out, place)
                for r in range(n_rows):
                    value = builder.load(sums[r][c])
                    total = e.multiply_add(value, value, total)
                e.store(total, out, place)
            return context.get_dummy_value()

        return signature, generate

    def readable(matrix: Floats, begin: int, stride: int, n: int, strip: Floats, out: Floats, at: int) -> None:
        for r in range(n_rows):
            row = matrix[begin + r * stride : begin + r * stride + n]
            out[at : at + STRIP] += (row @ strip[: n * STRIP].reshape(n, STRIP)) ** 2

    return readable if plain else intrinsic(add_squares)


def products(width: int) -> Any:
    """A function that adds the products of two groups of `width` features to their sums, lane by lane."""

    def add_products(typingctx: Any, rows: Any, left: Any, right: Any, steps: Any, sums: Any, at: Any) -> Any:
        signature = types.void(rows, types.intp, types.intp, types.intp, sums, types.intp)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emit(context, builder, signature, arguments)
            rows, sums = e.data(0), e.data(4)
            left, right, steps, at = arguments[1], arguments[2], arguments[3], arguments[5]
            size = width * width
            totals = [cg.alloca_once_value(builder, e.load(sums, e.at(at, LANES * m))) for m in range(size)]
            with cg.for_range(builder, steps) as loop:
                first = e.at(left, LANES, loop.index)
                second = e.at(right, LANES, loop.index)
                ones = [e.load(rows, e.at(first, DEPTH * i)) for i in range(width)]
                others = [e.load(rows, e.at(second, DEPTH * j)) for j in range(width)]
                for i in range(width):
                    for j in range(width):
                        slot = totals[i * width + j]
                        builder.store(e.multiply_add(ones[i], others[j], builder.load(slot)), slot)
            for m in range(size):
                e.store(builder.load(totals[m]), sums, e.at(at, LANES * m))
            return context.get_dummy_value()

        return signature, generate

    def readable(rows: Floats, left: int, right: int, steps: int, sums: Floats, at: int) -> None:
        for i in range(width):
            for j in range(width):
                one = rows[left + i * DEPTH : left + i * DEPTH + steps * LANES].reshape(steps, LANES)
                other = rows[right + j * DEPTH : right + j * DEPTH + steps * LANES].reshape(steps, LANES)
                place = at + (i * width + j) * LANES
                sums[place : place + LANES] += (one * other).sum(axis=0)

    return readable if plain else intrinsic(add_products)


def fill_emitted(typingctx: Any, columns: Any, begin: Any, stride: Any, n: Any, mean: Any, m0: Any, strip: Any) -> Any:
    signature = types.void(columns, types.intp, types.intp, types.intp, mean, types.intp, strip)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        columns, mean, strip = e.data(0), e.data(4), e.data(6)
        begin, stride, n, m0 = (arguments[i] for i in (1, 2, 3, 5))
        with cg.for_range(builder, n) as loop:
            source = builder.add(begin, builder.mul(stride, loop.index))
            middle = e.each(mean, builder.add(m0, loop.index))
            for c in range(0, STRIP, LANES):
                apart = builder.fsub(e.load(columns, e.at(source, c)), middle)
                e.store(apart, strip, e.at(e.whole(c), STRIP, loop.index))
        return context.get_dummy_value()

    return signature, generate


def fill_readable(columns: Floats, begin: int, stride: int, n: int, mean: Floats, m0: int, strip: Floats) -> None:
    """Deviations of `STRIP` rows from a mean, feature by feature."""
    for j in range(n):
        place = begin + j * stride
        strip[j * STRIP : (j + 1) * STRIP] = columns[place : place + STRIP] - mean[m0 + j]


def add_group_emitted(
    typingctx: Any, columns: Any, begin: Any, stride: Any, n: Any, mean: Any, m0: Any, shares: Any, s0: Any, rows: Any,
    at: Any, first: Any, f0: Any,
) -> Any:  # fmt: skip
    signature = types.void(
        columns, types.intp, types.intp, types.intp, mean, types.intp, shares, types.intp, rows, types.intp, first,
        types.intp,
    )  # fmt: skip

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        columns, mean, shares, rows, first = (e.data(i) for i in (0, 4, 6, 8, 10))
        begin, stride, n, m0, s0, at, f0 = (arguments[i] for i in (1, 2, 3, 5, 7, 9, 11))
        kind = ir.FunctionType(VECTOR, [VECTOR])
        root_of = cg.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f64")
        root = builder.call(root_of, [e.load(shares, s0)])
        with cg.for_range(builder, n) as loop:
            source = builder.add(begin, builder.mul(stride, loop.index))
            apart = builder.fsub(e.load(columns, source), e.each(mean, builder.add(m0, loop.index)))
            scaled = builder.fmul(apart, root)
            e.store(scaled, rows, e.at(at, DEPTH, loop.index))
            place = e.at(f0, LANES, loop.index)
            e.store(e.multiply_add(scaled, root, e.load(first, place)), first, place)
        return context.get_dummy_value()

    return signature, generate


def add_group_readable(
    columns: Floats, begin: int, stride: int, n: int, mean: Floats, m0: int, shares: Floats, s0: int, rows: Floats,
    at: int, first: Floats, f0: int,
) -> None:  # fmt: skip
    """Deviations of `LANES` rows times the roots of their shares, and the sums of deviations times shares."""
    root = np.sqrt(shares[s0 : s0 + LANES])
    for j in range(n):
        place = begin + j * stride
        scaled = (columns[place : place + LANES] - mean[m0 + j]) * root
        rows[at + j * DEPTH : at + j * DEPTH + LANES] = scaled
        first[f0 + j * LANES : f0 + (j + 1) * LANES] += scaled * root


def lane_sum_emitted(typingctx: Any, values: Any, at: Any) -> Any:
    signature = types.float64(values, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        vector = e.load(e.data(0), arguments[1])
        parts = [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(LANES)]
        while len(parts) > 1:
            parts = [builder.fadd(parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
        return parts[0]

    return signature, generate


def lane_sum_readable(values: Floats, at: int) -> float:
    """Sum of `LANES` numbers."""
    return float(values[at : at + LANES].sum())


def finish_emitted(typingctx: Any, values: Any, at: Any, n: Any, constant: Any) -> Any:
    signature = types.void(values, types.intp, types.intp, types.float64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        data, constant = e.data(0), e.spread(arguments[3])
        with cg.for_range(builder, arguments[2]) as loop:
            place = e.at(arguments[1], LANES, loop.index)
            e.store(e.multiply_add(e.load(data, place), e.number(-0.5), constant), data, place)
        return context.get_dummy_value()

    return signature, generate


def finish_readable(values: Floats, at: int, n: int, constant: float) -> None:
    """Log joint densities from squares, in place, of `n` vectors."""
    values[at : at + n * LANES] = constant - 0.5 * values[at : at + n * LANES]


def share_emitted(
    typingctx: Any, log_joint: Any, begin: Any, stride: Any, n: Any, weights: Any, w0: Any, out: Any, o0: Any
) -> Any:
    signature = types.void(log_joint, types.intp, types.intp, types.intp, weights, types.intp, out, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e, b = Emit(context, builder, signature, arguments), builder
        log_joint, weights, out = e.data(0), e.data(4), e.data(6)
        begin, stride, n, w0, o0 = (arguments[i] for i in (1, 2, 3, 5, 7))
        highest = cg.alloca_once_value(b, e.number(-math.inf))
        total, spread = (cg.alloca_once_value(b, e.number(0.0)) for _ in range(2))

        def place(index: Any) -> Any:
            return b.add(begin, b.mul(stride, index))

        with cg.for_range(b, n) as loop:
            value, so_far = e.load(log_joint, place(loop.index)), b.load(highest)
            b.store(b.select(b.fcmp_unordered(">", value, so_far), value, so_far), highest)
        top = b.load(highest)
        top = b.select(b.fcmp_ordered("==", top, e.number(-math.inf)), e.number(0.0), top)
        with cg.for_range(b, n) as loop:
            below = b.fsub(e.load(log_joint, place(loop.index)), top)
            low = b.fcmp_ordered("<", below, e.number(LOWEST))
            clipped = b.select(low, e.number(LOWEST), below)
            share = b.select(low, e.number(0.0), e.exp(clipped))
            e.store(share, log_joint, place(loop.index))
            b.store(b.fadd(b.load(total), share), total)
            b.store(e.multiply_add(share, clipped, b.load(spread)), spread)
        whole, weight = b.load(total), e.load(weights, w0)
        log_total = e.log(whole)
        none = b.fcmp_ordered("==", whole, e.number(0.0))
        mean = b.select(none, e.number(0.0), b.fsub(log_total, b.fdiv(b.load(spread), whole)))
        e.store(b.fmul(weight, b.fadd(top, log_total)), out, o0)
        e.store(b.fmul(weight, mean), out, e.at(o0, LANES))
        scale = b.select(none, e.number(0.0), b.fdiv(weight, whole))
        with cg.for_range(b, n) as loop:
            e.store(b.fmul(e.load(log_joint, place(loop.index)), scale), log_joint, place(loop.index))
        return context.get_dummy_value()

    return signature, generate


def share_readable(
    log_joint: Floats, begin: int, stride: int, n: int, weights: Floats, w0: int, out: Floats, o0: int
) -> None:
    """Turn `LANES` rows of log joint densities into weighted shares in place; log-likelihoods and entropies to `out`."""
    places = begin + stride * np.arange(n)[:, None] + np.arange(LANES)
    top = log_joint[places].max(axis=0)
    top = np.where(top == -math.inf, 0.0, top)
    below = log_joint[places] - top
    clipped = np.where(below < LOWEST, LOWEST, below)
    shares = np.where(below < LOWEST, 0.0, np.exp(clipped))
    total, weight = shares.sum(axis=0), weights[w0 : w0 + LANES]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_total = np.log(total)
        out[o0 : o0 + LANES] = weight * (top + log_total)
        spread = np.where(total == 0.0, 0.0, log_total - (shares * clipped).sum(axis=0) / total)
        out[o0 + LANES : o0 + 2 * LANES] = weight * spread
        log_joint[places] = shares * np.where(total == 0.0, 0.0, weight / total)


add_squares_of_2, add_squares_of_4 = squares(2), squares(4)
add_products_of_2, add_products_of_4 = products(2), products(4)
fill_strip: Any = fill_readable if plain else intrinsic(fill_emitted)
lane_sum: Any = lane_sum_readable if plain else intrinsic(lane_sum_emitted)
finish: Any = finish_readable if plain else intrinsic(finish_emitted)
add_group: Any = add_group_readable if plain else intrinsic(add_group_emitted)
share_lanes: Any = share_readable if plain else intrinsic(share_emitted)
