"""Vector instructions for kernels whose rows of data lie along the lanes: registers, exponentials, shares of components.

LLVM does not find such loops by itself. Every function has a readable version beside it, which also serves where numba is
turned off. Arrays are flat.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

Floats = npt.NDArray[np.float64]

cg: Any = cgutils  # which has no types
plain: bool = config.DISABLE_JIT  # type: ignore[attr-defined]

# Rows in a vector, and running sums that the registers hold beside what is added: AVX-512 has 32 registers of 8 numbers,
# the others 16 of 4. Tests force the other width, with a NUMBA_CACHE_DIR of their own, since compiled kernels do not tell it.
WIDEST = "8" if "+avx512f" in get_host_cpu_features() else "4"  # type: ignore[no-untyped-call]
LANES, SLOTS = {"8": (8, 16), "4": (4, 8)}[os.environ.get("EMTOOLS_LANES", WIDEST)]
STRIP = SLOTS // 4 * LANES  # rows whose squares are summed at once
WEIGHED = 4 * LANES  # rows whose exponentials are taken at once: four chains of products hide each other's waits

DOUBLE, WORD = ir.DoubleType(), ir.IntType(64)

LOWEST = -700.0  # exponent below which a share counts as 0
LEAST = math.exp(LOWEST)
SHIFTER = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, in the low bits
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# exp(x) for |x| <= log(2) / 2, interpolated at the 12 Chebyshev points: off by 1.7e-17 at most, relative.
EXP_TERMS = (
    2.5110049204818658e-08, 2.763265472252779e-07, 2.755724088722987e-06, 2.4801485441561313e-05,
    0.00019841269890076403, 0.0013888888952352863, 0.008333333333319589, 0.04166666666648795,
    0.1666666666666668, 0.5000000000000019, 1.0, 1.0,
)  # fmt: skip
LOG_TERMS = tuple(2.0 / (2 * i + 1) for i in range(11, -1, -1))
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD


class Emit:
    """Vector instructions of a width, one a method."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, lanes: int = LANES) -> None:
        self.context, self.builder, self.signature, self.arguments = context, builder, signature, arguments
        self.lanes, self.vector, self.words = lanes, ir.VectorType(DOUBLE, lanes), ir.VectorType(WORD, lanes)
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fused = cg.get_or_insert_function(builder.module, kind, f"llvm.fma.v{lanes}f64")

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
        """Numbers from an index on, one for each lane."""
        place = self.builder.bitcast(self.builder.gep(data, [index]), self.vector.as_pointer())
        return self.builder.load(place, align=8)

    def store(self, value: Any, data: Any, index: Any) -> None:
        """Write the lanes from an index on."""
        place = self.builder.bitcast(self.builder.gep(data, [index]), self.vector.as_pointer())
        self.builder.store(value, place, align=8)

    def spread(self, scalar: Any) -> Any:
        """A number in every lane."""
        one = self.builder.insert_element(
            ir.Constant(self.vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), mask)

    def each(self, data: Any, index: Any) -> Any:
        """The number at an index in every lane."""
        return self.spread(self.builder.load(self.builder.gep(data, [index])))

    def gather(self, data: Any, base: Any, places: Any) -> Any:
        """The numbers at ``base + place``, for a place of each lane."""
        value = ir.Constant(self.vector, ir.Undefined)
        for lane, place in enumerate(places):
            number = self.builder.load(self.builder.gep(data, [self.builder.add(base, place)]))
            value = self.builder.insert_element(value, number, ir.Constant(ir.IntType(32), lane))
        return value

    def number(self, value: float) -> Any:
        """A constant in every lane."""
        return ir.Constant(self.vector, [value] * self.lanes)

    def word(self, value: int) -> Any:
        """An integer constant in every lane."""
        return ir.Constant(self.words, [value] * self.lanes)

    def sum(self) -> Any:
        """A place for a running sum, zero so far."""
        return cg.alloca_once_value(self.builder, self.number(0.0))

    def add_to(self, slot: Any, value: Any) -> None:
        """Add to a running sum."""
        self.builder.store(self.builder.fadd(self.builder.load(slot), value), slot)

    def add_product_to(self, slot: Any, a: Any, b: Any) -> None:
        """Add a product to a running sum."""
        self.builder.store(self.multiply_add(a, b, self.builder.load(slot)), slot)

    def flush(self, slot: Any, data: Any, index: Any) -> None:
        """Add a running sum to the lanes from an index on."""
        self.store(self.builder.fadd(self.load(data, index), self.builder.load(slot)), data, index)

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
        bits = b.shl(b.bitcast(shifted, self.words), self.word(52))
        return b.bitcast(b.add(b.bitcast(self.polynomial(EXP_TERMS, rest), self.words), bits), self.vector)

    def log(self, x: Any) -> Any:
        """``log(x)`` of positive normal numbers, minus infinity at 0; NaN stays."""
        b = self.builder
        bits = b.bitcast(x, self.words)
        above = b.ashr(b.sub(bits, self.word(SQRT_HALF_BITS)), self.word(52))
        turns = b.sitofp(above, self.vector)
        mantissa = b.bitcast(b.sub(bits, b.shl(above, self.word(52))), self.vector)
        one = self.number(1.0)
        ratio = b.fdiv(b.fsub(mantissa, one), b.fadd(mantissa, one))
        series = b.fmul(ratio, self.polynomial(LOG_TERMS, b.fmul(ratio, ratio)))
        value = self.multiply_add(turns, self.number(LN2_HIGH), self.multiply_add(turns, self.number(LN2_LOW), series))
        value = b.select(b.fcmp_ordered("==", x, self.number(0.0)), self.number(-math.inf), value)
        return b.select(b.fcmp_unordered("uno", x, x), x, value)


