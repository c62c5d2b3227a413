"""Moments of normal distributions within bounds: one and two variables exactly, more by expectation propagation.

Everything is stable where the bounds lie many standard deviations away: densities are integrated about their own mode.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
ROOT_HALF = math.sqrt(0.5)
TAIL = 3.0  # standard deviations from which a tail is integrated, its closed form losing digits
NARROW = 2.0  # standard deviations below which an interval is integrated
DROP = 45.0  # nats below the mode at which an integral ends
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
SETTLED = 1e-13  # change of a mean in standard deviations, or of a variance relative, that ends the sweeps
SWEEPS = 1000
CANCELLED = 1e-5  # share of a variable's precision below which it is not found by taking its site's away
TRIES = 16  # draws without bounds before a Markov chain
PATIENCE = 4  # sweeps without progress that end it, where rounding keeps it from settling


@njit(cache=True, nogil=True)
def truncated_normal(low: float, high: float) -> tuple[float, float, float]:
    """Log probability of an interval under the standard normal, and mean and variance within it.

    Parameters
    ----------
    low, high : float
        Ends of the interval, infinite where there is none; ``low < high``.

    Returns
    -------
    log_probability : float
        Nats.
    mean, variance : float

    References
    ----------
    Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, 2nd ed., eqs 13.134-13.135.

    Examples
    --------
    >>> [round(value, 6) for value in truncated_normal(0.0, math.inf)]
    [-0.693147, 0.797885, 0.36338]
    """
    if low == -math.inf and high == math.inf:
        return 0.0, 0.0, 1.0
    sign = 1.0
    if low == -math.inf or (high < math.inf and low + high < 0.0):
        low, high, sign = -high, -low, -1.0
    if (low <= TAIL and high == math.inf) or (low <= 1.0 and high - low > NARROW):
        above = 0.5 * math.erfc(low * ROOT_HALF)
        density = math.exp(-0.5 * low * low - HALF_LOG_2PI)
        slope, bend = density, low * density
        if high < math.inf:
            above -= 0.5 * math.erfc(high * ROOT_HALF)
            density = math.exp(-0.5 * high * high - HALF_LOG_2PI)
            slope -= density
            bend -= high * density
        mean = slope / above
        return math.log(above), sign * mean, 1.0 + bend / above - mean * mean
    mode = max(low, 0.0)
    end = min(high - mode, 2.0 * DROP / (mode + math.sqrt(mode * mode + 2.0 * DROP)))
    half = 0.5 * (end - (low - mode))
    middle = 0.5 * (end + (low - mode))
    centre = 0.0 if low > 0.0 else middle
    total, first, second = 0.0, 0.0, 0.0
    for node in range(len(NODES)):
        t = middle + half * NODES[node]
        u = t - centre
        share = WEIGHTS[node] * math.exp(-t * (mode + 0.5 * t))
        total += share
        first += share * u
        second += share * u * u
    first /= total
    second /= total
    log_probability = math.log(half * total) - 0.5 * mode * mode - HALF_LOG_2PI
    return log_probability, sign * (mode + centre + first), second - first * first


@njit(cache=True, nogil=True)
def edge(x: float, low: float, high: float, slope: float, spread: float) -> tuple[float, float, float, float]:
    """At the first of two variables: log density (but for a constant), its slope, and moments of the second given it.

    Parameters
    ----------
    x : float
        The first variable.
    low, high : float
        Bounds of the second.
    slope, spread : float
        The second has mean ``slope * x`` and standard deviation `spread` given the first.
    """
    inside, mean, variance = truncated_normal((low - slope * x) / spread, (high - slope * x) / spread)
    return inside - 0.5 * x * x, slope / spread * mean - x, mean, variance


@njit(cache=True, nogil=True)
def cutoff(mode: float, side: float, end: float, low: float, high: float, slope: float, spread: float) -> float:
    """Where the log density of the first variable has fallen by `DROP` on one side of its mode, or its bound.

    The density falls at least as fast as the standard normal from its slope at the mode; from there Newton's steps
    close in from outside, for the log density is concave.
    """
    top, rise, _, _ = edge(mode, low, high, slope, spread)
    fall = max(0.0, -side * rise)
    x = mode + side * 2.0 * DROP / (fall + math.sqrt(fall * fall + 2.0 * DROP))
    x = min(x, end) if side > 0.0 else max(x, end)
    for _ in range(50):
        value, rise, _, _ = edge(x, low, high, slope, spread)
        if value > top - 1.2 * DROP or side * rise >= 0.0:
            break
        x -= (value - (top - DROP)) / rise
    return max(x, mode) if side > 0.0 else min(x, mode)


@njit(cache=True, nogil=True)
def mode_of_first(low1: float, high1: float, low2: float, high2: float, slope: float, spread: float) -> float:
    """Mode of the first of two truncated variables: its log density is concave, with curvature at least 1."""
    x = min(max(0.0, low1), high1)
    _, rise, _, variance = edge(x, low2, high2, slope, spread)
    left, right = max(low1, x + min(rise, 0.0)), min(high1, x + max(rise, 0.0))
    steep = (slope / spread) ** 2
    for _ in range(100):
        bend = 1.0 + steep * max(0.0, 1.0 - variance)
        step = rise / bend
        if abs(step) * math.sqrt(bend) < 1e-3 or right <= left:
            break
        following = x + step
        if not left < following < right:
            if (x == left and rise < 0.0) or (x == right and rise > 0.0):
                break
            following = right if following >= right and x != right else following
            following = left if following <= left and x != left else following
            if not left <= following <= right:
                following = 0.5 * (left + right)
        x = following
        _, rise, _, variance = edge(x, low2, high2, slope, spread)
        if rise > 0.0:
            left = x
        else:
            right = x
    return x


@njit(cache=True, nogil=True)
def truncated_pair(
    low1: float, high1: float, low2: float, high2: float, correlation: float
) -> tuple[float, float, float, float, float, float]:
    """Log probability of a rectangle under a standard bivariate normal, and means and covariances within it.

    One variable is integrated by Gauss-Legendre panels about the mode of its density, the other in closed form given
    it; panels end where the probability of the other turns.

    Parameters
    ----------
    low1, high1, low2, high2 : float
        Bounds, infinite where there is none.
    correlation : float
        In (-1, 1).

    Returns
    -------
    log_probability : float
        Nats.
    mean1, mean2, variance1, covariance, variance2 : float

    References
    ----------
    Tallis (1961), J. R. Stat. Soc. B 23, 223-229, doi:10.1111/j.2517-6161.1961.tb00408.x; Plackett (1954), Biometrika
    41, 351-360, doi:10.1093/biomet/41.3-4.351, for the probability of a quadrant, ``1/4 + asin(correlation) / 2π``.

    Examples
    --------
    >>> probability = math.exp(truncated_pair(0.0, math.inf, 0.0, math.inf, 0.5)[0])
    >>> round(probability, 12) == round(1 / 4 + math.asin(0.5) / (2 * math.pi), 12)
    True
    """
    slope = correlation
    spread = math.sqrt((1.0 - correlation) * (1.0 + correlation))
    mode = mode_of_first(low1, high1, low2, high2, slope, spread)
    top, _, inner, _ = edge(mode, low2, high2, slope, spread)
    centre = slope * mode + spread * inner
    start = cutoff(mode, -1.0, low1, low2, high2, slope, spread)
    end = cutoff(mode, 1.0, high1, low2, high2, slope, spread)
    breaks = np.full(9, start)
    breaks[0], breaks[1], breaks[2] = start, mode, end
    count = 3
    if abs(slope) > 1e-3:
        reach = 6.0 * spread / abs(slope)
        for bound in (low2, high2):
            if math.isinf(bound):
                continue
            for turn in (bound / slope - reach, bound / slope, bound / slope + reach):
                if start < turn < end:
                    breaks[count] = turn
                    count += 1
    breaks[:count].sort()
    total, first, second, square1, cross, square2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for panel in range(count - 1):
        half = 0.5 * (breaks[panel + 1] - breaks[panel])
        if half <= 0.0:
            continue
        middle = 0.5 * (breaks[panel + 1] + breaks[panel])
        for node in range(len(NODES)):
            x = middle + half * NODES[node]
            value, _, mean, variance = edge(x, low2, high2, slope, spread)
            share = half * WEIGHTS[node] * math.exp(value - top)
            one = x - mode
            two = slope * x + spread * mean - centre
            total += share
            first += share * one
            second += share * two
            square1 += share * one * one
            cross += share * one * two
            square2 += share * (spread * spread * variance + two * two)
    first /= total
    second /= total
    return (
        top + math.log(total) - HALF_LOG_2PI,
        mode + first,
        centre + second,
        square1 / total - first * first,
        cross / total - first * second,
        square2 / total - second * second,
    )


@njit(cache=True, nogil=True)
def cholesky(matrix: Floats, n: int) -> bool:
    """Lower Cholesky factor of the leading (n, n) block in its own place; False where it is not positive definite."""
    for j in range(n):
        for k in range(j):
            left = matrix[j, k]
            if left != 0.0:
                for i in range(j, n):
                    matrix[i, j] -= matrix[i, k] * left
        if not matrix[j, j] > 0.0:
            return False
        pivot = math.sqrt(matrix[j, j])
        for i in range(j, n):
            matrix[i, j] /= pivot
    return True


@njit(cache=True, nogil=True)
def solve_rows(factor: Floats, n: int, rows: Floats) -> None:
    """``L⁻¹`` times each row of `rows`, shape (any, n or more), as a column, in its own place."""
    for r in range(len(rows)):
        for i in range(n):
            total = rows[r, i]
            for k in range(i):
                total -= factor[i, k] * rows[r, k]
            rows[r, i] = total / factor[i, i]


@njit(cache=True, nogil=True)
def refresh(prior: Floats, tau: Floats, nu: Floats, mean: Floats, covariance: Floats) -> float:
    """Mean and covariance of a centred normal times normal sites, and the log of the integral of that product.

    Parameters
    ----------
    prior : ndarray, shape (k, k)
    tau, nu : ndarray, shape (k,)
        Precision and precision times mean of the sites; where the first is 0, so is the other.
    mean, covariance : ndarray, shapes (k,) and (k, k)
        Receive the result.

    Returns
    -------
    float
        ``-½ log|I + tau^½ prior tau^½| - ½ mᵀ (prior + 1 / tau)⁻¹ m`` with ``m = nu / tau``: sites count as
        ``exp(-½ tau (x - m)²)``.

    References
    ----------
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eqs 3.65-3.68.
    """
    k = len(tau)
    inner, half = np.empty((k, k)), np.empty((k + 1, k))
    for i in range(k):
        left = math.sqrt(tau[i])
        half[k, i] = nu[i] / left if left > 0.0 else 0.0
        for j in range(k):
            half[j, i] = left * prior[i, j]
        for j in range(i + 1):
            inner[i, j] = left * math.sqrt(tau[j]) * prior[i, j]
        inner[i, i] += 1.0
    cholesky(inner, k)
    solve_rows(inner, k, half)
    log_density = 0.0
    for i in range(k):
        log_density -= math.log(inner[i, i]) + 0.5 * half[k, i] ** 2
        total = 0.0
        for c in range(k):
            total += half[i, c] * half[k, c]
        mean[i] = total
        for j in range(i + 1):
            total = prior[i, j]
            for c in range(k):
                total -= half[i, c] * half[j, c]
            covariance[i, j] = covariance[j, i] = total
    return log_density


@njit(cache=True, nogil=True)
def without_site(
    prior: Floats, tau: Floats, nu: Floats, i: int, mean: Floats, covariance: Floats
) -> tuple[float, float]:
    """Mean and precision of a variable without its own site.

    Parameters
    ----------
    prior : ndarray, shape (k, k)
        With a unit diagonal.
    tau, nu : ndarray, shape (k,)
        Sites.
    i : int
        The variable.
    mean, covariance : ndarray, shapes (k,) and (k, k)
        With all sites.
    """
    variance = covariance[i, i]
    if 1.0 - tau[i] * variance > CANCELLED:
        precision = 1.0 / variance - tau[i]
        return (mean[i] / variance - nu[i]) / precision, precision
    others, pulls = tau.copy(), nu.copy()
    others[i] = pulls[i] = 0.0
    centre, spread = np.empty_like(mean), np.empty_like(covariance)
    refresh(prior, others, pulls, centre, spread)
    return centre[i], 1.0 / spread[i, i]


@njit(cache=True, nogil=True)
def propagate(prior: Floats, low: Floats, high: Floats, mean: Floats, covariance: Floats) -> tuple[float, float]:
    """Expectation propagation for a centred normal within bounds.

    Each bound becomes a normal site, matched in mean and variance in turn until nothing changes. At that fixed point
    the derivatives of the log probability by the parameters of the prior are those that the moments give.

    Parameters
    ----------
    prior : ndarray, shape (k, k)
        Covariance, with a unit diagonal.
    low, high : ndarray, shape (k,)
        Bounds from the mean.
    mean, covariance : ndarray, shapes (k,) and (k, k)
        Receive the moments within the bounds.

    Returns
    -------
    log_probability : float
        Nats.
    change : float
        Largest change in the last sweep: of a mean in standard deviations, of a variance relative.

    References
    ----------
    Minka (2001), Uncertainty in Artificial Intelligence 17, 362-369; Cunningham, Hennig & Lacoste-Julien (2011),
    arXiv:1111.6832, section 3.1; Seeger (2005), Expectation propagation for exponential families, section 3, for the
    derivatives.
    """
    k = len(low)
    tau, nu, column = np.zeros(k), np.zeros(k), np.empty(k)
    for i in range(k):
        mean[i] = 0.0
        for j in range(k):  # assigning the whole takes seconds to compile
            covariance[i, j] = prior[i, j]
    log_probability, change, best, idle = 0.0, math.inf, math.inf, 0
    for _ in range(SWEEPS):
        change = 0.0
        for i in range(k):
            variance, centre = covariance[i, i], mean[i]
            rest, tau_rest = without_site(prior, tau, nu, i, mean, covariance)
            sd = 1.0 / math.sqrt(tau_rest)
            _, inner, narrowed = truncated_normal((low[i] - rest) / sd, (high[i] - rest) / sd)
            sharper = max(0.0, 1.0 / narrowed - 1.0)
            tau_new = tau_rest * sharper
            nu_new = tau_rest * (rest * sharper + sd * inner * (1.0 + sharper)) if sharper > 0.0 else 0.0
            matched, scale = rest + sd * inner, sd * sd / (1.0 + sharper)
            change = max(change, abs(matched - centre) / math.sqrt(scale), abs(scale / variance - 1.0))
            grown = tau_new - tau[i]
            shift = nu_new - nu[i]
            gain = 1.0 / (1.0 + grown * variance)
            for a in range(k):
                column[a] = covariance[a, i]
                mean[a] += column[a] * (gain * (shift - grown * centre))
            for a in range(k):
                step = gain * grown * column[a]
                for b in range(k):
                    covariance[a, b] -= step * column[b]
            tau[i], nu[i] = tau_new, nu_new
        log_probability = refresh(prior, tau, nu, mean, covariance)
        if change < SETTLED:
            break
        idle = 0 if change < 0.5 * best else idle + 1
        best = min(best, change)
        if best < 1e-9 and idle >= PATIENCE:
            break
    for i in range(k):
        rest, tau_rest = without_site(prior, tau, nu, i, mean, covariance)
        sd = 1.0 / math.sqrt(tau_rest)
        log_probability += truncated_normal((low[i] - rest) / sd, (high[i] - rest) / sd)[0]
        if tau[i] > 0.0:
            apart = rest - nu[i] / tau[i]
            log_probability += 0.5 * (math.log1p(tau[i] / tau_rest) + apart * apart / (1.0 / tau_rest + 1.0 / tau[i]))
    return log_probability, change


@njit(cache=True, nogil=True)
def truncated_moments(
    prior: Floats, low: Floats, high: Floats, mean: Floats, covariance: Floats
) -> tuple[float, float]:
    """Moments of a centred normal within bounds: exact for one and two variables, else by expectation propagation.

    Parameters
    ----------
    prior : ndarray, shape (k, k)
        Covariance, positive definite.
    low, high : ndarray, shape (k,)
        Bounds from the mean.
    mean, covariance : ndarray, shapes (k,) and (k, k)
        Receive the moments.

    Returns
    -------
    log_probability : float
        Nats.
    change : float
        Of the last sweep of expectation propagation; 0 where exact.
    """
    k = len(low)
    scale = np.empty(k)
    for i in range(k):
        scale[i] = math.sqrt(prior[i, i])
    if k == 1:
        log_probability, inner, narrowed = truncated_normal(low[0] / scale[0], high[0] / scale[0])
        mean[0] = scale[0] * inner
        covariance[0, 0] = prior[0, 0] * narrowed
        return log_probability, 0.0
    if k == 2:
        one, two = 0, 1
        if not (math.isinf(low[1]) or math.isinf(high[1])):
            one, two = 1, 0
        correlation = prior[1, 0] / (scale[0] * scale[1])
        log_probability, mean1, mean2, variance1, cross, variance2 = truncated_pair(
            low[one] / scale[one], high[one] / scale[one], low[two] / scale[two], high[two] / scale[two], correlation
        )
        mean[one], mean[two] = scale[one] * mean1, scale[two] * mean2
        covariance[one, one], covariance[two, two] = scale[one] ** 2 * variance1, scale[two] ** 2 * variance2
        covariance[0, 1] = covariance[1, 0] = scale[0] * scale[1] * cross
        return log_probability, 0.0
    unit, under, over = np.empty((k, k)), np.empty(k), np.empty(k)
    for i in range(k):
        under[i], over[i] = low[i] / scale[i], high[i] / scale[i]
        for j in range(k):
            unit[i, j] = prior[i, j] / (scale[i] * scale[j])
        unit[i, i] = 1.0
    log_probability, change = propagate(unit, under, over, mean, covariance)
    for i in range(k):
        mean[i] *= scale[i]
        for j in range(k):
            covariance[i, j] *= scale[i] * scale[j]
    return log_probability, change


@njit(cache=True, nogil=True)
def draw_within(low: float, high: float, generator: np.random.Generator) -> float:
    """A draw of the standard normal within an interval, by rejection; exact however far in a tail.

    Parameters
    ----------
    low, high : float
        Ends, infinite where there is none; ``low < high``.
    generator : numpy.random.Generator

    Returns
    -------
    float

    References
    ----------
    Robert (1995), Stat. Comput. 5, 121-125, doi:10.1007/BF00143942, sections 2.1-2.2.
    """
    sign = 1.0
    if low == -math.inf or (high < math.inf and low + high < 0.0):
        low, high, sign = -high, -low, -1.0
    if low <= 0.0 and high - low > 2.5:
        while True:
            x = generator.standard_normal()
            if low <= x <= high:
                return sign * x
    start = max(low, 0.0)
    steep = 0.5 * (start + math.sqrt(start * start + 4.0))
    if (high - low) * steep < 2.0:
        while True:
            x = low + (high - low) * generator.random()
            if generator.random() <= math.exp(-0.5 * (x - start) * (x + start)):
                return sign * x
    while True:
        x = low - math.log1p(-generator.random()) / steep
        if x <= high and generator.random() <= math.exp(-0.5 * (x - steep) ** 2):
            return sign * x


@njit(cache=True, nogil=True)
def excess(factor: Floats, low: Floats, high: Floats, white: Floats) -> float:
    """Log density ratio of a point to how `propose` draws it, but for a constant: the log weights of its steps."""
    total = 0.0
    for i in range(len(low)):
        ahead = np.dot(factor[i, :i], white[:i])
        total += truncated_normal((low[i] - ahead) / factor[i, i], (high[i] - ahead) / factor[i, i])[0]
    return total


@njit(cache=True, nogil=True)
def propose(factor: Floats, low: Floats, high: Floats, white: Floats, generator: np.random.Generator) -> None:
    """One coordinate after another within its bounds given those before (whitened)."""
    for i in range(len(low)):
        ahead = np.dot(factor[i, :i], white[:i])
        white[i] = draw_within((low[i] - ahead) / factor[i, i], (high[i] - ahead) / factor[i, i], generator)


@njit(cache=True, nogil=True)
def draw_truncated(
    prior: Floats, low: Floats, high: Floats, rounds: int, generator: np.random.Generator
) -> tuple[bool, Floats]:
    """A draw of a centred normal within bounds.

    One variable, and whatever the first few draws without bounds hit, is exact. Else a Markov chain of `rounds` steps:
    each proposes a point drawn coordinate by coordinate and accepted by its weight (Metropolis-Hastings), and then
    draws every coordinate given the others (Gibbs).

    Parameters
    ----------
    prior : ndarray, shape (k, k)
        Covariance.
    low, high : ndarray, shape (k,)
        Bounds from the mean.
    rounds : int
        Steps of the chain.
    generator : numpy.random.Generator

    Returns
    -------
    valid : bool
        False where `prior` is not positive definite.
    ndarray, shape (k,)

    References
    ----------
    Geweke (1991), Computing Science and Statistics 23, 571-578; Tierney (1994), Ann. Stat. 22, 1701-1728,
    doi:10.1214/aos/1176325750, section 2.3, for the independence chain.
    """
    k = len(low)
    factor = prior.copy()
    if not cholesky(factor, k):
        return False, np.full(k, math.nan)
    for i in range(k):
        for j in range(i + 1, k):
            factor[i, j] = 0.0
    white = np.empty(k)
    if k == 1:
        propose(factor, low, high, white, generator)
        return True, factor @ white
    for _ in range(TRIES):
        for i in range(k):
            white[i] = generator.standard_normal()
        point = factor @ white
        within = True
        for i in range(k):
            within = within and low[i] <= point[i] <= high[i]
        if within:
            return True, point
    columns = np.zeros((k, k))
    for i in range(k):
        columns[i, i] = 1.0
    solve_rows(factor, k, columns)
    precision = columns @ columns.T
    propose(factor, low, high, white, generator)
    point = factor @ white
    other = np.empty(k)
    for _ in range(rounds):
        propose(factor, low, high, other, generator)
        gained = excess(factor, low, high, other) - excess(factor, low, high, white)
        if math.log1p(-generator.random()) < gained:
            point = factor @ other
        for i in range(k):
            pull = np.dot(precision[i], point) - precision[i, i] * point[i]
            centre, sd = -pull / precision[i, i], 1.0 / math.sqrt(precision[i, i])
            point[i] = centre + sd * draw_within((low[i] - centre) / sd, (high[i] - centre) / sd, generator)
        white = point @ columns
    return True, point
