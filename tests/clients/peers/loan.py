"""Makes a model of NannyML's synthetic car loans, what its baseline is made of, and the rows that come later.

    loan.py WHEEL DIRECTORY

With the rows comes what became of these loans.

The data ships in the wheel (Apache-2.0); nothing of the package is run. It changes at row 25,000 of the analysis
part: car_value, salary_range, loan_length and repaid_loan_on_prev_car (NannyML's documentation of the data).
"""

import csv
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = "nannyml/datasets/data"
COLUMNS = [
    "car_value",
    "salary_range",
    "debt_to_income_ratio",
    "loan_length",
    "repaid_loan_on_prev_car",
    "size_of_downpayment",
    "driver_tenure",
]
SALARIES = {"0 - 20K €": 0, "20K - 40K €": 1, "40K - 60K €": 2, "60K+ €": 3}
CHANGE, BEFORE, AFTER = 25_000, 10_000, 10_000


def number(column, text):
    if column == "salary_range":
        return SALARIES[text]
    if column == "repaid_loan_on_prev_car":
        return float(text == "True")
    return float(text.rstrip("%"))


def read(wheel, name):
    with zipfile.ZipFile(wheel) as files:
        text = files.read(f"{FOLDER}/{name}.csv").decode()
    return list(csv.DictReader(io.StringIO(text)))


def table(wheel, name):
    rows = read(wheel, name)
    values = np.array([[number(column, row[column]) for column in COLUMNS] for row in rows], dtype=np.float32)
    return rows, values


def main(wheel, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, values = table(wheel, "synthetic_car_loan_reference")
    labels = np.array([int(float(row["repaid"])) for row in rows])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(values, labels)
    onnx = to_onnx(model, values[:1], options={"zipmap": False}, target_opset=17)
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    names = ", ".join(f'"{column}"' for column in COLUMNS)
    (folder / "model.toml").write_text(f"[inputs.X]\nnames = [{names}]\n")
    with open(folder / "reference.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(values.tolist())
    _, later = table(wheel, "synthetic_car_loan_analysis")
    kept = slice(CHANGE - BEFORE, CHANGE + AFTER)
    targets = read(wheel, "synthetic_car_loan_analysis_target")
    repaid = [str(int(float(row["repaid"]))) for row in targets[kept]]
    told = {"change": BEFORE, "rows": later[kept].tolist(), "repaid": repaid}
    (folder / "rows.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
