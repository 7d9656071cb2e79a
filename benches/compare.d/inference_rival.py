#!/usr/bin/env python3
"""The other half of `benches/compare --only inference`: onnxruntime on one thread.

Takes the tasks of `benches/inference.rs` and answers in the same way. What is timed is `session.run` on
arrays that exist already, as a Python server calls it.
"""

import functools
import json
import sys
import time

import numpy as np
import onnxruntime


@functools.cache
def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@functools.cache
def inputs(path, shape):
    numbers, length = np.fromfile(path, np.float32), max(int(np.prod(shape)), 1)
    count = min(len(numbers) // length, 64)
    return [numbers[i * length : (i + 1) * length].reshape(shape) for i in range(count)]


def answer(task):
    model, name, shape = session(task["model"]), task["input"], tuple(task["shape"])
    batches, limit = inputs(task["rows"], shape), task["ms"] / 1e3
    if not limit:
        return {"outputs": [np.asarray(output).ravel().tolist() for output in model.run(None, {name: batches[0]})]}
    runs, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < limit:
        for batch in batches:
            model.run(None, {name: batch})
        runs += len(batches)
    return {"ns": (time.perf_counter() - begin) * 1e9 / runs}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
