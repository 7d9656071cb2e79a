"""What numpy, scipy, scikit-learn and river say about the same data: a line of JSON asks, a line answers.

Owns the definitions of the documentation once more, written for these libraries, and models that answer what they
are asked. Knows nothing of the gateway's code.
"""

import json
import sys
import warnings

import numpy as np
import onnx
from river import drift
from scipy import optimize, special, stats
from scipy.spatial import distance
from sklearn import metrics

OWN_CHANCE = 1e-4


def model(path, columns, output, first_only):
    """Writes a model that answers with its input `x`, or with the first column of it."""
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    shape = lambda width: ["rows", width]
    nodes = [helper.make_node("Identity", ["x"], [output])]
    constants = []
    if first_only:
        nodes = [helper.make_node("Gather", ["x", "first"], [output], axis=1)]
        constants = [helper.make_tensor("first", onnx.TensorProto.INT64, [1], [0])]
    graph = helper.make_graph(
        nodes,
        path,
        [helper.make_tensor_value_info("x", single, shape(columns))],
        [helper.make_tensor_value_info(output, single, shape(1 if first_only else columns))],
        constants,
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def cuts_of(edges, points):
    """The cuts of a numeric feature: each frequent value lies between itself and the next float."""
    points = np.asarray(points, "f4")
    return np.unique(np.concatenate([np.asarray(edges, "f4"), points, np.nextafter(points, np.float32(np.inf))]))


def quantile_edges(values, bins=60):
    """The edges that a baseline of these values has, and the values with a bin of their own."""
    finite = np.asarray(values, "f8").astype("f4")
    finite = np.sort(finite[np.isfinite(finite)])
    edges = np.unique(np.quantile(finite.astype("f8"), np.arange(1, bins) / bins).astype("f4"))
    known, counts = np.unique(finite, return_counts=True)
    points = known[counts * bins > len(finite)]
    taken = np.concatenate([points, np.nextafter(points, np.float32(np.inf))])
    return edges[~np.isin(edges, taken)].tolist(), points.tolist()


def tenths(reference):
    """Neighbouring bins whose middles lie in the same tenth of the reference."""
    middles = (np.cumsum(reference) - reference / 2) / reference.sum()
    tenth = np.minimum(np.floor(middles * 10 + 1e-9), 9)
    return np.concatenate([[0], np.cumsum(np.diff(tenth) != 0)]).astype(int)


def tail_end(reference):
    """Up to how often values were seen that are as good as unknown: the first count with next to nothing above it."""
    known, total = reference[:-1].round(), reference.sum()
    ends = [int(known[known > 0].min())] if reference[-1] and known.any() else [0]
    ends = ends if ends[0] < total / 100 else [0]
    ends += [ends[0] + more for more in (1, 2, 3) if ends[0] + more < total / 100]
    rows = [(end + 1) * np.count_nonzero(known == end + 1) for end in ends]
    for place, moved in enumerate(rows):
        if moved <= total / 200:
            return ends[int(np.argmin(rows[: place + 1]))]
    return ends[int(np.argmin(rows))]


def categories(reference):
    """Frequent values by themselves, the others in groups of like weight, and unknown ones with those of the tail."""
    known, total = reference[:-1], reference.sum()
    order = np.lexsort((np.arange(len(known)), -known))
    order = order[known[order].round() > tail_end(reference)]
    frequent = min(int((known[order] >= total / 100).sum()), 19)
    rare = order[frequent:]
    shared = min(max(int(known[rare].sum() / total / 0.05), 1), 20 - frequent) if len(rare) else 0
    groups = np.full(len(reference), frequent + shared)
    groups[order[:frequent]] = np.arange(frequent)
    weights = np.zeros(shared)
    for place in rare:
        lightest = int(np.argmin(weights))
        weights[lightest] += known[place]
        groups[place] = frequent + lightest
    return groups


def expected(groups, reference):
    """Good and Turing's estimate of what comes, in groups: rows of values just above the tail count for it, and all
    values that are told apart give the same for them."""
    told, end = groups[:-1] != groups[-1], tail_end(reference) + 1
    moved = end * np.count_nonzero(reference[:-1].round() == end)
    if not moved or not told.any():
        return np.bincount(groups, reference)
    masses = reference.copy()
    masses[:-1][told] -= moved / told.sum()
    masses[-1] += moved
    return np.bincount(groups, masses)


def psi(current, reference):
    """On shares with half a count each; what a side has nothing of is no larger there than the other side's."""
    used = (current + reference) > 0
    current, reference = current[used], reference[used]
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (current, reference))
    p, q = np.where(current == 0, np.minimum(p, q), p), np.where(reference == 0, np.minimum(p, q), q)
    return float((special.rel_entr(p, q) + special.rel_entr(q, p)).sum()), int(used.sum())


