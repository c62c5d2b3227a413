"""What the modules of ``emtools segment`` for a table pass to one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emtools.branches.options import RunOptions
from emtools.engine.protocol import Floats

if TYPE_CHECKING:
    from emtools.engine.result import Fit
    from emtools.kernels.feature_scale import FeatureScale
    from emtools.models.mixture import Family, MixtureParams


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Options of ``emtools segment`` for a table; the fields are those of the command line.

    Parameters
    ----------
    input : Path
        CSV, TSV, Parquet, Excel or AnnData.
    components : int
        Number of classes K, 2 to 16.
    family, scaling : str
        Which of the mixtures is the answer; all are fitted and shown.
    columns, id, layer : see `read_features`
    order_by : str or None
        Feature whose mean orders the classes; the first by default.
    truth : str or None
        Column of known classes.
    """

    input: Path
    components: int = 2
    family: Family = "full"
    scaling: str = "z-scored"
    columns: Sequence[str] | None = None
    id: str | None = None
    layer: str | None = None
    order_by: str | None = None
    truth: str | None = None


@dataclass(frozen=True)
class Method:
    """A fit of one model under one scaling.

    Parameters
    ----------
    name : str
        K-means, or the mixture with its family.
    scale : FeatureScale
        The scaling.
    fit : Fit
        In scaled features.
    shares : ndarray, shape (n, K)
        Posterior probabilities; 0 and 1 for K-means.
    loglik : float
        In the units of the table, nats; NaN for K-means.
    """

    name: str
    scale: FeatureScale
    fit: Fit[MixtureParams, Any]
    shares: Floats
    loglik: float

    @property
    def classes(self) -> npt.NDArray[np.intp]:
        """Class of each row, from 0."""
        return np.asarray(self.shares.argmax(axis=1))

    @property
    def bic(self) -> float:
        """Twice the log-likelihood in the units of the table, less the parameters times log n."""
        return 2.0 * self.loglik - float(self.fit.model.n_free_parameters * np.log(len(self.shares)))

    @property
    def icl(self) -> float:
        """BIC less twice the entropy of the classes (Biernacki, Celeux & Govaert 2000, doi:10.1109/34.865189)."""
        from scipy.special import entr

        return self.bic - 2.0 * float(entr(self.shares).sum())

    @property
    def column(self) -> str:
        """Name of its column in classes.csv."""
        return f"{self.name} {self.scale.name}".replace(" ", "_").lower()
