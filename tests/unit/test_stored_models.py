"""A stored model whose parameters no fit has is refused before it fills a cell."""

import numpy as np
import pytest

from emtools.imputing.store import require_sound
from emtools.models.normal import MultivariateNormal
from emtools.models.stacked import Stacked
from emtools.models.student_t import StudentT

EYE = np.eye(2)
NORMAL = {"mean": np.zeros(2), "covariance": EYE}
T = {"location": np.zeros(2), "scatter": EYE, "df": np.array(4.0)}
STACKED = NORMAL | {
    "share": np.array(0.3), "sizes": np.array([1, 2]), "weights": np.array([1.0, 0.4, 0.6]),
    "means": np.zeros((3, 2)), "covariances": np.array([EYE] * 3),
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "sound", "change"),
    [
        (MultivariateNormal(2), NORMAL, {"covariance": np.array([[1.0, 0.3], [0.5, 1.0]])}),
        (MultivariateNormal(2), NORMAL, {"covariance": -EYE}),
        (MultivariateNormal(2), NORMAL, {"mean": np.zeros(3)}),
        (StudentT(2), T, {"df": np.array(-3.0)}),
        (Stacked(3, 2), STACKED, {"share": np.array(1.2)}),
        (Stacked(3, 2), STACKED, {"sizes": np.array([-1, 4])}),
        (Stacked(3, 2), STACKED, {"weights": np.array([1.0, -1.0, 2.0])}),
        (Stacked(3, 2), STACKED, {"weights": np.array([0.5, 0.5, 1.0])}),
    ],
)
def test_parameters_that_no_fit_has_are_refused(model, sound, change):
    require_sound(sound, model)
    with pytest.raises((ValueError, np.linalg.LinAlgError)):
        require_sound(sound | change, model)


def test_rounding_beside_a_correlation_of_zero_is_no_asymmetry():
    require_sound(NORMAL | {"covariance": np.array([[1.0, 1e-20], [-1e-20, 1.0]])}, MultivariateNormal(2))
