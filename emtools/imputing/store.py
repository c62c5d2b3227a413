"""A fitted model of the rows of a table as one file, so that rows that come later can be filled with it."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from emtools.errors import InputError
from emtools.imputing.result import Imputation
from emtools.io.sniff import require_modest
from emtools.kernels.scales import Scale, scale_from_json
from emtools.models.censored_normal import CensoredNormal
from emtools.models.factor_analysis import FactorAnalysis, FactorParams
from emtools.models.incomplete_mixture import IncompleteMixture
from emtools.models.mixture import MixtureParams
from emtools.models.normal import MultivariateNormal, NormalParams
from emtools.models.stacked import Stacked, StackedParams
from emtools.models.student_t import StudentT, StudentTParams
from emtools.models.tabular import TableModel

# What damaged headers of arrays and of an archive raise beside these.
ODD = (
    TokenError,
    SyntaxError,
    NotImplementedError,
    AttributeError,
    OverflowError,
    RuntimeError,
    SystemError,
    zlib.error,
)
SCHEMA = "emtools-table-model-1"
COVARIANCES = ("covariance", "scatter", "covariances")
LEAST = {"weights": 0.0, "sizes": 1, "share": 0.0, "df": 0.0, "noise": 0.0}
SUM_OFF = 1e-6  # by which weights may miss 1
ASYMMETRY = 1e-6  # of correlations
# Axes of parameters: d columns, q factors, K components, M mixtures.
AXES = {
    "mean": "d", "location": "d", "covariance": "dd", "scatter": "dd", "loadings": "dq", "noise": "d", "df": "", "share": "",
    "sizes": "M", "weights": "K", "means": "Kd", "covariances": "Kdd",
}  # fmt: skip
PARAMS: Mapping[str, type] = {
    "multivariate_normal": NormalParams,
    "censored_normal": NormalParams,
    "student_t": StudentTParams,
    "factor_analysis": FactorParams,
    "incomplete_mixture": MixtureParams,
    "stacked_normal": StackedParams,
}


@dataclass(frozen=True)
class StoredModel:
    """A model that can fill rows.

    Parameters
    ----------
    model : TableModel
        Of the markers, then the columns of the design.
    params : object
        Its parameters.
    markers, units, design : tuple of str
        Names of the markers, their units, names of the columns of the design.
    scales : tuple of Scale
        Transform of each marker.
    covariates : mapping
        How the columns of the design are made of the columns of a table.
    """

    model: TableModel
    params: Any
    markers: tuple[str, ...]
    units: tuple[str, ...]
    design: tuple[str, ...]
    scales: tuple[Scale, ...]
    covariates: Mapping[str, Any]


def write_model(path: Path, imputation: Imputation, covariates: Mapping[str, Any] | None = None) -> None:
    """Write the model that filled a table: parameters to the last bit, names and scales.

    Parameters
    ----------
    path : Path
        Ends in .npz.
    imputation : Imputation
        What was fitted.
    covariates : mapping, optional
        How the columns of the design are made of the columns of a table, as JSON values.
    """
    model, params = imputation.filler.model, imputation.filler.params
    about = {
        "schema": SCHEMA,
        "model": model.name,
        "hyperparameters": small(model),
        "markers": imputation.markers,
        "units": imputation.units,
        "design": imputation.design,
        "scales": [scale.as_json() for scale in imputation.scales],
        "covariates": dict(covariates or {}),
    }
    arrays: dict[str, Any] = {name: np.asarray(getattr(params, name)) for name in names_of(params)}
    np.savez(path, about=np.asarray(json.dumps(about)), **arrays)


def small(model: TableModel) -> dict[str, Any]:
    """What makes the model again but for priors, which only a fit needs."""
    return {
        key: value
        for key, value in model.hyperparameters.items()
        if isinstance(value, (bool, int, float, str)) or value is None
    }


def names_of(params: Any) -> Sequence[str]:
    """Fields of parameters."""
    return [field.name for field in fields(params)]


def read_model(path: Path) -> StoredModel:
    """Read what `write_model` wrote.

    Raises
    ------
    InputError
        If the file is absent, damaged, or of another kind.
    """
    remedy = "give the model.npz of an `emtools impute` run"
    if not path.is_file():
        raise InputError(str(path), "there is no such file", "", remedy)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            require_modest(path, sum(part.file_size for part in parts), path.stat().st_size)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            about = json.loads(str(content["about"]))
            arrays = {name: content[name] for name in content.files if name != "about"}
        if about["schema"] != SCHEMA:
            raise InputError(str(path), f"the schema is {about['schema']!r}", SCHEMA, "use the emtools that wrote it")
        params = PARAMS[about["model"]](**{n: a if a.ndim else a.item() for n, a in arrays.items()})
        model = make(about["model"], about["hyperparameters"])
        require_sound(arrays, model)
        require_named(about, model)
        return StoredModel(
            model,
            params,
            tuple(about["markers"]),
            tuple(about["units"]),
            tuple(about["design"]),
            tuple(scale_from_json(scale) for scale in about["scales"]),
            about["covariates"],
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, *ODD) as error:
        raise InputError(str(path), f"not a stored model ({type(error).__name__})", "", remedy) from error


def require_sound(arrays: Mapping[str, Any], model: Any) -> None:
    """Raise ValueError for parameters that no fit has: of another shape, not finite, shares that are none, or a covariance that
    is not symmetric and positive definite."""
    sizes = {"d": model.n_features}
    if "weights" in arrays:
        sizes["K"] = int(arrays["sizes"].sum()) if "sizes" in arrays else model.n_components
    tied = getattr(model, "family", "full") == "tied"
    for name, array in arrays.items():
        axes = AXES[name][1:] if tied and name == "covariances" else AXES[name]
        if array.ndim != len(axes) or any(
            sizes.setdefault(axis, n) != n for axis, n in zip(axes, array.shape, strict=True)
        ):
            raise ValueError(name)
        if array.dtype != (np.int64 if name == "sizes" else np.float64) or not np.isfinite(array).all():
            raise ValueError(name)
        if (array < LEAST.get(name, -np.inf)).any() or (name == "share" and array > 1.0):
            raise ValueError(name)
        if name in COVARIANCES:
            np.linalg.cholesky(array)
            sd = np.sqrt(np.diagonal(array, axis1=-2, axis2=-1))
            if (np.abs(array - np.swapaxes(array, -1, -2)) > ASYMMETRY * sd[..., :, None] * sd[..., None, :]).any():
                raise ValueError(name)
    if "weights" in arrays:
        begins = np.concatenate([[0], np.cumsum(arrays["sizes"])[:-1]]) if "sizes" in arrays else [0]
        if (np.abs(np.add.reduceat(arrays["weights"], begins) - 1.0) > SUM_OFF).any():
            raise ValueError("weights")


def require_named(about: Mapping[str, Any], model: Any) -> None:
    """Raise ValueError where there is not a name, a unit and a scale for each column."""
    n_markers, n_design = len(about["markers"]), len(about["design"])
    if n_markers + n_design != model.n_features or not len(about["units"]) == len(about["scales"]) == n_markers:
        raise ValueError("markers")
    if not all(isinstance(name, str) for key in ("markers", "units", "design") for name in about[key]):
        raise ValueError("markers")


def make(name: str, told: Mapping[str, Any]) -> Any:
    """A model by its name."""
    d = int(told["n_features"])
    match name:
        case "multivariate_normal":
            return MultivariateNormal(d)
        case "censored_normal":
            return CensoredNormal(d)
        case "student_t":
            return StudentT(d)
        case "factor_analysis":
            return FactorAnalysis(d, int(told["n_factors"]), noise=told["noise"])
        case "stacked_normal":
            return Stacked(int(told["n_components"]), d)
        case _:
            return IncompleteMixture(int(told["n_components"]), d, family=told["family"])
