"""TF Serving's REST calls, as its clients make them: the same answers in process and from servers that speak another protocol."""

import json
import urllib.error
import urllib.request

import numpy
import pytest
from iris_cases import LABELS, ROWS, assert_right
from services import services

WAYS = ["in process", "triton", "mlserver"]


@pytest.fixture(scope="module", params=WAYS)
def service(request, tmp_path_factory):
    yield from services(request.param, tmp_path_factory.mktemp("tfs"))


def call(service, path, body=None):
    """Status and body of a call; a body makes it a POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{service.http}{path}", data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


PATHS = ["/v1/models/iris:predict", "/v1/models/iris/versions/v1:predict"]


@pytest.mark.parametrize("path", PATHS)
def test_rows_in_rows_out(service, path):
    status, answer = call(service, path, {"instances": ROWS.tolist()})
    assert status == 200
    assert list(answer) == ["predictions"]
    rows = answer["predictions"]
    assert_right([row["label"] for row in rows], [row["probabilities"] for row in rows])


def test_named_rows(service):
    status, answer = call(service, PATHS[0], {"instances": [{"input": row} for row in ROWS.tolist()]})
    assert status == 200
    assert numpy.ravel([row["label"] for row in answer["predictions"]]).tolist() == LABELS.tolist()


@pytest.mark.parametrize("named", [True, False], ids=["named", "bare"])
def test_columns_in_columns_out(service, named):
    inputs = {"input": ROWS.tolist()} if named else ROWS.tolist()
    status, answer = call(service, PATHS[0], {"signature_name": "serving_default", "inputs": inputs})
    assert status == 200
    assert list(answer) == ["outputs"]
    assert_right(answer["outputs"]["label"], answer["outputs"]["probabilities"])


def test_status_and_metadata(service):
    status, answer = call(service, "/v1/models/iris")
    assert status == 200
    entry = answer["model_version_status"][0]
    assert entry["state"] == "AVAILABLE"
    assert entry["status"] == {"error_code": "OK", "error_message": ""}
    status, answer = call(service, "/v1/models/iris/metadata")
    assert status == 200
    assert answer["model_spec"]["name"] == "iris"
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["input"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in signature["inputs"]["input"]["tensor_shape"]["dim"]] == ["-1", "4"]
    assert set(signature["outputs"]) == {"label", "probabilities"}


BROKEN = {
    "neither form": {"rows": []},
    "both forms": {"instances": [[1, 2, 3, 4]], "inputs": [[1, 2, 3, 4]]},
    "ragged rows": {"instances": [[1, 2, 3, 4], [1, 2, 3]]},
    "words for numbers": {"instances": [["a", "b", "c", "d"]]},
    "no such input": {"inputs": {"other": [[1, 2, 3, 4]]}},
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_mistakes_are_the_clients(service, mistake):
    status, answer = call(service, PATHS[0], BROKEN[mistake])
    assert status == 400
    assert answer["error"]


def test_unknown_models_and_versions(service):
    assert call(service, "/v1/models/nosuchmodel:predict", {"instances": [[1]]})[0] == 404
    assert call(service, "/v1/models/nosuchmodel")[0] == 404
    assert call(service, "/v1/models/iris/versions/999:predict", {"instances": ROWS.tolist()})[0] == 404
