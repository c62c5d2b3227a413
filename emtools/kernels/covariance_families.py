"""The fourteen covariance families of Celeux & Govaert: their M-steps, their free numbers, their unconstrained vectors.

Each covariance is ``Σ_k = volume_k D_k diag(shape_k) D_kᵀ`` with ``Π shape_k = 1``. The three letters of a family say of
volume, shape and orientation whether they are equal (E), vary (V) or are none (I: shape 1, or no rotation).
``K`` components, ``d`` features. Covariances are kept in one of four layouts: ``full`` (K, d, d), ``tied`` (d, d),
``diagonal`` (K, d), ``spherical`` (K,).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from emtools.kernels.gaussian import cholesky_factors, pack_cholesky, unpack_cholesky, whiten
from emtools.kernels.orientation import cayley, common_axes, in_signs, near_identity, rotation_entries

Floats = npt.NDArray[np.float64]
Layout = Literal["full", "tied", "diagonal", "spherical"]

LAYOUTS: dict[str, Layout] = {
    "EII": "spherical",
    "VII": "spherical",
    "EEI": "diagonal",
    "VEI": "diagonal",
    "EVI": "diagonal",
    "VVI": "diagonal",
    "EEE": "tied",
    "VEE": "full",
    "EVE": "full",
    "VVE": "full",
    "EEV": "full",
    "VEV": "full",
    "EVV": "full",
    "VVV": "full",
}
COMMON = ("EII", "EEI", "EEE")  # one covariance for all components
GENERALISED = ("EVE", "VVE")  # whose M-step climbs to a top of Q, which need not be the highest

INNER_PASSES = 1_000  # of the M-steps without a closed form, at most
INNER_TOL = 1e-13  # change of a log volume that ends them
SWEEPS = 200  # of rotations
SETTLED = 1e-9  # sine of the largest rotation of a sweep that ends them
# Rows of an empty component, relative to all, with its former covariance: it stays in the family and moves nothing.
TRACE = 1e-30


def n_free(code: str, n_components: int, n_features: int) -> int:
    """Free numbers in the covariances of a family.

    Parameters
    ----------
    code : str
        Key of `LAYOUTS`.
    n_components, n_features : int
        K and d.

    Returns
    -------
    int

    References
    ----------
    Celeux & Govaert (1995), Pattern Recognit. 28, 781-793, doi:10.1016/0031-3203(94)00125-6, table 1.

    Examples
    --------
    >>> [n_free(code, 3, 4) for code in LAYOUTS]
    [1, 3, 4, 6, 10, 12, 10, 12, 16, 18, 22, 24, 28, 30]
    """
    k, d = n_components, n_features
    volume, shape, orientation = code[0], code[1], code[2]
    turns = d * (d - 1) // 2
    volumes = k if volume == "V" else 1
    shapes = {"I": 0, "E": d - 1, "V": k * (d - 1)}[shape]
    return volumes + shapes + {"I": 0, "E": turns, "V": k * turns}[orientation]


def maximise(code: str, scatters: Floats, divisors: Floats, before: Floats) -> Floats:
    """Covariances of a family that maximise ``-½ Σ_k (divisors[k] log|Σ_k| + tr Σ_k⁻¹ scatters[k])``.

    Parameters
    ----------
    code : str
        Key of `LAYOUTS`.
    scatters : ndarray
        Sums of products of deviations in the layout of the family; spherical: their traces.
    divisors : ndarray, shape (K,), or 0-d tied
        Expected rows of each component; spherical: times d.
    before : ndarray
        Covariances so far: where the iterations start, and what a component without rows keeps.

    Returns
    -------
    ndarray
        In the layout of the family. Exact but for EVE and VVE, which never end below where they start. NaN or 0 where a
        scatter is singular and the maximum does not exist.

    References
    ----------
    Celeux & Govaert (1995), doi:10.1016/0031-3203(94)00125-6, section 3; for EVE and VVE the majorised objective of
    Browne & McNicholas (2014), Adv. Data Anal. Classif. 8, 217-226, doi:10.1007/s11634-013-0139-1, section 3, each pair
    of axes turned to its exact minimum as in Flury & Gautschi (1986), SIAM J. Sci. Stat. Comput. 7, 169-184,
    doi:10.1137/0907013.
    """
    if code == "EEE":
        return scatters / divisors if divisors > 0.0 else before
    empty = ~(divisors > 0.0)
    if empty.any():
        little = TRACE * max(float(divisors.sum()), TRACE)
        divisors = np.where(empty, little, divisors)
        aside = empty.reshape(-1, *[1] * (scatters.ndim - 1))
        scatters = np.where(aside, little * before, scatters)
    total = divisors.sum()
    with np.errstate(all="ignore"):
        match code:
            case "EII":
                return np.full(len(scatters), scatters.sum() / total)
            case "VII":
                return np.asarray(scatters / divisors)
            case "EEI":
                return np.repeat(scatters.sum(axis=0)[None] / total, len(scatters), axis=0)
            case "VVI":
                return np.asarray(scatters / divisors[:, None])
            case "VEI":
                volumes, shape = one_shape(scatters, divisors)
                return volumes[:, None] * shape
            case "EVI":
                return equal_volumes(scatters, divisors)
            case "VEE":
                return one_form(scatters, divisors, before)
            case "EVV":
                sizes = np.exp(np.linalg.slogdet(scatters)[1] / scatters.shape[-1])
                return np.asarray(scatters / sizes[:, None, None] * (sizes.sum() / total))
            case "EEV" | "VEV":
                return own_axes(code, scatters, divisors)
            case "EVE" | "VVE":
                return turned(code, scatters, divisors, axes_of(before))
            case _:
                return np.asarray(scatters / divisors[:, None, None])


def equal_volumes(scatters: Floats, divisors: Floats) -> Floats:
    """Variances (K, d) of equal volume and varying shape, from diagonal scatters (K, d)."""
    sizes = np.exp(np.log(scatters).mean(axis=1))
    return np.asarray(scatters / sizes[:, None] * (sizes.sum() / divisors.sum()))


def one_shape(scatters: Floats, divisors: Floats) -> tuple[Floats, Floats]:
    """Volumes (K,) and one shape (d,) of product 1, from diagonal scatters (K, d), by turns until they rest."""
    d = scatters.shape[1]
    volumes = scatters.sum(axis=1) / (d * divisors)
    shape = np.ones(d)
    for _ in range(INNER_PASSES):
        summed = (scatters / volumes[:, None]).sum(axis=0)
        shape = summed / np.exp(np.log(summed).mean())
        now = (scatters / shape).sum(axis=1) / (d * divisors)
        moved = np.abs(np.log(now / volumes)).max()
        volumes = now
        if not moved > INNER_TOL:
            break
    return volumes, shape


def one_form(scatters: Floats, divisors: Floats, before: Floats) -> Floats:
    """Covariances (K, d, d) that differ by their volumes alone, by turns until these rest."""
    d = scatters.shape[-1]
    volumes = np.exp(np.linalg.slogdet(before)[1] / d)
    form = before[0]
    for _ in range(INNER_PASSES):
        summed = (scatters / volumes[:, None, None]).sum(axis=0)
        form = summed / np.exp(np.linalg.slogdet(summed)[1] / d)
        factor = cholesky_factors(form)
        if not np.isfinite(factor).all():
            return np.full_like(scatters, np.nan)
        inverse = whiten(factor, np.eye(d))
        now = np.einsum("kij,ij->k", scatters, inverse.T @ inverse) / (d * divisors)
        moved = np.abs(np.log(now / volumes)).max()
        volumes = now
        if not moved > INNER_TOL:
            break
    return np.asarray(volumes[:, None, None] * form)


def own_axes(code: str, scatters: Floats, divisors: Floats) -> Floats:
    """Covariances (K, d, d) of one shape, each along the axes of its own scatter."""
    if not np.isfinite(scatters).all():
        return np.full_like(scatters, np.nan)
    widths, axes = np.linalg.eigh(scatters)
    if code == "EEV":
        spread = np.repeat(widths.sum(axis=0)[None] / divisors.sum(), len(widths), axis=0)
    else:
        volumes, shape = one_shape(widths, divisors)
        spread = volumes[:, None] * shape
    return from_axes(axes, spread)


def from_axes(axes: Floats, variances: Floats) -> Floats:
    """Symmetric matrices (K, d, d) with `axes` (K, d, d) or (d, d) as columns and `variances` (K, d) along them."""
    scaled = axes * variances[:, None, :]
    matrices = scaled @ np.swapaxes(axes, -1, -2)
    return np.asarray(0.5 * (matrices + np.swapaxes(matrices, 1, 2)))


def axes_of(covariances: Floats) -> Floats:
    """Common axes (d, d), as columns, of covariances (K, d, d) that have them."""
    axes = common_axes(covariances)
    turn(np.swapaxes(axes, 0, 1) @ covariances @ axes, np.ones(len(covariances)), False, axes, 20, SETTLED)
    return axes


def turned(code: str, scatters: Floats, divisors: Floats, axes: Floats) -> Floats:
    """Covariances (K, d, d) with common axes, from those at which the search starts."""
    if not (np.isfinite(scatters).all() and np.isfinite(axes).all()):
        return np.full_like(scatters, np.nan)
    axes = axes.copy()
    turn(np.swapaxes(axes, 0, 1) @ scatters @ axes, divisors, code == "EVE", axes, SWEEPS, SETTLED)
    widths = np.einsum("ij,kil,lj->kj", axes, scatters, axes)
    return from_axes(axes, equal_volumes(widths, divisors) if code == "EVE" else widths / divisors[:, None])


def turned_from_many(code: str, scatters: Floats, divisors: Floats) -> Floats:
    """The best of `turned` from several axes: those of the sum, of each component, and of the data."""
    starts = [np.linalg.eigh(matrix)[1] for matrix in (scatters.sum(axis=0), *scatters)] + [np.eye(scatters.shape[-1])]
    found = [turned(code, scatters, divisors, start) for start in starts]
    with np.errstate(all="ignore"):
        misfits = [float(divisors @ np.linalg.slogdet(matrices)[1]) for matrices in found]
    return found[int(np.nanargmin(misfits))] if np.isfinite(misfits).any() else found[0]


@njit(cache=True, nogil=True)
def turn(scatters: Floats, divisors: Floats, equal: bool, axes: Floats, sweeps: int, settled: float) -> None:
    """Turn common axes, pair by pair, until the objective of EVE (`equal`) or VVE rests.

    With all else at its best, the sum of ``Σ_k h_k w_kj / v_kj`` over the pair is least along the eigenvector of a
    2 by 2 matrix; ``w_kj`` is the scatter along axis j, ``v_kj`` its last value, and ``h_k`` the rows of the component,
    or the size of its scatter where volumes are equal.

    Parameters
    ----------
    scatters : ndarray, shape (K, d, d)
        Seen along the axes; overwritten.
    divisors : ndarray, shape (K,)
        Rows of each component.
    axes : ndarray, shape (d, d)
        Axes as columns; turned in place.
    """
    n_components, d = len(scatters), len(axes)
    weights = divisors.copy()
    if equal:
        for k in range(n_components):
            total = 0.0
            for j in range(d):
                total += math.log(scatters[k, j, j])
            weights[k] = math.exp(total / d)
    for _ in range(sweeps):
        largest = 0.0
        for p in range(d):
            for q in range(p + 1, d):
                a = b = c = 0.0
                for k in range(n_components):
                    contrast = weights[k] * (1.0 / scatters[k, p, p] - 1.0 / scatters[k, q, q])
                    a += contrast * scatters[k, p, p]
                    b += contrast * scatters[k, p, q]
                    c += contrast * scatters[k, q, q]
                if b == 0.0 and a <= c:
                    continue
                # The eigenvector of the smaller eigenvalue of [[a, b], [b, c]].
                angle = 0.5 * math.atan2(-2.0 * b, c - a)
                cosine, sine = math.cos(angle), math.sin(angle)
                if not math.isfinite(sine):
                    return
                largest = max(largest, abs(sine))
                for k in range(n_components):
                    matrix = scatters[k]
                    size = math.log(matrix[p, p]) + math.log(matrix[q, q])
                    for j in range(d):
                        one, two = matrix[j, p], matrix[j, q]
                        matrix[j, p], matrix[j, q] = cosine * one + sine * two, cosine * two - sine * one
                    for j in range(d):
                        one, two = matrix[p, j], matrix[q, j]
                        matrix[p, j], matrix[q, j] = cosine * one + sine * two, cosine * two - sine * one
                    if equal:
                        weights[k] *= math.exp((math.log(matrix[p, p]) + math.log(matrix[q, q]) - size) / d)
                for j in range(d):
                    one, two = axes[j, p], axes[j, q]
                    axes[j, p], axes[j, q] = cosine * one + sine * two, cosine * two - sine * one
        if largest < settled:
            return


def pack(code: str, covariances: Floats) -> Floats:
    """Covariances as one unconstrained vector of `n_free` numbers: logarithms, log-Cholesky entries, Cayley's angles.

    Volumes enter by their logarithms, shapes by those of all but the last entry, forms by a log-Cholesky factor whose
    last logarithm is left out, orientations by `emtools.kernels.orientation.cayley`.

    Parameters
    ----------
    code : str
        Key of `LAYOUTS`.
    covariances : ndarray
        In the layout of the family.

    Returns
    -------
    ndarray, shape (n_free,)
        NaN where a covariance is not positive definite.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        match code:
            case "EII" | "VII":
                return np.log(covariances[:1] if code == "EII" else covariances)
            case "EEI" | "VVI":
                return np.log(covariances[0] if code == "EEI" else covariances).ravel()
            case "VEI" | "EVI":
                return pack_scales(code, np.log(covariances))
            case "EEE" | "VVV":
                return pack_cholesky(covariances).ravel()
            case "VEE" | "EVV":
                return pack_forms(code, pack_cholesky(covariances))
    if not np.isfinite(covariances).all():
        return np.full(n_free(code, *covariances.shape[:2]), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        if code in GENERALISED:
            axes = near_identity(axes_of(covariances))
            logs = np.log(np.einsum("ij,kil,lj->kj", axes, covariances, axes))
            return np.concatenate([pack_scales(code, logs), rotation_entries(axes)])
        widths, turns = np.linalg.eigh(covariances)
        parts = [rotation_entries(in_signs(axes[:, ::-1])) for axes in turns]
        return np.concatenate([pack_scales(code, np.log(widths[:, ::-1])), *parts])


def unpack(code: str, vector: Floats, n_components: int, n_features: int) -> Floats:
    """Inverse of `pack`; any finite vector gives covariances of the family."""
    k, d = n_components, n_features
    turns = d * (d - 1) // 2
    match code:
        case "EII" | "VII":
            return np.exp(np.broadcast_to(vector, (k,)))
        case "EEI" | "VVI":
            return np.exp(np.broadcast_to(vector.reshape(-1, d), (k, d)))
        case "VEI" | "EVI":
            return np.exp(unpack_scales(code, vector, k, d))
        case "EEE":
            return unpack_cholesky(vector)
        case "VVV":
            return unpack_cholesky(vector.reshape(k, -1))
        case "VEE" | "EVV":
            return unpack_cholesky(unpack_forms(code, vector, k, d))
    n_turns = turns if code in GENERALISED else k * turns
    cut = vector.size - n_turns
    spread = np.exp(unpack_scales(code, vector[:cut], k, d))
    axes = np.stack([cayley(part, d) for part in vector[cut:].reshape(-1, turns)] if turns else [np.eye(d)])
    return from_axes(axes, spread)


def pack_scales(code: str, logs: Floats) -> Floats:
    """Log volumes and log shapes from log variances along the axes (K, d)."""
    volumes = logs.mean(axis=1)
    shapes = (logs - volumes[:, None])[:, :-1]
    return np.concatenate(
        [
            volumes if code[0] == "V" else volumes.mean(keepdims=True),
            (shapes if code[1] == "V" else shapes.mean(axis=0)).ravel(),
        ]
    )


def unpack_scales(code: str, vector: Floats, n_components: int, n_features: int) -> Floats:
    """Inverse of `pack_scales`, shape (K, d)."""
    cut = n_components if code[0] == "V" else 1
    shapes = vector[cut:].reshape(n_components if code[1] == "V" else 1, n_features - 1)
    whole = np.hstack([shapes, -shapes.sum(axis=1, keepdims=True)])
    return np.asarray(np.broadcast_to(vector[:cut, None] + whole, (n_components, n_features)))


def diagonal_places(d: int) -> npt.NDArray[np.intp]:
    """Where the diagonal stands in a log-Cholesky vector."""
    return np.cumsum(np.arange(1, d + 1)) - 1


def pack_forms(code: str, factors: Floats) -> Floats:
    """Log volumes, and log-Cholesky vectors of the forms without their last entry, from those of the covariances.

    A form has determinant 1: the logarithms on the diagonal of its factor sum to 0, so that the last is no free number.
    """
    d = (math.isqrt(8 * factors.shape[1] + 1) - 1) // 2
    volumes = 2.0 * factors[:, diagonal_places(d)].mean(axis=1)
    forms = factors * np.exp(-0.5 * volumes)[:, None]
    forms[:, diagonal_places(d)] = factors[:, diagonal_places(d)] - 0.5 * volumes[:, None]
    if code == "VEE":
        return np.concatenate([volumes, forms[0, :-1]])
    return np.concatenate([volumes.mean(keepdims=True), forms[:, :-1].ravel()])


def unpack_forms(code: str, vector: Floats, n_components: int, n_features: int) -> Floats:
    """Inverse of `pack_forms`, shape (K, d (d + 1) / 2)."""
    places, cut = diagonal_places(n_features), n_components if code == "VEE" else 1
    size = n_features * (n_features + 1) // 2
    own = 1 if code == "VEE" else n_components
    free = np.broadcast_to(vector[cut:].reshape(own, size - 1), (n_components, size - 1))
    forms = np.hstack([free, -free[:, places[:-1]].sum(axis=1, keepdims=True)])
    volumes = np.broadcast_to(vector[:cut], (n_components,))
    factors = forms * np.exp(0.5 * volumes)[:, None]
    factors[:, places] = forms[:, places] + 0.5 * volumes[:, None]
    return np.asarray(factors)