def margin_test(index, groups, n, m, df, margin, noise):
    """The index against the margin, which the noise of the baseline and its own error widen."""
    dispersion, seasonal, chunk = 1.0, 0.0, 0.0
    if noise and df > 0:
        chunk = noise["chunk"]
        size = chunk * (m - chunk) / m
        dispersion = max(noise["psi_q50"] * size / stats.chi2.median(df), 1.0)
        tail = max(1 / (m // chunk + 1), 0.001)
        seasonal = max(noise["psi_q999"] - dispersion * stats.chi2.isf(tail, df) / size, 0.0)
    own = dispersion * stats.chi2.isf(OWN_CHANCE, df) / m if df > 0 else 0.0
    whole = max(margin, seasonal * max(chunk / n, 1.0)) + own
    size = n * m / (n + m) / dispersion
    p = float(stats.ncx2.sf(size * index, groups - 1, size * whole)) if groups > 1 else 1.0
    return {"margin": float(whole), "dispersion": float(dispersion), "p": p}


def divergences(of_bin, current, reference, margin, noise, known=None):
    """All that is said about counts of bins, with the groups that they are gathered in; `known` is what the reference
    lets expect in them, if that is not its own sums."""
    gathered = np.bincount(of_bin, current)
    known = np.bincount(of_bin, reference) if known is None else known
    p, q = gathered / gathered.sum(), known / known.sum()
    index, groups = psi(gathered, known)
    said = {
        "psi": index,
        "groups": groups,
        "jensen_shannon": float(distance.jensenshannon(p, q, base=2)),
        "hellinger": float(distance.euclidean(np.sqrt(p), np.sqrt(q)) / np.sqrt(2)),
        "l_infinity": float(distance.chebyshev(current / current.sum(), reference / reference.sum())),
        "chi_squared": [0.0, 0, 1.0],
    }
    table = np.array([gathered, known])[:, gathered + known > 0]
    if groups > 1:
        pearson = stats.chi2_contingency(table, correction=False)
        said["chi_squared"] = [float(pearson.statistic), int(pearson.dof), float(pearson.pvalue)]
    used = int((known > 0).sum())
    n, m, needed = current.sum(), reference.sum(), max(10 * used, 50)
    if min(n, m) >= needed and len(known) > 1:
        said["margin_test"] = margin_test(index, groups, n, m, used - 1, margin, noise)
    return said


def numeric(baseline, current, edges, points, margin, noise):
    """A numeric feature: the raw values of both sides, and the edges between bins."""
    sides = [np.asarray(values, "f8").astype("f4") for values in (current, baseline)]
    finite = [values[np.isfinite(values)] for values in sides]
    cuts = cuts_of(edges, points)
    bins = [np.searchsorted(cuts, values, side="right") for values in finite]
    counts = [np.bincount(places, minlength=len(cuts) + 1) for places in bins]
    now, then = (values.astype("f8") for values in finite)
    said = divergences(tenths(counts[1].astype("f8")), *(c.astype("f8") for c in counts), margin, noise)
    shares = [np.cumsum(c / c.sum()) for c in counts]
    return said | {
        "counts": counts[0].tolist(),
        "baseline_counts": counts[1].tolist(),
        "mean": float(now.mean()),
        "nan": float(np.isnan(sides[0]).mean()),
        "infinite": float(np.isinf(sides[0]).mean()),
        "ks": float(stats.ks_2samp(now, then, method="asymp").statistic),
        "ks_at_edges": float(np.abs(shares[0] - shares[1]).max()),
        "widest_bin": float(max((c / c.sum()).max() for c in counts)),
        "wasserstein": float(stats.wasserstein_distance(now, then)),
        "spread": float(max(now.max(), then.max()) - min(now.min(), then.min())),
    }


def categorical(baseline, current, values, margin, noise, boolean=False):
    """A feature of names: both sides as texts, null where nothing is."""
    places, other = {value: place for place, value in enumerate(values)}, len(values)
    bins = lambda side: np.array([places.get(text, other) for text in side if text is not None], int)
    known = [bins(side) for side in (current, baseline)]
    counts = [np.bincount(side, minlength=other + 1) for side in known]
    sides = [c.astype("f8") for c in counts]
    of_bin = np.arange(other + 1) if boolean else categories(sides[1])
    known = None if boolean else expected(of_bin, sides[1])
    return divergences(of_bin, *sides, margin, noise, known) | {
        "counts": counts[0].tolist(),
        "baseline_counts": counts[1].tolist(),
        "unknown": float(counts[0][-1] / counts[0].sum()),
    }


def discoveries(ps):
    """Which p-values are marked at a false discovery rate of 5 %."""
    return (stats.false_discovery_control(ps, method="bh") <= 0.05).tolist()


def sample_ratio(counts, concentration=1000):
    """Two arms that are meant to be equal: the chance of their counts, from the Bayes factor of a Dirichlet mixture."""
    n, half = sum(counts), np.array([0.5, 0.5])
    mixed = stats.dirichlet_multinomial.logpmf(counts, concentration * half, n)
    return float(min(np.exp(stats.multinomial.logpmf(counts, n, half) - mixed), 1.0))


def rate(successes, n, alpha=0.05):
    """Robbins' confidence sequence of a rate: where the uniform mixture of likelihood ratios reaches 1/alpha."""
    mixture = special.betaln(successes + 1, n - successes + 1) + np.log(alpha)
    gain = lambda p: mixture - special.xlogy(successes, p) - special.xlog1py(n - successes, -p)
    peak = successes / n
    lower = optimize.brentq(gain, 1e-300, peak, xtol=1e-15) if successes else 0.0
    upper = optimize.brentq(gain, peak, 1 - 1e-16, xtol=1e-15) if successes < n else 1.0
    return [lower, upper]


def sequence(n, variance, alpha):
    """Half the width of the asymptotic confidence sequence of a mean, tightest at a hundred values (Waudby-Smith and
    others, theorem 2.2)."""
    log = -2 * np.log(alpha)
    rho = np.sqrt((log + np.log(log) + 1) / 100)
    scale = n * variance * rho**2 + 1
    return np.sqrt(scale / (n * rho) ** 2 * np.log(scale / alpha**2))


def mean(values, alpha=0.05):
    values = np.asarray(values, "f8")
    half = sequence(len(values), values.var(), alpha)
    return [float(values.mean() - half), float(values.mean() + half)]


def calibration_error(shares, came_true):
    """Fifteen equal bins; the mean distance of the mean probability from the share that came true."""
    shares, came_true = np.asarray(shares, "f8"), np.asarray(came_true, "f8")
    places = np.minimum((shares * 15).astype(int), 14)
    bins = [places == place for place in set(places)]
    return float(sum(abs(shares[bin].mean() - came_true[bin].mean()) * bin.mean() for bin in bins))


def classes(truth, predicted, shares, names, positive):
    """Classes by their names; `shares` has a column for each, or is null."""
    said = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "macro_f1": metrics.f1_score(truth, predicted, average="macro", zero_division=0),
        "micro_f1": metrics.f1_score(truth, predicted, average="micro"),
        "mcc": metrics.matthews_corrcoef(truth, predicted),
    }
    if positive is not None:
        of = {"pos_label": names[positive], "average": "binary", "zero_division": 0}
        if len(names) > 2:
            of = {"labels": [names[positive]], "average": "macro", "zero_division": 0}
        for name in ("precision", "recall", "f1"):
            said[name] = getattr(metrics, f"{name}_score")(truth, predicted, **of)
    holds = {}
    if shares is not None:
        shares = np.asarray(shares, "f8")
        places = np.array([names.index(name) for name in truth])
        said["log_loss"] = metrics.log_loss(places, shares, labels=range(len(names)))
        if positive is not None and len(names) == 2:
            said["brier"] = metrics.brier_score_loss(places == positive, shares[:, positive], pos_label=True)
        else:
            said["brier"] = metrics.brier_score_loss(places, shares, labels=range(len(names)), scale_by_half=False)
        if positive is None:
            own = np.array([names.index(name) for name in predicted])
            said["ece"] = calibration_error(shares[np.arange(len(own)), own], own == places)
        else:
            said["ece"] = calibration_error(shares[:, positive], places == positive)
            holds["auc"] = metrics.roc_auc_score(places == positive, shares[:, positive])
            holds["pr_auc"] = metrics.average_precision_score(places == positive, shares[:, positive])
        apart = (np.eye(len(names))[places] - shares) ** 2
        squares = apart[:, positive] if positive is not None and len(names) == 2 else apart.sum(axis=1)
        losses = -np.log(np.clip(shares[np.arange(len(places)), places], np.finfo("f8").eps, 1 - np.finfo("f8").eps))
        sequences = {"log_loss": mean(losses), "brier": mean(squares)}
    else:
        sequences = {}
    right = int(np.sum(np.array(truth) == np.array(predicted)))
    sequences["accuracy"] = rate(right, len(truth))
    present = sorted(set(truth) | set(predicted))
    matrix = metrics.confusion_matrix(truth, predicted, labels=present)
    cells = [[t, p, int(matrix[i, j])] for i, t in enumerate(present) for j, p in enumerate(present) if matrix[i, j]]
    return {"said": {k: float(v) for k, v in said.items()}, "holds": holds, "sequences": sequences, "confusion": cells}


def numbers(truth, predicted, quantile, tolerance):
    truth, predicted = np.asarray(truth, "f8"), np.asarray(predicted, "f8")
    errors = predicted - truth
    said = {
        "bias": errors.mean(),
        "mae": metrics.mean_absolute_error(truth, predicted),
        "rmse": metrics.root_mean_squared_error(truth, predicted),
        "r2": metrics.r2_score(truth, predicted),
        "pinball": metrics.mean_pinball_loss(truth, predicted, alpha=quantile),
        "within_tolerance": (np.abs(errors) <= tolerance).mean(),
    }
    within = int((np.abs(errors) <= tolerance).sum())
    squares = np.sqrt(np.maximum(mean(errors**2), 0)).tolist()
    sequences = {"bias": mean(errors), "mae": mean(np.abs(errors)), "rmse": squares}
    sequences["within_tolerance"] = rate(within, len(errors))
    return {"said": {k: float(v) for k, v in said.items()}, "holds": {}, "sequences": sequences}


DETECTORS = {
    "adwin": drift.ADWIN,
    "page_hinkley": drift.PageHinkley,
    "ddm": drift.binary.DDM,
    "eddm": drift.binary.EDDM,
    "hddm_a": drift.binary.HDDMA,
    "hddm_w": drift.binary.HDDMW,
    "fhddm": drift.binary.FHDDM,
}


def changes(kind, errors):
    """How many values each detector had seen when it alarmed. FHDDM is fed with successes."""
    detector, found = DETECTORS[kind](), []
    for seen, error in enumerate(errors, start=1):
        detector.update(1 - error if kind == "fhddm" else error)
        if detector.drift_detected:
            found.append(seen)
    return found


def worse(hours, alpha=0.05, rate=0.02, weight=1.8, ratio=9.0):
    """Two versions hour by hour, each as (errors, n) of the control and of the candidate: the e-value of Turner, Ly
    and Gruenwald, and the difference with the control's hours weighted as the candidate's."""
    (ka, na), (kb, nb), gain = (rate * weight * ratio, weight * ratio), (rate * weight, weight), 0.0
    for (bad, n), (bad_too, m) in hours:
        a = ka / na
        b = max(kb / nb, a)
        both = (n * a + m * b) / (n + m)
        law = stats.binom.logpmf
        gain += law(bad, n, a) - law(bad, n, both) + law(bad_too, m, b) - law(bad_too, m, both)
        ka, na, kb, nb = ka + bad, na + n, kb + bad_too, nb + m
    (bad, n), (bad_too, m) = np.array(hours, "f8").transpose(1, 2, 0)
    own, weights = bad_too.sum() / m.sum(), m / m.sum()
    control, size = np.average(bad / n, weights=weights), int(1 / (weights**2 / n).sum())
    half = sequence(m.sum(), own * (1 - own), alpha / 2) + sequence(size, control * (1 - control), alpha / 2)
    apart = own - control
    return {"ln_evidence": float(gain), "difference": apart, "lower": float(apart - half), "upper": float(apart + half)}


ASKED = {
    function.__name__: function
    for function in (
        model, quantile_edges, numeric, categorical, discoveries, sample_ratio,
        rate, mean, classes, numbers, changes, worse,
    )
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(ASKED[name](**arguments)), flush=True)
