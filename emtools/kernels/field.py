"""Mean-field sweeps of a hidden Markov random field over an image, and what its shares add up to.

``K`` classes, ``d`` channels, an image of ``R`` rows and ``C`` columns. The pixels of a checkerboard are kept colour by
colour, so that the neighbours of one colour lie side by side in the other, and framed by zeros, which stand for the
neighbours that a pixel at the edge lacks. `sweep_readable` is the same sweep pixel by pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

from emtools.kernels.vectors import plain

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

LOWEST = np.float32(-87.0)  # exponent below which a share counts as exp(-87)
LOG2_E = np.float32(1.4426950408889634)
# Log of 2 in two parts, of which the first times a small integer is exact.
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# exp(x) for |x| <= log(2) / 2, highest power first: Cephes, single precision.
E5, E4, E3, E2, E1, E0 = (
    np.float32(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
ZERO, HALF, ONE, FOUR = (np.float32(c) for c in (0.0, 0.5, 1.0, 4.0))
BIAS, FRACTION = np.int32(127), np.int32(23)
TOGETHER = 4  # sweeps, one behind the other
NOTHING = 1e-18  # share below which a class adds nothing to the entropy of a pixel that rounding would keep


def by_colour(planes: npt.NDArray[np.floating]) -> Singles:
    """Planes of an image cut into the two colours of a checkerboard.

    Parameters
    ----------
    planes : ndarray, shape (K, R, C)
        Numbers.

    Returns
    -------
    ndarray of float32, shape (2, K, R + 2, H + 2)
        ``H = ceil(C / 2)``. Colour ``(i + j) % 2`` holds pixel (i, j) at ``[i + 1, j // 2 + 1]``; zeros elsewhere.
    """
    k, n_rows, n_columns = planes.shape
    cut = np.zeros((2, k, n_rows + 2, (n_columns + 1) // 2 + 2), dtype=np.float32)
    for colour in range(2):
        for parity in range(2):
            part = planes[:, parity::2, (colour + parity) % 2 :: 2]
            cut[colour, :, 1 + parity : -1 : 2, 1 : 1 + part.shape[2]] = part
    return cut


def whole(cut: Singles, n_columns: int) -> Singles:
    """Inverse of `by_colour`, shape (K, R, n_columns)."""
    k, n_rows = cut.shape[1], cut.shape[2] - 2
    planes = np.empty((k, n_rows, n_columns), dtype=np.float32)
    for colour in range(2):
        for parity in range(2):
            part = planes[:, parity::2, (colour + parity) % 2 :: 2]
            part[...] = cut[colour, :, 1 + parity : -1 : 2, 1 : 1 + part.shape[2]]
    return planes


def sweep(shares: Singles, log_density: Singles, coupling: float, n_columns: int, n_sweeps: int = 1) -> None:
    """Bring the shares of all pixels up to date with their neighbours, one colour after the other, in place.

    ``shares[k] ∝ exp(log_density[k] + coupling Σ_neighbours shares[k])``, with the 4 nearest neighbours. Each colour
    follows one row behind the one before it, and each sweep behind the one before it, up to `TOGETHER` of them, which leaves
    the same numbers as one round after the other and reads the memory once.

    Parameters
    ----------
    shares : ndarray of float32, shape (2, K, R + 2, H + 2)
        As `by_colour` lays them out.
    log_density : ndarray of float32, same shape
        Nats, less the largest of each pixel.
    coupling : float
        Nats by which two neighbours of one class are likelier; 0 to 10.
    n_columns : int
        Columns C of the image.
    n_sweeps : int
        Rounds over both colours.

    References
    ----------
    Zhang (1992), IEEE Trans. Signal Process. 40, 2570-2583, doi:10.1109/78.157297, eq. 27; Wainwright & Jordan (2008),
    Found. Trends Mach. Learn. 1, 1-305, doi:10.1561/2200000001, eq. 5.17 (coordinate ascent of the bound).
    """
    for done in range(0, n_sweeps, TOGETHER):
        sweep_rows(shares, log_density, np.float32(coupling), n_columns, min(TOGETHER, n_sweeps - done))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def sweep_rows(shares: Singles, log_density: Singles, coupling: np.float32, n_columns: int, n_sweeps: int) -> None:
    n_rows = shares.shape[2] - 2
    k, width = shares.shape[1], shares.shape[3] - 2
    joint, total = np.empty((k, width), dtype=np.float32), np.empty(width, dtype=np.float32)
    for step in range(n_rows + 2 * n_sweeps - 1):
        for behind in range(max(0, step - n_rows + 1), min(step + 1, 2 * n_sweeps)):
            update_row(shares, log_density, coupling, n_columns, behind % 2, step - behind, joint, total)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def update_row(
    shares: Singles, log_density: Singles, coupling: np.float32, n_columns: int, colour: int, row: int,
    joint: Singles, total: Singles,
) -> None:  # fmt: skip
    """The pixels of one colour in a row; `joint` (K, H) and `total` (H,) are room to work in."""
    k, first = shares.shape[1], (row + colour) % 2
    width = (n_columns - first + 1) // 2
    other, here = shares[1 - colour], shares[colour]
    total[:width] = ZERO
    for c in range(k):
        above, middle, below = other[c, row], other[c, row + 1, first:], other[c, row + 2]
        density = log_density[colour, c, row + 1]
        exponentials(density, above, below, middle, width, coupling, joint[c], total)
    for h in range(width):
        total[h] = ONE / total[h]
    for c in range(k):
        out, part = here[c, row + 1, 1 : width + 1], joint[c]
        for h in range(width):
            out[h] = part[h] * total[h]


def emitted_bits(typingctx: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


def readable_bits(bits: np.int32) -> np.float32:
    """The float32 that has these 32 bits."""
    return bits.view(np.float32)


of_bits: Any = readable_bits if plain else intrinsic(emitted_bits)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def exponentials(
    density: Singles, above: Singles, below: Singles, middle: Singles, width: int, coupling: np.float32,
    out: Singles, total: Singles,
) -> None:  # fmt: skip
    """``exp(density + coupling (neighbours - 4))``, to 2 units in the last place, added to `total`; it is at most 1."""
    most = FOUR * coupling
    for h in range(width):
        near = middle[h] + middle[h + 1]
        x = (density[h + 1] - most) + coupling * ((above[h + 1] + below[h + 1]) + near)
        x = x if x > LOWEST else LOWEST
        turns = np.int32(x * LOG2_E - HALF)  # rounds, since x <= 0
        t = np.float32(turns)
        x = (x - t * LN2_HIGH) - t * LN2_LOW
        p = ((((E5 * x + E4) * x + E3) * x + E2) * x + E1) * x + E0
        part = ((p * x) * x + (x + ONE)) * of_bits(np.int32((turns + BIAS) << FRACTION))
        out[h] = part
        total[h] += part


def sweep_readable(shares: Floats, log_density: Floats, coupling: float) -> Floats:
    """What `sweep` does, pixel by pixel in float64; planes of shape (K, R, C), the new shares are returned."""
    shares = shares.copy()
    k, n_rows, n_columns = shares.shape
    for colour in range(2):
        for i in range(n_rows):
            for j in range((i + colour) % 2, n_columns, 2):
                near = np.zeros(k)
                for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                    if 0 <= a < n_rows and 0 <= b < n_columns:
                        near += shares[:, a, b]
                joint = log_density[:, i, j] + coupling * near
                weight = np.exp(joint - joint.max())
                shares[:, i, j] = weight / weight.sum()
    return shares


def grid(n_rows: int, n_columns: int) -> tuple[Floats, Floats]:
    """Places of rows and columns, from -1 to 1 along each side; 0 where there is one only."""
    return tuple(np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in (n_rows, n_columns))  # type: ignore[return-value]


# Powers of row and column of the terms of the illumination.
POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))


def illumination(bends: Floats, rows: Floats, columns: Floats) -> Floats:
    """Smooth gain over the image, ``1 + Σ_t bends[t] φ_t``.

    Parameters
    ----------
    bends : ndarray, shape (5,)
        Coefficients of row, column, row², row × column and column².
    rows, columns : ndarray, shapes (R,) and (C,)
        Places, as `grid` gives them.

    Returns
    -------
    ndarray, shape (n_rows, n_columns)
        1 at the centre of the image.
    """
    across = 1.0 + bends[1] * columns + bends[4] * columns**2
    down = bends[0] * rows + bends[2] * rows**2
    return np.asarray((down[:, None] + across) + bends[3] * rows[:, None] * columns)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def field_moments(
    values: Floats, shares: npt.NDArray[np.floating], rows: Floats, columns: Floats
) -> tuple[Floats, Floats, float, float]:
    """What the shares of an image add up to.

    Parameters
    ----------
    values : ndarray, shape (d, R, C)
        Intensities.
    shares : ndarray of float32 or float64, shape (K, R, C)
        Probability of each class; scaled here to sum to 1.
    rows, columns : ndarray, shapes (R,) and (C,)
        As `grid` gives them.

    Returns
    -------
    powers : ndarray, shape (K, 5, 5)
        ``Σ share row**a column**b`` for a + b at most 4.
    crossed : ndarray, shape (d, K, 3, 3)
        ``Σ share value row**a column**b`` for a + b at most 2.
    entropy : float
        Nats.
    agreement : float
        ``Σ_neighbours Σ_k share share``, each pair once.
    """
    k, n_rows, n_columns = shares.shape
    d = len(values)
    powers, crossed = np.zeros((k, 5, 5)), np.zeros((d, k, 3, 3))
    entropy = agreement = 0.0
    above, here = np.zeros((k, n_columns)), np.zeros((k, n_columns))
    sums, products = np.zeros(5), np.zeros(3)
    for i in range(n_rows):
        above, here = here, above
        row_entropy = row_agreement = 0.0
        for j in range(n_columns):
            total = 0.0
            for c in range(k):
                total += shares[c, i, j]
            for c in range(k):
                here[c, j] = shares[c, i, j] / total
        for c in range(k):
            mine, over = here[c], above[c]
            before = s0 = s1 = s2 = s3 = s4 = 0.0
            for j in range(n_columns):
                share, x = mine[j], columns[j]
                if NOTHING < share < 1.0:
                    row_entropy -= share * np.log(share)
                row_agreement += share * (over[j] + before)
                before = share
                once = share * x
                twice = once * x
                s0, s1, s2, s3, s4 = s0 + share, s1 + once, s2 + twice, s3 + twice * x, s4 + twice * (x * x)
            sums[0], sums[1], sums[2], sums[3], sums[4] = s0, s1, s2, s3, s4
            weight = 1.0
            for a in range(5):
                for b in range(5 - a):
                    powers[c, a, b] += weight * sums[b]
                weight *= rows[i]
            for m in range(d):
                s0 = s1 = s2 = 0.0
                for j in range(n_columns):
                    share, x = mine[j] * values[m, i, j], columns[j]
                    s0, s1, s2 = s0 + share, s1 + share * x, s2 + share * (x * x)
                products[0], products[1], products[2] = s0, s1, s2
                weight = 1.0
                for a in range(3):
                    for b in range(3 - a):
                        crossed[m, c, a, b] += weight * products[b]
                    weight *= rows[i]
        entropy += row_entropy
        agreement += row_agreement
    return powers, crossed, entropy, agreement
