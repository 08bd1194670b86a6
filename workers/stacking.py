"""Stacking: one image made from several restored ones, with weights by their errors on held-out pixels.

Members x_1 ... x_K are combined as x = sum_k w_k x_k, where no weight is negative and their sum is 1. With the members'
errors e_k on n pixels that none of them has seen, the combination has the mean squared error w' S w there, where
S_jk is the mean of e_j e_k. The weights of least error (Wolpert 1992, "Stacked generalization"; Breiman 1996, "Stacked
regressions") are those of a small quadratic problem.

Hidden pixels are few, so the weights are drawn towards equal ones: they minimise w' S w + r d |w|^2, where d is the
mean squared difference of a member to the members' mean, and the ridge r is the one of least error in cross-validation
over folds of hidden pixels. A member that has seen the hidden pixels, such as a filter of all pixels, follows their
noise, so its error there is too small: of independent noise of variance v by 2 v times its mean derivative by the pixel
itself (Stein 1981). This is its optimism o_k, counted once here: S_jk + o_j + o_k is the mean product as on pixels that
it has not seen. The error of a combination is cross-validated in the same way, with its ridge chosen anew
for every fold. So no pixel has a part in the weights by which it is judged, and the errors of a pick, a mean and a
stack compare fairly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.noise import Estimate

Array = NDArray[np.float64]

FOLDS = 5
RIDGES = (1e-6, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, np.inf)
"""The ridges that are tried. The least one makes the weights unique; infinity makes them equal."""
_FEWEST = 4 * FOLDS
_EQUAL = 1e-12  # of the mean squared error: members that differ by less are the same image


@dataclass(frozen=True, eq=False)
class Combination:
    """A way to make one image from several.

    Attributes:
        weights: (K,), not negative, with sum 1; 0 for members that are not finite.
        squared: (n,), its cross-validated squared error on each held-out pixel, the mean of the channels.
    """

    weights: Array
    squared: Array

    @property
    def error(self) -> Estimate | None:
        """The mean squared error with its standard error; None with fewer than two pixels."""
        return _estimate(self.squared)

    def is_clearly_better(self, other: "Combination") -> bool:
        """Whether its mean squared error is the lesser one by more than a standard error of the difference.

        Both have the noise of the same pixels in them, so their difference is far more certain than either.
        """
        difference = _estimate(other.squared - self.squared)
        return difference is not None and difference.value > difference.standard_error


@dataclass(frozen=True, eq=False)
class Moments:
    """What weights are made from: sums of products of the members' errors, in each of several folds of pixels.

    Attributes:
        sums: (F, K, K).
        counts: (F,), the pixels of each fold.
    """

    sums: Array
    counts: Array

    def mean(self) -> Array:
        """The mean products over all folds: (K, K)."""
        mean: Array = self.sums.sum(axis=0) / self.counts.sum()
        return mean

    def without(self, fold: int) -> "Moments":
        """All folds but one."""
        return Moments(np.delete(self.sums, fold, axis=0), np.delete(self.counts, fold))


Weighting = Callable[[Moments], Array]
"""Weights (K,) from the errors on some folds."""


def simplex_weights(products: Array, ridge: float = RIDGES[0]) -> Array:
    """The weights w of least w' S w + r d |w|^2 that are not negative and have the sum 1.

    For any ridge the minimum of the homogeneous problem |R u|^2 + (sum u - 1)^2 over u >= 0, with R'R = S + r d I, is a
    multiple of w: the sum that is best for a direction w leaves q / (1 + q), which grows with q = |R w|^2. So
    non-negative least squares solve it exactly, without a penalty for the sum.

    Args:
        products: S, (K, K), the mean products of the members' errors: symmetric, no eigenvalue below 0.
        ridge: r, 0 or more. The error is at most r d above that of the best member.

    Returns:
        (K,). Members that do not differ have equal weights.
    """
    from scipy.optimize import nnls  # noqa: PLC0415 - few processes stack, and it takes long to import

    count = len(products)
    equal = np.full(count, 1 / count)
    scale = float(np.trace(products)) / count
    # The mean squared difference to the members' mean: errors less those of the mean.
    difference = scale - float(products.mean())
    if count == 1 or not np.isfinite(ridge) or difference <= _EQUAL * scale:
        return equal
    values, vectors = np.linalg.eigh((products + ridge * difference * np.eye(count)) / scale)
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    multiple, _ = nnls(np.vstack([root, np.ones(count)]), np.append(np.zeros(count), 1.0), maxiter=100 * count)
    weights: Array = multiple / multiple.sum()
    return weights


def inverse_error_weights(errors: Array, noise: float) -> Array:
    """Weights in proportion to one over the members' true errors, which are held-out errors less the noise's variance.

    They average independent errors best. The noise is limited to nine tenths of the least error, because a larger
    estimate would leave almost no error. If an error is unknown (NaN), all weights are equal.
    """
    if not np.isfinite(errors).all():
        return np.full(len(errors), 1 / len(errors))
    weights = 1 / np.maximum(errors - min(noise, 0.9 * float(errors.min())), 1e-12)
    normalised: Array = weights / weights.sum()
    return normalised


def best_of(moments: Moments) -> Array:
    """All weight on the member of least error."""
    errors = moments.mean().diagonal()
    weights: Array = np.eye(len(errors))[int(errors.argmin())]
    return weights


def equal(moments: Moments) -> Array:
    """The same weight for every member."""
    return np.full(moments.sums.shape[1], 1 / moments.sums.shape[1])


def mean_of(noise: float) -> Weighting:
    """Weights by inverse error, for noise of this variance."""
    return lambda moments: inverse_error_weights(moments.mean().diagonal(), noise)


def stacked(moments: Moments) -> Array:
    """Weights of least error, with the ridge of least error in cross-validation over the folds."""
    return simplex_weights(moments.mean(), _best_ridge(moments))


def _best_ridge(moments: Moments) -> float:
    if len(moments.counts) < 2:
        return float(RIDGES[-1])
    errors = np.zeros(len(RIDGES))
    for fold, judged in enumerate(moments.sums):
        products = moments.without(fold).mean()
        for place, ridge in enumerate(RIDGES):
            weights = simplex_weights(products, ridge)
            errors[place] += weights @ judged @ weights
    # Of equal ones the largest: it keeps the weights nearest to equal ones.
    return float(RIDGES[::-1][int(errors[::-1].argmin())])


class HeldOut:
    """The members' errors on the held-out pixels, in folds.

    Args:
        restored: (K, C, n), what each member says the held-out pixels are, as they would be measured.
        measured: (C, n), what was measured there.
        random: decides the folds; whole pixels go to a fold, with all channels.
        optimism: (K,), half of what the mean squared error of a member on these pixels is too small by; None where no
            member has seen them.
    """

    def __init__(
        self,
        restored: NDArray[np.floating[Any]],
        measured: NDArray[np.floating[Any]],
        random: np.random.Generator,
        optimism: Array | None = None,
    ) -> None:
        errors = restored.astype(np.float64) - measured
        self._usable = np.array([bool(np.isfinite(each).all()) for each in errors], dtype=np.bool_)
        self._errors = errors[self._usable]
        self._optimism = (np.zeros(len(errors)) if optimism is None else optimism)[self._usable]
        count = errors.shape[2]
        self._fold_of = random.permutation(count) % FOLDS

    def combined(self, weighting: Weighting) -> Combination:
        """Weights by a rule, and their cross-validated error.

        Of fewer than 20 pixels nothing is learnt: all weights are equal then. The pixels have no part in these, so the
        plain error on them is the estimate.

        Raises:
            ValueError: no member is finite.
        """
        members = len(self._errors)
        if not members:
            raise ValueError("there is nothing to combine: no member is finite on the held-out pixels")
        count = len(self._fold_of)
        equal = np.full(members, 1 / members)
        if count < _FEWEST:
            squared = self._squared(equal, np.ones(count, dtype=np.bool_))
            return Combination(self._all(equal), squared)
        moments = self._moments()
        squared = np.empty(count)
        for fold in range(FOLDS):
            judged = self._fold_of == fold
            squared[judged] = self._squared(weighting(moments.without(fold)), judged)
        return Combination(self._all(weighting(moments)), squared)

    def _moments(self) -> Moments:
        channels = self._errors.shape[1]
        sums = []
        for fold in range(FOLDS):
            errors = self._errors[:, :, self._fold_of == fold].reshape(len(self._errors), -1)
            count = errors.shape[1] // channels
            sums.append(errors @ errors.T / channels + count * np.add.outer(self._optimism, self._optimism))
        return Moments(np.array(sums), np.bincount(self._fold_of, minlength=FOLDS).astype(np.float64))

    def _squared(self, weights: Array, pixels: NDArray[np.bool_]) -> Array:
        """The squared error of a combination on some pixels, the mean of their channels."""
        combined = np.tensordot(weights, self._errors[:, :, pixels], 1)
        squared: Array = np.square(combined).mean(axis=0) + 2 * float(weights @ self._optimism)
        return squared

    def _all(self, weights: Array) -> Array:
        """Weights of all members, from those of the finite ones."""
        every = np.zeros(len(self._usable))
        every[self._usable] = weights
        return every


def _estimate(squared: Array) -> Estimate | None:
    """The mean and its standard error."""
    if squared.size < 2:
        return None
    return Estimate(float(squared.mean()), float(squared.std(ddof=1) / np.sqrt(squared.size)))
