"""Arithmetic on several small matrices at once: one step of many factorisations in a vector register."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

Floats = npt.NDArray[np.float64]

cg: Any = cgutils  # which has no types
LANES = 8  # matrices side by side: element k of all of them lies at ``k * LANES`` of a flat array


def subtract_products(
    typingctx: Any, work: Any, out: Any, base: Any, scale: Any, a: Any, step_a: Any, b: Any, step_b: Any, n: Any
) -> Any:
    """``work[out] = (work[base] - Σ_k work[a + k step_a] work[b + k step_b]) work[scale]`` for k < n, in every lane.

    Parameters
    ----------
    work : ndarray, shape (size,)
        Elements of the matrices, `LANES` wide.
    out, base, scale, a, b : int
        Places of the first lane.
    step_a, step_b, n : int
        Strides, and the number of products.
    """
    signature = types.void(work, *([types.intp] * 8))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        out, base, scale, a, step_a, b, step_b, n = arguments[1:]
        vector = ir.VectorType(ir.DoubleType(), LANES)
        kind = ir.FunctionType(vector, [vector] * 3)
        multiply_add = cg.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f64")

        def place(index: Any) -> Any:
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        def load(index: Any) -> Any:
            return builder.load(place(index), align=8)

        total = cg.alloca_once_value(builder, load(base))
        with cg.for_range(builder, n) as loop:
            left = load(builder.add(a, builder.mul(loop.index, step_a)))
            right = load(builder.add(b, builder.mul(loop.index, step_b)))
            builder.store(builder.call(multiply_add, [builder.fneg(left), right, builder.load(total)]), total)
        builder.store(builder.fmul(builder.load(total), load(scale)), place(out), align=8)
        return context.get_dummy_value()

    return signature, generate


def subtract_plainly(
    work: Floats, out: int, base: int, scale: int, a: int, step_a: int, b: int, step_b: int, n: int
) -> None:
    """The same for plain Python, where numba is turned off; the readable version."""
    total = work[base : base + LANES].copy()
    for k in range(n):
        left, right = a + k * step_a, b + k * step_b
        total -= work[left : left + LANES] * work[right : right + LANES]
    work[out : out + LANES] = total * work[scale : scale + LANES]


def invert_roots(typingctx: Any, work: Any, at: Any) -> Any:
    """``work[at] = 1 / sqrt(work[at])`` in every lane.

    Parameters
    ----------
    work : ndarray, shape (size,)
        Elements of the matrices, `LANES` wide.
    at : int
        Place of the first lane.
    """
    signature = types.void(work, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        vector = ir.VectorType(ir.DoubleType(), LANES)
        root = cg.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), f"llvm.sqrt.v{LANES}f64")
        place = builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer())
        ones = ir.Constant(vector, [1.0] * LANES)
        builder.store(builder.fdiv(ones, builder.call(root, [builder.load(place, align=8)])), place, align=8)
        return context.get_dummy_value()

    return signature, generate


def invert_roots_plainly(work: Floats, at: int) -> None:
    """The same for plain Python."""
    work[at : at + LANES] = 1.0 / np.sqrt(work[at : at + LANES])


plain: bool = config.DISABLE_JIT  # type: ignore[attr-defined]
settle: Any = subtract_plainly if plain else intrinsic(subtract_products)
inverse_roots: Any = invert_roots_plainly if plain else intrinsic(invert_roots)
