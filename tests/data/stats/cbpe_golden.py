"""Writes cbpe.json: an isotonic regression and what it lets expect, score by score. Numbers are texts.

    python tests/data/stats/cbpe_golden.py > tests/data/stats/cbpe.json
"""

import json

import numpy as np
from sklearn.isotonic import IsotonicRegression

rng = np.random.default_rng(11)
score = np.round(rng.beta(0.8, 1.6, 4000), 6)
truth = rng.random(4000) < score**1.4
fitted, held = slice(0, 2000), slice(2000, 4000)
isotonic = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(score[fitted], truth[fitted])
s = score[held]
c = isotonic.predict(s)
positive = s >= 0.5
tp, fp, fn = c[positive].sum(), (1 - c[positive]).sum(), c[~positive].sum()
order = np.argsort(s)
below, wins = 0.0, 0.0
for value in np.unique(s):
    of = c[s == value]
    wins += of.sum() * (below + (1 - of).sum() / 2)
    below += (1 - of).sum()
probes = np.linspace(0, 1, 41)


def text(x):
    return repr(float(x))


print(
    json.dumps(
        {
            "x": [text(x) for x in isotonic.X_thresholds_],
            "y": [text(y) for y in isotonic.y_thresholds_],
            "probes": [text(x) for x in probes],
            "chances": [text(x) for x in isotonic.predict(probes)],
            "scores": [text(x) for x in s],
            "accuracy": text(np.where(positive, c, 1 - c).mean()),
            "f1": text(2 * tp / (2 * tp + fp + fn)),
            "auc": text(wins / (c.sum() * (1 - c).sum())),
            "drawn_accuracy": text((positive == truth[held]).mean()),
            "mean_score": text(s.mean()),
        },
        separators=(",", ":"),
    )
)
