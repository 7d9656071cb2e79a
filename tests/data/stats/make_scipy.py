#!/usr/bin/env python3
"""Makes scipy.json: what scipy, numpy and scikit-learn say, for the tests of `domain::stats`.

    python -m venv .venv
    .venv/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn mpmath
    .venv/bin/python tests/data/stats/make_scipy.py

small.json and distances.json stand beside it; they were made by the same libraries. Tails that are too
small for scipy are computed by mpmath with 50 digits. Everything is seeded.
"""

import json
import pathlib

import mpmath
import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import pairwise
from sklearn.preprocessing import KBinsDiscretizer

HERE = pathlib.Path(__file__).resolve().parent
mpmath.mp.dps = 50


def noncentral_tail(x, df, nc):
    """The Poisson mixture of central tails, in 50 digits."""
    mean, half, shape = mpmath.mpf(nc) / 2, mpmath.mpf(x) / 2, mpmath.mpf(df) / 2
    total, weight, j = mpmath.mpf(0), mpmath.exp(-mean), 0
    tail = mpmath.gammainc(shape, half, mpmath.inf, regularized=True)
    step = half**shape * mpmath.exp(-half) / mpmath.gamma(shape + 1)
    while True:
        total += weight * tail
        if j > max(mean, mpmath.sqrt(mean * half)) and weight * tail < total * mpmath.mpf(10) ** -30:
            return float(total)
        tail += step
        j += 1
        weight *= mean / j
        step *= half / (shape + j)


def main():
    out = {}
    out["chi2_sf"] = [
        [x, df, float(mpmath.gammainc(mpmath.mpf(df) / 2, mpmath.mpf(x) / 2, mpmath.inf, regularized=True))]
        for df in (1, 2, 9, 19, 63, 254)
        for x in (1e-3, 0.5, 4.0, 9.0, 25.0, 70.0, 300.0, 1200.0)
    ]
    grid = [
        (x, df, nc)
        for df in (1, 2, 9, 19, 63)
        for nc in (0.01, 1.0, 4.0, 18.2, 200.0, 3000.0)
        for x in (0.5, 9.0, 40.0, 120.0, 400.0, 1000.0, 3500.0)
    ]
    rows = []
    for x, df, nc in grid:
        exact = noncentral_tail(x, df, nc)
        scipy = float(stats.ncx2.sf(x, df, nc))
        if exact > 1e-12:
            assert abs(scipy - exact) <= 1e-8 * exact, (x, df, nc, exact, scipy)
        rows.append([x, df, nc, exact])
    out["ncx2_sf"] = rows

    rng = np.random.default_rng(5)
    columns = {
        "zeros": np.where(rng.random(800) < 0.4, 0.0, rng.gamma(2.0, 1.5, 800)),
        "counts": rng.poisson(4, 700).astype(float),
        "normal": rng.normal(3, 2, 501),
    }
    out["columns"] = {}
    for name, values in columns.items():
        values = values.astype(np.float32).astype(np.float64)
        binner = KBinsDiscretizer(
            n_bins=60, encode="ordinal", strategy="quantile", quantile_method="linear"
        ).fit(values[:, None])
        out["columns"][name] = {
            "values": values.tolist(),
            "edges": [float(np.float32(e)) for e in np.quantile(values, np.arange(1, 60) / 60)],
            "distinct": [float(np.float32(e)) for e in binner.bin_edges_[0][1:-1]],
        }

    tables = []
    for bins in (3, 10, 20):
        current = rng.integers(0, 300, bins)
        reference = rng.integers(1, 900, bins)
        current[0] = 0
        p, q = current / current.sum(), reference / reference.sum()
        table = stats.chi2_contingency(np.vstack([current, reference]), correction=False)
        tables.append({
            "current": [int(c) for c in current],
            "reference": [int(c) for c in reference],
            "chi2": float(table.statistic),
            "p": float(table.pvalue),
            "js_base2": float(jensenshannon(p, q, base=2)),
            "hellinger": float(pairwise.euclidean_distances([np.sqrt(p)], [np.sqrt(q)])[0, 0] / np.sqrt(2)),
            "total_variation": float(pairwise.manhattan_distances([p], [q])[0, 0] / 2),
            "l_infinity": float(np.max(np.abs(p - q))),
            "kl_qp": float(stats.entropy(p, q)),
        })
    out["tables"] = tables

    pairs = []
    for bins in (7, 40):
        at_p, at_q = np.sort(rng.normal(0, 1, bins)), np.sort(rng.normal(0.4, 1.3, bins))
        p, q = rng.dirichlet(np.ones(bins)), rng.dirichlet(np.ones(bins))
        pairs.append({
            "at_p": at_p.tolist(), "at_q": at_q.tolist(), "p": p.tolist(), "q": q.tolist(),
            "w1": float(stats.wasserstein_distance(at_p, at_q, p, q)),
        })
    out["transports"] = pairs

    ps = np.concatenate([rng.random(30), rng.random(6) * 1e-3])
    out["false_discovery"] = {
        "p": ps.tolist(),
        "rejected": [bool(r) for r in stats.false_discovery_control(ps) <= 0.05],
    }
    (HERE / "scipy.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
