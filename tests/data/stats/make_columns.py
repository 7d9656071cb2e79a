#!/usr/bin/env python3
"""Makes columns.csv and columns.parquet: the same rows, not in time order, for the tests of `pointsman
baseline`.

    python -m venv .venv
    .venv/bin/pip install numpy==2.4.6 pandas==2.3.3 pyarrow==26.0.1
    .venv/bin/python tests/data/stats/make_columns.py
"""

import pathlib

import numpy as np
import pandas as pd

HERE = pathlib.Path(__file__).resolve().parent
ROWS = 6000


def main():
    rng = np.random.default_rng(9)
    rows = pd.DataFrame({
        "at": pd.date_range("2026-01-01", periods=ROWS, freq="min").strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x": np.where(rng.random(ROWS) < 0.02, np.nan, np.round(rng.normal(size=ROWS), 4)),
        "zeros": np.where(rng.random(ROWS) < 0.4, 0.0, np.round(rng.gamma(2.0, 1.0, ROWS), 3)),
        "code": rng.integers(0, 7, ROWS),
        "country": rng.choice(["de", "fr", "it", "Österreich"], ROWS, p=[0.6, 0.3, 0.097, 0.003]),
        "flag": rng.random(ROWS) < 0.3,
        "label": rng.integers(0, 2, ROWS),
        "p": np.round(rng.random(ROWS), 5),
    })
    rows = rows.sample(frac=1.0, random_state=1).reset_index(drop=True)
    rows["country"] = rows["country"].mask(rng.random(ROWS) < 0.01)
    rows.to_csv(HERE / "columns.csv", index=False)
    rows.astype({"country": "category", "x": "float64", "code": "int32"}).to_parquet(HERE / "columns.parquet", index=False)


if __name__ == "__main__":
    main()