def count_from_emitted(typingctx: Any, values: Any, at: Any, n: Any, least: Any) -> Any:
    signature = types.float64(values, types.intp, types.intp, types.float64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        values, least, total = e.data(0), e.spread(arguments[3]), e.sum()
        with cg.for_range(builder, arguments[2]) as loop:
            value = e.load(values, e.at(arguments[1], LANES, loop.index))
            enough = builder.fcmp_unordered(">=", value, least)
            e.add_to(total, builder.select(enough, e.number(1.0), e.number(0.0)))
        vector = builder.load(total)
        parts = [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(LANES)]
        while len(parts) > 1:
            parts = [builder.fadd(parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
        return parts[0]

    return signature, generate


def count_from_readable(values: Floats, at: int, n: int, least: float) -> float:
    """How many numbers of `n` vectors are at least `least`, or NaN."""
    return float((~(values[at : at + n * LANES] < least)).sum())


def weigh_emitted(
    typingctx: Any, squares: Any, begin: Any, stride: Any, constants: Any, tops: Any, totals: Any, spreads: Any
) -> Any:
    signature = types.void(squares, types.intp, types.intp, constants, tops, totals, spreads)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e, b = Emit(context, builder, signature, arguments, WEIGHED), builder
        squares, constants, tops, totals, spreads = (e.data(i) for i in (0, 3, 4, 5, 6))
        begin, stride = arguments[1], arguments[2]
        n = context.make_array(signature.args[3])(context, builder, arguments[3]).nitems
        highest, total, spread = cg.alloca_once_value(b, e.number(-math.inf)), e.sum(), e.sum()

        def place(index: Any) -> Any:
            return b.add(begin, b.mul(stride, index))

        def log_joint(index: Any) -> Any:
            return e.multiply_add(e.load(squares, place(index)), e.number(-0.5), e.each(constants, index))

        with cg.for_range(b, n) as loop:
            value, so_far = log_joint(loop.index), b.load(highest)
            b.store(b.select(b.fcmp_unordered(">", value, so_far), value, so_far), highest)
        top = b.load(highest)
        top = b.select(b.fcmp_ordered("==", top, e.number(-math.inf)), e.number(0.0), top)
        with cg.for_range(b, n) as loop:
            below = b.fsub(log_joint(loop.index), top)
            clipped = b.select(b.fcmp_ordered(">", e.number(LOWEST), below), e.number(LOWEST), below)
            share = b.fsub(e.exp(clipped), e.number(LEAST))
            e.store(share, squares, place(loop.index))
            e.add_to(total, share)
            e.add_product_to(spread, share, clipped)
        e.store(top, tops, begin)
        e.store(b.load(total), totals, begin)
        e.store(b.load(spread), spreads, begin)
        return context.get_dummy_value()

    return signature, generate


def weigh_readable(
    squares: Floats, begin: int, stride: int, constants: Floats, tops: Floats, totals: Floats, spreads: Floats
) -> None:
    """Turn squared distances of `WEIGHED` rows into densities relative to the highest, in place.

    Its log goes to `tops`, their sums to `totals`, the sums of each times its log to `spreads`, at `begin`.
    """
    rows = slice(begin, begin + WEIGHED)
    places = stride * np.arange(len(constants))[:, None] + np.arange(begin, begin + WEIGHED)
    log_joint = constants[:, None] - 0.5 * squares[places]
    top = log_joint.max(axis=0)
    tops[rows] = np.where(top == -math.inf, 0.0, top)
    below = log_joint - tops[rows]
    clipped = np.where(below < LOWEST, LOWEST, below)
    squares[places] = np.exp(clipped) - LEAST
    totals[rows] = squares[places].sum(axis=0)
    spreads[rows] = (squares[places] * clipped).sum(axis=0)


def total_emitted(typingctx: Any, weights: Any, n: Any, tops: Any, totals: Any, spreads: Any, out: Any) -> Any:
    signature = types.void(weights, types.intp, tops, totals, spreads, out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e, b = Emit(context, builder, signature, arguments), builder
        weights, tops, totals, spreads, out = (e.data(i) for i in (0, 2, 3, 4, 5))
        loglik, entropy, zero = e.sum(), e.sum(), e.number(0.0)
        with cg.for_range(b, arguments[1]) as loop:
            place = b.mul(e.whole(LANES), loop.index)
            whole, weight = e.load(totals, place), e.load(weights, place)
            log_total, none = e.log(whole), b.fcmp_ordered("==", whole, zero)
            part, weightless = b.fdiv(e.number(1.0), whole), b.fcmp_ordered("==", weight, zero)
            gained = b.fmul(weight, b.fadd(e.load(tops, place), log_total))
            e.add_to(loglik, b.select(weightless, zero, gained))
            mean = b.fsub(log_total, b.fmul(e.load(spreads, place), part))
            e.add_product_to(entropy, weight, b.select(none, zero, mean))
            e.store(b.select(none, zero, b.fmul(weight, part)), totals, place)
        e.flush(loglik, out, e.whole(0))
        e.flush(entropy, out, e.whole(LANES))
        return context.get_dummy_value()

    return signature, generate


def total_readable(weights: Floats, n: int, tops: Floats, totals: Floats, spreads: Floats, out: Floats) -> None:
    """Add log-likelihoods and entropies of `n` vectors of rows to `out`; `totals` become what makes shares of densities."""
    rows = slice(0, n * LANES)
    weight, total = weights[rows], totals[rows].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        loglik = np.where(weight == 0.0, 0.0, weight * (tops[rows] + np.log(total)))
        entropy = weight * np.where(total == 0.0, 0.0, np.log(total) - spreads[rows] / total)
        totals[rows] = np.where(total == 0.0, 0.0, weight / total)
    out[:LANES] += loglik.reshape(n, LANES).sum(axis=0)
    out[LANES:] += entropy.reshape(n, LANES).sum(axis=0)


def scale_emitted(typingctx: Any, shares: Any, at: Any, n: Any, scales: Any, sums: Any, s0: Any) -> Any:
    signature = types.void(shares, types.intp, types.intp, scales, sums, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        shares, scales, sums, total = e.data(0), e.data(3), e.data(4), e.sum()
        with cg.for_range(builder, arguments[2]) as loop:
            step = builder.mul(e.whole(LANES), loop.index)
            place = builder.add(arguments[1], step)
            share = builder.fmul(e.load(shares, place), e.load(scales, step))
            e.store(share, shares, place)
            e.add_to(total, share)
        e.flush(total, sums, arguments[5])
        return context.get_dummy_value()

    return signature, generate


def scale_readable(shares: Floats, at: int, n: int, scales: Floats, sums: Floats, s0: int) -> None:
    """Multiply `n` vectors by scales in place and add them to the `LANES` sums from `s0` on."""
    shares[at : at + n * LANES] *= scales[: n * LANES]
    sums[s0 : s0 + LANES] += shares[at : at + n * LANES].reshape(n, LANES).sum(axis=0)


count_from: Any = count_from_readable if plain else intrinsic(count_from_emitted)
weigh_rows: Any = weigh_readable if plain else intrinsic(weigh_emitted)
total_rows: Any = total_readable if plain else intrinsic(total_emitted)
scale_shares: Any = scale_readable if plain else intrinsic(scale_emitted)
