"""Loops of mixtures whose squares and moments fit the registers: independent features, and pairs of features.

Every function has a readable version beside it, which also serves where numba is turned off
(`emtools.kernels.vectors`). Arrays are flat; rows of data lie along the lanes of a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from emtools.kernels.vectors import DOUBLE, LANES, STRIP, Emit, Floats, cg, plain

GROUP = 4  # features whose moments are summed at once


def square_emitted(
    typingctx: Any, columns: Any, begin: Any, stride: Any, n: Any, mean: Any, scale: Any, m0: Any, out: Any, at: Any
) -> Any:
    whole = types.intp
    signature = types.void(columns, whole, whole, whole, mean, scale, whole, out, whole)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        columns, mean, scale, out = (e.data(i) for i in (0, 4, 5, 7))
        begin, stride, m0, at = (arguments[i] for i in (1, 2, 6, 8))
        sums = [e.sum() for _ in range(0, STRIP, LANES)]
        with cg.for_range(builder, arguments[3]) as loop:
            source, entry = builder.add(begin, builder.mul(stride, loop.index)), builder.add(m0, loop.index)
            middle, factor = e.each(mean, entry), e.each(scale, entry)
            for c, slot in enumerate(sums):
                apart = builder.fmul(builder.fsub(e.load(columns, e.at(source, LANES * c)), middle), factor)
                e.add_product_to(slot, apart, apart)
        for c, slot in enumerate(sums):
            e.store(builder.load(slot), out, e.at(at, LANES * c))
        return context.get_dummy_value()

    return signature, generate


def square_readable(
    columns: Floats, begin: int, stride: int, n: int, mean: Floats, scale: Floats, m0: int, out: Floats, at: int
) -> None:
    """Squared length of the scaled deviations of `STRIP` rows."""
    places = begin + stride * np.arange(n)[:, None] + np.arange(STRIP)
    apart = (columns[places] - mean[m0 : m0 + n, None]) * scale[m0 : m0 + n, None]
    out[at : at + STRIP] = (apart**2).sum(axis=0)


def nearest_emitted(
    typingctx: Any,
    columns: Any,
    begin: Any,
    stride: Any,
    n: Any,
    matrix: Any,
    heights: Any,
    k: Any,
    best: Any,
    winners: Any,
) -> Any:
    whole = types.intp
    signature = types.void(columns, whole, whole, whole, matrix, heights, whole, best, winners)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        columns, matrix, heights, best, winners = (e.data(i) for i in (0, 4, 5, 7, 8))
        begin, stride, n, k = (arguments[i] for i in (1, 2, 3, 6))
        sums = [[e.sum() for _ in range(0, STRIP, LANES)] for _ in range(GROUP)]
        starts = [builder.mul(builder.add(k, e.whole(i)), n) for i in range(GROUP)]
        with cg.for_range(builder, n) as loop:
            source = builder.add(begin, builder.mul(stride, loop.index))
            rows = [e.load(columns, e.at(source, c)) for c in range(0, STRIP, LANES)]
            for start, slots in zip(starts, sums, strict=True):
                entry = e.each(matrix, builder.add(start, loop.index))
                for slot, row in zip(slots, rows, strict=True):
                    e.add_product_to(slot, entry, row)
        for c in range(0, STRIP, LANES):
            place = e.at(begin, c)
            top, label = e.load(best, place), e.load(winners, place)
            for i, slots in enumerate(sums):
                j = builder.add(k, e.whole(i))
                reached = builder.fadd(e.each(heights, j), builder.load(slots[c // LANES]))
                higher = builder.fcmp_ordered(">", reached, top)
                top = builder.select(higher, reached, top)
                label = builder.select(higher, e.spread(builder.sitofp(j, DOUBLE)), label)
            e.store(top, best, place)
            e.store(label, winners, place)
        return context.get_dummy_value()

    return signature, generate


def nearest_readable(
    columns: Floats,
    begin: int,
    stride: int,
    n: int,
    matrix: Floats,
    heights: Floats,
    k: int,
    best: Floats,
    winners: Floats,
) -> None:
    """`GROUP` groups from k on take the `STRIP` rows where height and inner product are above the best so far."""
    rows = columns[begin + stride * np.arange(n)[:, None] + np.arange(STRIP)]
    strip = slice(begin, begin + STRIP)
    for i in range(k, k + GROUP):
        reached = heights[i] + matrix[i * n : (i + 1) * n] @ rows
        higher = reached > best[strip]
        best[strip] = np.where(higher, reached, best[strip])
        winners[strip] = np.where(higher, float(i), winners[strip])


def add_rows_emitted(
    typingctx: Any, values: Any, begin: Any, d: Any, weights: Any, winners: Any, n: Any, means: Any, size: Any,
    counts: Any, sums: Any,
) -> Any:  # fmt: skip
    whole = types.intp
    signature = types.void(values, whole, whole, weights, winners, whole, means, whole, counts, sums)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        values, weights, winners, means, counts, sums = (e.data(i) for i in (0, 3, 4, 6, 8, 9))
        begin, d, n, size = (arguments[i] for i in (1, 2, 5, 7))
        groups = builder.sdiv(size, e.whole(LANES))
        with cg.for_range(builder, n) as row:
            number = builder.load(builder.gep(weights, [row.index]))
            weight = e.spread(number)
            winner = builder.fptosi(builder.load(builder.gep(winners, [row.index])), begin.type)
            count = builder.gep(counts, [winner])
            builder.store(builder.fadd(builder.load(count), number), count)
            source = builder.mul(builder.add(begin, row.index), d)
            mean = builder.mul(winner, size)
            first = builder.mul(mean, e.whole(2))
            with cg.for_range(builder, groups) as group:
                step = builder.mul(group.index, e.whole(LANES))
                apart = builder.fsub(e.load(values, builder.add(source, step)), e.load(means, builder.add(mean, step)))
                shared = builder.fmul(apart, weight)
                place = builder.add(first, step)
                e.store(builder.fadd(e.load(sums, place), shared), sums, place)
                place = builder.add(place, size)
                e.store(e.multiply_add(shared, apart, e.load(sums, place)), sums, place)
        return context.get_dummy_value()

    return signature, generate


def add_rows_readable(
    values: Floats, begin: int, d: int, weights: Floats, winners: Floats, n: int, means: Floats, size: int,
    counts: Floats, sums: Floats,
) -> None:  # fmt: skip
    """Add weight, first and second moments of `n` rows about the means of their components, `size` moments of each for a component.

    `values` holds all rows one after the other, `means` those of a component in the first `d` of `size` places; what is added
    to the places above `d` means nothing. `size` is the least multiple of `LANES` from `d` on, and so many numbers are read
    from the beginning of a row.
    """
    for t in range(n):
        k = int(winners[t])
        counts[k] += weights[t]
        apart = values[(begin + t) * d : (begin + t) * d + size] - means[k * size : (k + 1) * size]
        sums[2 * k * size : (2 * k + 1) * size] += weights[t] * apart
        sums[(2 * k + 1) * size : (2 * k + 2) * size] += weights[t] * apart * apart


def moments(width: int) -> Any:
    """A function that adds the first and second moments of `width` features, lane by lane."""

    def add_moments(
        typingctx: Any, columns: Any, begin: Any, stride: Any, mean: Any, m0: Any, shares: Any, at: Any, n: Any,
        first: Any, second: Any,
    ) -> Any:  # fmt: skip
        whole = types.intp
        signature = types.void(columns, whole, whole, mean, whole, shares, whole, whole, first, second)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emit(context, builder, signature, arguments)
            columns, mean, shares, first, second = (e.data(i) for i in (0, 3, 5, 8, 9))
            begin, stride, m0, at, n = (arguments[i] for i in (1, 2, 4, 6, 7))
            middles = [e.each(mean, e.at(m0, j)) for j in range(width)]
            starts = [begin]
            for _ in range(width - 1):
                starts.append(builder.add(starts[-1], stride))
            sums, squares = ([e.sum() for _ in range(width)] for _ in range(2))
            with cg.for_range(builder, n) as loop:
                share = e.load(shares, e.at(at, LANES, loop.index))
                for j in range(width):
                    apart = builder.fsub(e.load(columns, e.at(starts[j], LANES, loop.index)), middles[j])
                    shared = builder.fmul(apart, share)
                    e.add_to(sums[j], shared)
                    e.add_product_to(squares[j], shared, apart)
            for j in range(width):
                place = builder.mul(e.whole(LANES), e.at(m0, j))
                e.flush(sums[j], first, place)
                e.flush(squares[j], second, place)
            return context.get_dummy_value()

        return signature, generate

    def readable(
        columns: Floats, begin: int, stride: int, mean: Floats, m0: int, shares: Floats, at: int, n: int,
        first: Floats, second: Floats,
    ) -> None:  # fmt: skip
        share = shares[at : at + n * LANES]
        for j in range(width):
            apart = columns[begin + j * stride : begin + j * stride + n * LANES] - mean[m0 + j]
            place = slice((m0 + j) * LANES, (m0 + j + 1) * LANES)
            first[place] += (apart * share).reshape(n, LANES).sum(axis=0)
            second[place] += (apart * share * apart).reshape(n, LANES).sum(axis=0)

    return readable if plain else intrinsic(add_moments)


def pair_square_emitted(
    typingctx: Any, columns: Any, begin: Any, stride: Any, mean: Any, inverse: Any, k: Any, out: Any, at: Any
) -> Any:
    signature = types.void(columns, types.intp, types.intp, mean, inverse, types.intp, out, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emit(context, builder, signature, arguments)
        columns, mean, inverse, out = (e.data(i) for i in (0, 3, 4, 6))
        begin, stride, k, at = (arguments[i] for i in (1, 2, 5, 7))
        middles = [e.each(mean, e.at(builder.mul(e.whole(2), k), j)) for j in range(2)]
        a, b, c = (e.each(inverse, e.at(builder.mul(e.whole(4), k), j)) for j in (0, 2, 3))
        for s in range(0, STRIP, LANES):
            x = builder.fsub(e.load(columns, e.at(begin, s)), middles[0])
            y = builder.fsub(e.load(columns, builder.add(e.at(begin, s), stride)), middles[1])
            one, two = builder.fmul(a, x), e.multiply_add(b, x, builder.fmul(c, y))
            e.store(e.multiply_add(one, one, builder.fmul(two, two)), out, e.at(at, s))
        return context.get_dummy_value()

    return signature, generate


def pair_square_readable(
    columns: Floats, begin: int, stride: int, mean: Floats, inverse: Floats, k: int, out: Floats, at: int
) -> None:
    """Squared length of the whitened deviations of `STRIP` rows of two features from the mean of component `k`."""
    x, y = (columns[begin + j * stride : begin + j * stride + STRIP] - mean[2 * k + j] for j in range(2))
    a, b, c = inverse[4 * k], inverse[4 * k + 2], inverse[4 * k + 3]
    out[at : at + STRIP] = (a * x) ** 2 + (b * x + c * y) ** 2


def few(width: int) -> Any:
    """A function that makes densities shares and adds their sums, and the moments of one feature or of a pair."""

    def add_few(
        typingctx: Any, columns: Any, stride: Any, mean: Any, k: Any, shares: Any, at: Any, n: Any, scales: Any,
        counts: Any, first: Any, second: Any, cross: Any,
    ) -> Any:  # fmt: skip
        whole = types.intp
        signature = types.void(columns, whole, mean, whole, shares, whole, whole, scales, counts, first, second, cross)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emit(context, builder, signature, arguments)
            columns, mean, shares, scales = (e.data(i) for i in (0, 2, 4, 7))
            counts, first, second, cross = (e.data(i) for i in (8, 9, 10, 11))
            stride, k, at, n = (arguments[i] for i in (1, 3, 5, 6))
            m0 = builder.mul(e.whole(width), k)
            middles = [e.each(mean, e.at(m0, j)) for j in range(width)]
            count, product = e.sum(), e.sum()
            sums, squares = ([e.sum() for _ in range(width)] for _ in range(2))
            with cg.for_range(builder, n) as loop:
                step = builder.mul(e.whole(LANES), loop.index)
                share = builder.fmul(e.load(shares, builder.add(at, step)), e.load(scales, step))
                e.add_to(count, share)
                places = (step, builder.add(stride, step))[:width]
                aparts = [builder.fsub(e.load(columns, place), middles[j]) for j, place in enumerate(places)]
                shared = [builder.fmul(apart, share) for apart in aparts]
                for j in range(width):
                    e.add_to(sums[j], shared[j])
                    e.add_product_to(squares[j], shared[j], aparts[j])
                e.add_product_to(product, shared[0], aparts[-1])
            e.flush(count, counts, builder.mul(e.whole(LANES), k))
            for j in range(width):
                place = builder.mul(e.whole(LANES), e.at(m0, j))
                e.flush(sums[j], first, place)
                e.flush(squares[j], second, place)
            e.flush(product, cross, builder.mul(e.whole(LANES), k))
            return context.get_dummy_value()

        return signature, generate

    def readable(
        columns: Floats, stride: int, mean: Floats, k: int, shares: Floats, at: int, n: int, scales: Floats,
        counts: Floats, first: Floats, second: Floats, cross: Floats,
    ) -> None:  # fmt: skip
        share = shares[at : at + n * LANES] * scales[: n * LANES]
        aparts = [columns[j * stride : j * stride + n * LANES] - mean[k * width + j] for j in range(width)]
        counts[k * LANES : (k + 1) * LANES] += share.reshape(n, LANES).sum(axis=0)
        for j, apart in enumerate(aparts):
            place = slice((k * width + j) * LANES, (k * width + j + 1) * LANES)
            first[place] += (apart * share).reshape(n, LANES).sum(axis=0)
            second[place] += (apart * share * apart).reshape(n, LANES).sum(axis=0)
        products = aparts[0] * share * aparts[-1]
        cross[k * LANES : (k + 1) * LANES] += products.reshape(n, LANES).sum(axis=0)

    return readable if plain else intrinsic(add_few)


add_moments_of_1, add_moments_of_2, add_moments_of_4 = moments(1), moments(2), moments(GROUP)
square_strip: Any = square_readable if plain else intrinsic(square_emitted)
nearest_strip: Any = nearest_readable if plain else intrinsic(nearest_emitted)
add_rows: Any = add_rows_readable if plain else intrinsic(add_rows_emitted)
square_pairs: Any = pair_square_readable if plain else intrinsic(pair_square_emitted)
add_few_of_1, add_few_of_2 = few(1), few(2)
