"""Writes quality.json: rows and what scikit-learn says about them. Numbers are texts, so that no reader rounds them.

    python tests/data/stats/quality_golden.py > tests/data/stats/quality.json

`exact` is the same metric with its sum rounded once (math.fsum), where scikit-learn adds with rounding.
"""

import json
import math

import numpy as np
import sklearn
from sklearn import metrics as m

MASK = (1 << 64) - 1


class Random:
    """SplitMix64."""

    def __init__(self, seed):
        self.x = seed

    def uniform(self):
        self.x = (self.x + 0x9E3779B97F4A7C15) & MASK
        z = self.x
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53

    def normal(self):
        return sum(self.uniform() for _ in range(12)) - 6.0


def texts(values):
    return {name: repr(float(value)) for name, value in values.items()}


def counted(truth, predicted):
    """Metrics of the confusion matrix."""
    return {
        "accuracy": m.accuracy_score(truth, predicted),
        "balanced_accuracy": m.balanced_accuracy_score(truth, predicted),
        "macro_f1": m.f1_score(truth, predicted, average="macro", zero_division=0),
        "micro_f1": m.f1_score(truth, predicted, average="micro", zero_division=0),
        "mcc": m.matthews_corrcoef(truth, predicted),
    }


def ece(probability, came_true, bins=15):
    """The definition of the product: the distance of the sums of each bin."""
    total = []
    for b in range(bins):
        rows = [i for i, p in enumerate(probability) if min(int(p * 15.0), bins - 1) == b]
        total.append(abs(math.fsum(probability[i] for i in rows) - sum(came_true[i] for i in rows)))
    return math.fsum(total) / len(probability)


def sequence(values, alpha=0.05):
    """An asymptotic confidence sequence for the mean of values (Waudby-Smith and others 2024, theorem 2.2), tightest at
    a hundred of them."""
    x = np.array(values)
    n, variance = len(x), float(np.var(x))
    rho = math.sqrt(-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / 10
    scale = n * variance * rho**2 + 1
    half = math.sqrt(scale / (n**2 * rho**2) * math.log(scale / alpha**2))
    return float(x.mean()) - half, float(x.mean()) + half


def clip(p):
    eps = np.finfo(float).eps
    return min(max(p, eps), 1 - eps)


def binary(seed, n, hard):
    random = Random(seed)
    truth, score = [], []
    for _ in range(n):
        positive = random.uniform() < 0.3
        x = random.normal() + (1.2 if positive else -0.4)
        score.append(round(min(max(0.5 + x / hard, 0.0), 1.0), 6))
        truth.append(int(positive))
    predicted = [int(p >= 0.5) for p in score]
    losses = [-math.log(clip(p if t else 1 - p)) for t, p in zip(truth, score)]
    squares = [(t - p) ** 2 for t, p in zip(truth, score)]
    counts = counted(truth, predicted) | {
        "precision": m.precision_score(truth, predicted),
        "recall": m.recall_score(truth, predicted),
        "f1": m.f1_score(truth, predicted),
    }
    sums = {"log_loss": m.log_loss(truth, score), "brier": m.brier_score_loss(truth, score)}
    exact = {
        "log_loss": math.fsum(losses) / n,
        "brier": math.fsum(squares) / n,
        "ece": ece(score, truth),
    }
    areas = {
        "auc": m.roc_auc_score(truth, score),
        "pr_auc": m.average_precision_score(truth, score),
    }
    rows = [[t, p, repr(s)] for t, p, s in zip(truth, predicted, score)]
    return {
        "rows": rows,
        "counts": texts(counts),
        "sums": texts(sums),
        "exact": texts(exact),
        "areas": texts(areas),
        "intervals": {"brier": [repr(min(max(end, 0.0), 2.0)) for end in sequence(squares)]},
    }


def classes(seed, n, k):
    random = Random(seed)
    truth, predicted, probabilities = [], [], []
    for _ in range(n):
        # The last class is never true, the first never predicted: what is missing must not be divided by.
        t = min(int(random.uniform() * random.uniform() * k), k - 2)
        raw = [random.uniform() ** 2 + (0.8 if c == t else 0.0) for c in range(k)]
        raw[0] *= 0.2
        # Sixty-fourths, so that they add up to one exactly.
        whole = [int(64 * r / sum(raw)) for r in raw]
        whole[1 + int(random.uniform() * (k - 1))] += 64 - sum(whole)
        row = [w / 64 for w in whole]
        truth.append(t)
        predicted.append(max(range(k), key=lambda c: row[c]))
        probabilities.append(row)
    losses = [-math.log(clip(row[t])) for t, row in zip(truth, probabilities)]
    squares = [sum(((c == t) - p) ** 2 for c, p in enumerate(row)) for t, row in zip(truth, probabilities)]
    labels = list(range(k))
    top = [row[p] for p, row in zip(predicted, probabilities)]
    right = [int(t == p) for t, p in zip(truth, predicted)]
    return {
        "classes": k,
        "rows": [[t, p, [repr(x) for x in row]] for t, p, row in zip(truth, predicted, probabilities)],
        "counts": texts(counted(truth, predicted)),
        "sums": texts(
            {
                "log_loss": m.log_loss(truth, probabilities, labels=labels),
                "brier": m.brier_score_loss(truth, probabilities, labels=labels, scale_by_half=False),
            }
        ),
        "exact": texts(
            {"log_loss": math.fsum(losses) / n, "brier": math.fsum(squares) / n, "ece": ece(top, right)}
        ),
        "intervals": {"brier": [repr(min(max(end, 0.0), 2.0)) for end in sequence(squares)]},
    }


def values(seed, n, offset, quantile):
    random = Random(seed)
    truth = [round(offset + 10 * random.normal(), 6) for _ in range(n)]
    predicted = [round(y + 3 * random.normal() + 0.5, 6) for y in truth]
    errors = [p - y for p, y in zip(predicted, truth)]
    return {
        "quantile": quantile,
        "tolerance": 2.5,
        "rows": [[repr(y), repr(p)] for y, p in zip(truth, predicted)],
        "sums": texts(
            {
                "mae": m.mean_absolute_error(truth, predicted),
                "rmse": m.root_mean_squared_error(truth, predicted),
                "r2": m.r2_score(truth, predicted),
                "pinball": m.mean_pinball_loss(truth, predicted, alpha=quantile),
            }
        ),
        "exact": texts(
            {
                "bias": math.fsum(errors) / n,
                "mae": math.fsum(abs(e) for e in errors) / n,
                "rmse": math.sqrt(math.fsum(e * e for e in errors) / n),
                "within_tolerance": sum(abs(e) <= 2.5 for e in errors) / n,
            }
        ),
        "intervals": {
            "mae": [repr(max(end, 0.0)) for end in sequence([abs(e) for e in errors])],
            "rmse": [repr(math.sqrt(max(end, 0.0))) for end in sequence([e * e for e in errors])],
        },
    }


print(
    json.dumps(
        {
            "scikit_learn": sklearn.__version__,
            "binary": [binary(1, 400, 4.0), binary(2, 300, 1.2), binary(3, 7, 4.0)],
            "classes": [classes(4, 400, 5), classes(5, 200, 7), classes(6, 5, 3)],
            "values": [values(7, 300, 0.0, 0.9), values(8, 300, 1e6, 0.1), values(9, 5, 0.0, 0.5)],
        },
        separators=(",", ":"),
    )
)
