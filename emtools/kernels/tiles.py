"""Register-blocked inner loops of mixtures with covariance matrices: squares of triangular products, and moments.

Every function has a readable version beside it, which also serves where numba is turned off
(`emtools.kernels.vectors`). Arrays are flat; rows of data lie along the lanes of a vector.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from emtools.kernels.vectors import LANES, SLOTS, STRIP, Emit, Floats, cg, plain

Places = npt.NDArray[np.int64]

TILE = 4  # features on each side of a block of products
DEPTH = 64  # rows between two visits of the sums of products


def squares(n_rows: int) -> Any:
    """A function that adds the squares of some rows of a product to the sums of a strip."""

    def add_squares(typingctx: Any, matrix: Any, begin: Any, stride: Any, n: Any, strip: Any, out: Any, at: Any) -> Any:
        signature = types.void(matrix, types.intp, types.intp, types.intp, strip, out, types.intp)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emit(context, builder, signature, arguments)
            matrix, strip, out = e.data(0), e.data(4), e.data(5)
            begin, stride, n, at = arguments[1], arguments[2], arguments[3], arguments[6]
            wide = STRIP // LANES
            sums = [[e.sum() for _ in range(wide)] for _ in range(n_rows)]
            starts = [begin]
            for _ in range(n_rows - 1):
                starts.append(builder.add(starts[-1], stride))
            with cg.for_range(builder, n) as loop:
                columns = [e.load(strip, e.at(e.whole(LANES * c), STRIP, loop.index)) for c in range(wide)]
                for r in range(n_rows):
                    entry = e.each(matrix, builder.add(starts[r], loop.index))
                    for c in range(wide):
                        e.add_product_to(sums[r][c], entry, columns[c])
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
            tall = min(width, SLOTS // width)
            for part in (range(i, min(i + tall, width)) for i in range(0, width, tall)):
                places = [e.at(at, LANES * (i * width + j)) for i in part for j in range(width)]
                totals = [cg.alloca_once_value(builder, e.load(sums, place)) for place in places]
                with cg.for_range(builder, steps) as loop:
                    first = e.at(left, LANES, loop.index)
                    second = e.at(right, LANES, loop.index)
                    ones = [e.load(rows, e.at(first, DEPTH * i)) for i in part]
                    others = [e.load(rows, e.at(second, DEPTH * j)) for j in range(width)]
                    for slot, (one, other) in zip(totals, product(ones, others), strict=True):
                        e.add_product_to(slot, one, other)
                for slot, place in zip(totals, places, strict=True):
                    e.store(builder.load(slot), sums, place)
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


def scale_group(e: Emit, n: Any, apart: Any, root: Any, rows: Any, at: Any, first: Any, f0: Any) -> None:
    """Emit the loop over features that stores deviations times roots and adds deviations times shares."""
    with cg.for_range(e.builder, n) as loop:
        scaled = e.builder.fmul(apart(loop.index), root)
        e.store(scaled, rows, e.at(at, DEPTH, loop.index))
        place = e.at(f0, LANES, loop.index)
        e.store(e.multiply_add(scaled, root, e.load(first, place)), first, place)


def root_of(e: Emit, share: Any) -> Any:
    """Square root in every lane."""
    kind = ir.FunctionType(e.vector, [e.vector])
    return e.builder.call(cg.get_or_insert_function(e.builder.module, kind, f"llvm.sqrt.v{LANES}f64"), [share])


def add_group_emitted(
    typingctx: Any, columns: Any, begin: Any, stride: Any, n: Any, mean: Any, m0: Any, shares: Any, s0: Any, rows: Any,
    at: Any, first: Any, f0: Any,
) -> Any:  # fmt: skip
    whole = types.intp
    signature = types.void(columns, whole, whole, whole, mean, whole, shares, whole, rows, whole, first, whole)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        columns, mean, shares, rows, first = (e.data(i) for i in (0, 4, 6, 8, 10))
        begin, stride, n, m0, s0, at, f0 = (arguments[i] for i in (1, 2, 3, 5, 7, 9, 11))

        def apart(feature: Any) -> Any:
            source = builder.add(begin, builder.mul(stride, feature))
            return builder.fsub(e.load(columns, source), e.each(mean, builder.add(m0, feature)))

        scale_group(e, n, apart, root_of(e, e.load(shares, s0)), rows, at, first, f0)
        return context.get_dummy_value()

    return signature, generate


def add_group_readable(
    columns: Floats, begin: int, stride: int, n: int, mean: Floats, m0: int, shares: Floats, s0: int, rows: Floats,
    at: int, first: Floats, f0: int,
) -> None:  # fmt: skip
    """Deviations of `LANES` rows times the roots of their shares, and the sums of deviations times shares."""
    add_chosen_readable(
        columns, stride, n, mean, m0, shares, s0 - begin, begin + np.arange(LANES), 0, LANES, rows, at, first, f0
    )


def add_chosen_emitted(
    typingctx: Any, columns: Any, stride: Any, n: Any, mean: Any, m0: Any, shares: Any, s0: Any, places: Any, p0: Any,
    held: Any, rows: Any, at: Any, first: Any, f0: Any,
) -> Any:  # fmt: skip
    whole = types.intp
    signature = types.void(
        columns, whole, whole, mean, whole, shares, whole, places, whole, whole, rows, whole, first, whole
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        columns, mean, shares, places, rows, first = (e.data(i) for i in (0, 3, 5, 7, 10, 12))
        stride, n, m0, s0, p0, held, at, f0 = (arguments[i] for i in (1, 2, 4, 6, 8, 9, 11, 13))
        chosen = [builder.load(builder.gep(places, [e.at(p0, lane)])) for lane in range(LANES)]
        share = e.gather(shares, s0, chosen)
        for lane in range(1, LANES):
            number = builder.extract_element(share, ir.Constant(ir.IntType(32), lane))
            kept = builder.select(
                builder.icmp_signed("<", e.whole(lane), held), number, ir.Constant(ir.DoubleType(), 0)
            )
            share = builder.insert_element(share, kept, ir.Constant(ir.IntType(32), lane))

        def apart(feature: Any) -> Any:
            base = builder.mul(stride, feature)
            return builder.fsub(e.gather(columns, base, chosen), e.each(mean, builder.add(m0, feature)))

        scale_group(e, n, apart, root_of(e, share), rows, at, first, f0)
        return context.get_dummy_value()

    return signature, generate


def add_chosen_readable(
    columns: Floats, stride: int, n: int, mean: Floats, m0: int, shares: Floats, s0: int, places: Places, p0: int,
    held: int, rows: Floats, at: int, first: Floats, f0: int,
) -> None:  # fmt: skip
    """The same of rows at `LANES` places, of which the first `held` count."""
    chosen = places[p0 : p0 + LANES]
    root = np.where(np.arange(LANES) < held, np.sqrt(shares[s0 + chosen]), 0.0)
    for j in range(n):
        scaled = (columns[j * stride + chosen] - mean[m0 + j]) * root
        rows[at + j * DEPTH : at + j * DEPTH + LANES] = scaled
        first[f0 + j * LANES : f0 + (j + 1) * LANES] += scaled * root


add_squares_of_2, add_squares_of_4 = squares(2), squares(TILE)
add_products: Any = products(TILE)
fill_strip: Any = fill_readable if plain else intrinsic(fill_emitted)
add_group: Any = add_group_readable if plain else intrinsic(add_group_emitted)
add_chosen: Any = add_chosen_readable if plain else intrinsic(add_chosen_emitted)
