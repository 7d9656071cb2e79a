"""Writes cbpe_nannyml.json: NannyML's work-from-home data (`synthetic_sample`), and what NannyML expects of them.

    python tests/data/stats/cbpe_nannyml.py nannyml-0.13.1-py3-none-any.whl > tests/data/stats/cbpe_nannyml.json

Scores have two decimals, so that counts by score are all of them. The isotonic regression is scikit-learn's, fitted on
the reference part as NannyML does. `accuracy` and `roc_auc` are the numbers of NannyML's own tests
(tests/performance_estimation/CBPE), of the first 20 000 rows of the analysis part and of the rest; the accuracy is
calculated here as well, from the scores one by one, and must be the same.
"""

import csv
import io
import json
import sys
import zipfile

import numpy as np
from sklearn.isotonic import IsotonicRegression

PUBLISHED = {
    "accuracy": [0.9478536003, 0.9245926107],
    "roc_auc": [0.9711057564966745, 0.9636286015592977],
}


def part(wheel, name):
    with wheel.open(f"nannyml/datasets/data/synthetic_sample_{name}.csv") as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))
    wanted = ["y_pred_proba", "y_pred"] + (["work_home_actual"] if name == "reference" else [])
    return [np.array([float(row[column]) for row in rows]) for column in wanted]


with zipfile.ZipFile(sys.argv[1]) as wheel:
    score, _, truth = part(wheel, "reference")
    scores, predicted = part(wheel, "analysis")
isotonic = IsotonicRegression(out_of_bounds="clip", increasing=True).fit(score, truth)
chunks = []
for at, rows in enumerate([slice(0, 20_000), slice(20_000, None)]):
    s, named = scores[rows], predicted[rows] == 1
    chance = isotonic.predict(s)
    accuracy = float(np.where(named, chance, 1 - chance).mean())
    assert abs(accuracy - PUBLISHED["accuracy"][at]) < 1e-10, accuracy
    # What is predicted follows from the score alone.
    assert s[named].min() > s[~named].max()
    of, count = np.unique(s, return_counts=True)
    chunks.append(
        {
            "scores": [repr(float(x)) for x in of],
            "counts": [int(n) for n in count],
            "threshold": repr(float((s[named].min() + s[~named].max()) / 2)),
            "accuracy": repr(accuracy),
            "roc_auc": repr(PUBLISHED["roc_auc"][at]),
        }
    )
x, y = isotonic.X_thresholds_, isotonic.y_thresholds_
points = {"x": [repr(float(x)) for x in x], "y": [repr(float(y)) for y in y]}
print(json.dumps(points | {"chunks": chunks}, separators=(",", ":")))
