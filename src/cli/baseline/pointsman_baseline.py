"""Writes a baseline.json and a golden.jsonl for pointsman. Needs numpy only; `pointsman baseline --python` prints this file.

    import pointsman_baseline
    golden = pointsman_baseline.write_golden("golden.jsonl", inputs={"x": rows}, outputs={"p": answers}, labels=truth)
    pointsman_baseline.write("baseline.json", "fraud", "v7", features={"age": ages, "country": countries},
                             outputs={"p": scores}, scores=["p"], digest="sha256:...", golden=golden)

Columns are arrays in time order: numbers (NaN is NaN), truth values, or texts; in arrays of objects None, NaN and NA are
missing. They may be those of a pandas frame, whose empty fields are missing. The file is the one that
`pointsman baseline` makes of the same data, but for the last digits of numbers.
"""

import json
import os
import numpy as np


def _psi(p, q):
    """With half a count in each group, but where a side has nothing, no more than the other side has."""
    no_p, no_q = p == 0, q == 0
    p, q = ((c + 0.5) / (c.sum() + 0.5 * len(c)) for c in (p, q))
    p = np.where(no_p, np.minimum(p, q), p)
    q = np.where(no_q, np.minimum(p, q), q)
    return float(np.sum((p - q) * np.log(p / q)))


def _expected(counts, groups, size, tail):
    """What counts let expect in each group: of categories, rows of values that were seen once more than those of the tail
    count as unknown, as the next value that nobody has seen will."""
    sums = np.bincount(groups, counts, size)
    if tail is not None:
        moved, apart = counts[:-1][counts[:-1] == tail + 1].sum(), groups[:-1][groups[:-1] != groups[-1]]
        if moved and len(apart):
            sums = np.maximum(sums - moved / len(apart) * np.bincount(apart, minlength=size), 0)
            sums[groups[-1]] += moved
    return sums


