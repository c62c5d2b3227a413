"""Makes hmmlearn.json: Baum-Welch of hmmlearn on the lambda genome, one row per pass, from written-down starts.

Run in an environment with hmmlearn 0.3.3: ``python hmmlearn_trace.py ../../resources/lambda.fa > hmmlearn.json``.
hmmlearn reports, after each iteration, the log-likelihood of the parameters before its M-step: row i of `loglik` is
therefore the log-likelihood at the start after i M-steps.
"""

import json
import sys

import hmmlearn
import numpy as np
from hmmlearn.hmm import CategoricalHMM

PASSES = 30
STARTS = {
    "two_states": {
        "start": [0.6, 0.4],
        "transition": [[0.99, 0.01], [0.02, 0.98]],
        "emission": [[0.30, 0.22, 0.18, 0.30], [0.21, 0.27, 0.31, 0.21]],
    },
    "three_states": {
        "start": [0.5, 0.3, 0.2],
        "transition": [[0.98, 0.01, 0.01], [0.02, 0.95, 0.03], [0.005, 0.015, 0.98]],
        "emission": [[0.33, 0.17, 0.17, 0.33], [0.25, 0.25, 0.25, 0.25], [0.20, 0.26, 0.34, 0.20]],
    },
}


def letters(path):
    with open(path) as file:
        text = "".join(line.strip() for line in file if not line.startswith(">"))
    return np.array(["ACGT".index(c) for c in text])[:, None]


def trace(codes, start):
    model = CategoricalHMM(
        n_components=len(start["start"]),
        n_features=4,
        implementation="scaling",
        params="ste",
        init_params="",
        n_iter=PASSES,
        tol=-np.inf,
    )
    model.startprob_ = np.array(start["start"])
    model.transmat_ = np.array(start["transition"])
    model.emissionprob_ = np.array(start["emission"])
    model.fit(codes)
    path_loglik, path = model.decode(codes)
    changes = np.flatnonzero(np.diff(path)) + 1
    return {
        **start,
        "loglik": list(model.monitor_.history),
        "final": {
            "start": model.startprob_.tolist(),
            "transition": model.transmat_.tolist(),
            "emission": model.emissionprob_.tolist(),
            "loglik": float(model.score(codes)),
            "viterbi_loglik": float(path_loglik),
            "viterbi_changes": changes.tolist(),
            "viterbi_states": path[np.concatenate([[0], changes])].tolist(),
            "posterior_every_1000": model.predict_proba(codes)[::1000].tolist(),
        },
    }


def main():
    codes = letters(sys.argv[1])
    result = {"tool": "hmmlearn", "version": hmmlearn.__version__, "numpy": np.__version__, "n_letters": len(codes)}
    result |= {name: trace(codes, start) for name, start in STARTS.items()}
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