def _noise(bins, groups, chunk, tail=None):
    """How far each chunk is from the rows without it. `bins` has -1 for what has no bin."""
    size, width = int(groups.max()) + 1, len(groups)
    counts, psis, sizes = np.bincount(bins[bins >= 0], minlength=width), [], []
    needed = max(10 * np.count_nonzero(_expected(counts, groups, size, tail)), 50)
    for at in range(0, len(bins) // chunk * chunk, chunk):
        rows = bins[at : at + chunk]
        inside = np.bincount(rows[rows >= 0], minlength=width)
        if inside.sum() >= needed:
            outside, apart = counts - inside, groups
            if tail is not None:
                apart = np.where(outside <= tail, groups[-1], groups)
            psis.append(_psi(np.bincount(apart, inside, size), _expected(outside, apart, size, tail)))
            sizes.append(inside.sum())
    if len(psis) < 5:
        return {}
    whole = int(np.floor(np.quantile(sizes, 0.5) + 0.5))
    return {"noise": {"chunk": whole, "psi_q50": float(np.quantile(psis, 0.5)), "psi_q999": float(np.quantile(psis, 0.999))}}


def _tail(counts):
    """Up to how often categories were seen that are not told from unknown ones."""
    known, total = counts[:-1], counts.sum()
    rows = lambda times: int(known[known == times].sum())
    fewest = int(known[known > 0].min()) if known.any() else 0
    first = fewest if counts[-1] > 0 and fewest < 0.01 * total else 0
    best = first
    for end in range(first + 1, first + 4):
        if rows(best + 1) <= 0.005 * total or end >= 0.01 * total:
            break
        best = end if rows(end + 1) < rows(best + 1) else best
    return best


def _numeric(values, gone, bins, chunk, even):
    with np.errstate(over="ignore"):
        x = np.clip(values, -np.finfo("f4").max, np.finfo("f4").max, where=np.isfinite(values), out=values.copy()).astype("f4")
    ok, points = np.sort(x[np.isfinite(x)]) + np.float32(0), np.array([], "f4")
    if even:
        edges = (even[0] + (even[1] - even[0]) * np.arange(1, bins) / bins).astype("f4")
    else:
        edges = np.unique(np.quantile(ok.astype("f8"), np.arange(1, bins) / bins).astype("f4") + np.float32(0)) if len(ok) else points
        found, count = np.unique(ok, return_counts=True)
        for k in np.lexsort((found, -count)):
            others = edges[(edges != found[k]) & ~np.isin(edges, points) & ~np.isin(edges, np.nextafter(points, np.float32(np.inf)))]
            if count[k] * bins > len(ok) and len(others) + 2 * (len(points) + 1) < 64:
                points = np.append(points, found[k])
        points = np.sort(points)
    with np.errstate(over="ignore"):
        after = np.nextafter(points, np.float32(np.inf))
    edges = edges[~np.isin(edges, points) & ~np.isin(edges, after)]
    cuts = np.unique(np.concatenate([edges, points, after]))
    of_row = np.where(np.isfinite(x), np.searchsorted(cuts, x, side="right"), -1)
    valid = of_row >= 0
    counts = np.bincount(of_row[valid], minlength=len(cuts) + 1)
    sums = np.bincount(of_row[valid], weights=x[valid].astype("f8"), minlength=len(cuts) + 1)
    middles = (np.cumsum(counts) - counts / 2) / max(len(ok), 1) * 10 + 1e-9
    tenths = np.minimum(middles.astype(int), 9)
    groups = np.concatenate([[0], np.cumsum(np.diff(tenths) != 0)])
    out = {"kind": "numeric", "n": len(ok), "edges": edges.tolist(), "point_masses": points.tolist(), "mass": (counts / max(len(ok), 1)).tolist()}
    out["means"] = [s / c if c else None for s, c in zip(sums.tolist(), counts.tolist())]
    out |= {"min": float(ok[0]), "max": float(ok[-1])} if len(ok) else {}
    shares = {"missing": float(gone.mean()), "nan": float((np.isnan(x) & ~gone).mean()), "infinite": float(np.isinf(x).mean())}
    return out | shares | _noise(of_row, groups, chunk)


def _categorical(values, gone, chunk):
    texts = np.array([str(v) for v in values[~gone]])
    found, inverse, count = np.unique(texts, return_inverse=True, return_counts=True)
    order = sorted(range(len(found)), key=lambda k: (-count[k], found[k].encode()))[:255]
    place = np.full(len(found), len(order))
    place[order] = np.arange(len(order))
    of_row = np.full(len(values), -1)
    of_row[~gone] = place[inverse]
    counts = np.bincount(of_row[~gone], minlength=len(order) + 1)
    total = max(counts.sum(), 1)
    tail = _tail(counts)
    told = int(np.count_nonzero(counts[:-1] > tail))  # The most frequent come first.
    often = min(int(np.count_nonzero((counts[:-1] >= 0.01 * counts.sum()) & (counts[:-1] > tail))), 19)
    shared = counts[often:told]
    weights = np.zeros(min(max(int(shared.sum() / total / 0.05), 1), 20 - often) if len(shared) else 0)
    groups = np.full(len(counts), often + len(weights))
    groups[:often] = np.arange(often)
    for k, count in enumerate(shared):
        lightest = int(np.argmin(weights))
        weights[lightest] += count
        groups[often + k] = often + lightest
    out = {"kind": "categorical", "n": int(counts.sum()), "values": [str(found[k]) for k in order], "mass": (counts[:-1] / total).tolist()}
    return out | {"other": float(counts[-1] / total), "missing": float(gone.mean())} | _noise(of_row, groups, chunk, tail)


def _boolean(values, gone, chunk):
    of_row = np.full(len(values), -1)
    of_row[~gone] = values[~gone].astype(bool).astype(int)
    counts = np.bincount(of_row[~gone], minlength=3)
    out = {"kind": "boolean", "n": int(counts.sum()), "mass": (counts[:2] / max(counts.sum(), 1)).tolist(), "other": 0.0}
    return out | {"missing": float(gone.mean())} | _noise(of_row, np.arange(3), chunk)


def _are_classes(numbers):
    """Whether the numbers of an output are names: whole, at most 20 different ones, that come twice each on average."""
    there = numbers[~np.isnan(numbers)]
    whole = len(there) > 0 and bool(np.all((there == np.floor(there)) & (np.abs(there) < 2**24)))
    return whole and len(np.unique(there)) <= min(20, len(there) / 2)


def _absent(value):
    """None, NaN, NaT and NA, which is not even unlike itself."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):
        return True


def feature(name, values, bins=60, chunk=1000, even=None, classes=False):
    """One feature of the file. `even` asks for equally wide bins between two numbers; `classes` takes a few whole numbers
    for names, as those of outputs are."""
    gone = np.asarray(values.isna(), bool) if hasattr(values, "isna") else None
    values = np.asarray(values)
    if gone is None:
        objects = values.dtype == object
        gone = np.array([_absent(v) for v in values] if objects else np.zeros(len(values)), bool)
    there = values[~gone]
    # What has gaps is an array of objects; what is in it says what it is.
    all_are = lambda *kinds: len(there) > 0 and all(isinstance(v, kinds) for v in there)
    if values.dtype == bool or (values.dtype == object and all_are(bool, np.bool_)):
        return {"name": name} | _boolean(values, gone, chunk)
    if np.issubdtype(values.dtype, np.number) or (values.dtype == object and all_are(int, float, np.number)):
        numbers = np.full(len(values), np.nan)
        numbers[~gone] = there.astype("f8")
        if classes and _are_classes(numbers.astype("f4")):
            names, gone = np.empty(len(numbers), object), np.isnan(numbers)
            names[~gone] = [int(v) for v in numbers[~gone]]
            return {"name": name} | _categorical(names, gone, chunk)
        return {"name": name} | _numeric(numbers, gone, bins, chunk, even)
    return {"name": name} | _categorical(values, gone, chunk)


def write(path, model, version, features, outputs=(), scores=(), numeric=(), **more):
    """Writes the file; `scores` are the outputs from 0 to 1, `numeric` those that are no classes though they have a few
    whole numbers only. `more`: digest, source, created, metrics, ..."""
    features, outputs = dict(features), dict(outputs)
    one = lambda k, v, classes: feature(k, v, 64, even=(0, 1)) if k in scores else feature(k, v, classes=classes)
    of = lambda columns, are_out: [one(k, v, are_out and k not in numeric) for k, v in columns.items()]
    rows = max(len(v) for v in [*features.values(), *outputs.values()])
    file = {"format": 1, "model": model, "version": version, "n": rows} | more
    with open(path, "w") as out:
        json.dump(file | {"features": of(features, False), "outputs": of(outputs, True)}, out, indent=1)


def _tensor(name, values):
    """One tensor of the Open Inference Protocol."""
    values = np.asarray(values)
    if values.dtype.kind in "fiub":
        bits = values.dtype.itemsize * 8
        datatype = {"f": f"FP{max(bits, 32)}", "i": f"INT{bits}", "u": f"UINT{bits}", "b": "BOOL"}[values.dtype.kind]
    else:
        values, datatype = np.vectorize(str, otypes=[object])(values), "BYTES"
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "data": values.ravel().tolist()}


def write_golden(path, inputs, outputs=(), labels=None, atol=1e-4, rtol=1e-3):
    """Writes recorded requests, one row each. Arrays by the names of the model's tensors, rows first: `inputs`, the
    `outputs` that the exported model answered, and the truth as `labels`; one of the two may be left out. Returns what
    `write` takes as `golden`."""
    rows = len(next(iter(inputs.values())))
    cut = lambda columns, at: [_tensor(name, np.asarray(column)[at : at + 1]) for name, column in dict(columns).items()]
    with open(path, "w") as out:
        for at in range(rows):
            case = {"inputs": cut(inputs, at)}
            case |= {"outputs": cut(outputs, at)} if outputs else {}
            case |= {"labels": np.asarray(labels)[at : at + 1].tolist()} if labels is not None else {}
            out.write(json.dumps(case) + "\n")
    return {"file": os.path.basename(path), "n": rows, "atol": atol, "rtol": rtol}
