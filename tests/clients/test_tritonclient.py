"""Triton's own HTTP client, in JSON mode, gets from the gateway what onnxruntime computed."""

import numpy
import pytest
import tritonclient.http as triton
from gateway import expected

CASES = [
    (model, version, index)
    for model, version in [("iris", "v1"), ("iris", "v2"), ("digits", "v1")]
    for index in range(len(expected(model, version)))
]


@pytest.fixture(scope="module")
def client(local):
    client = triton.InferenceServerClient(local.address)
    yield client
    client.close()


def test_server_and_models_are_live_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "v2")
    assert not client.is_model_ready("nosuchmodel")


def test_metadata_names_inputs_outputs_and_versions(client):
    assert client.get_server_metadata()["name"] == "pointsman"
    metadata = client.get_model_metadata("iris")
    assert metadata["name"] == "iris"
    assert metadata["versions"] == ["v1", "v2"]
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert [output["name"] for output in metadata["outputs"]] == ["label", "probabilities"]


@pytest.mark.parametrize(("model", "version", "index"), CASES)
def test_answers_are_those_of_onnxruntime(client, model, version, index):
    case = expected(model, version)[index]
    answer = client.infer(model, inputs(case), model_version=version)
    assert answer.get_response()["model_version"] == version
    assert_same(answer, case)


def test_a_request_without_version_is_answered_by_one_of_them(client):
    case = expected("iris", "v1")[0]
    answer = client.infer("iris", inputs(case), request_id="mine")
    assert answer.get_response()["id"] == "mine"
    version = answer.get_response()["model_version"]
    assert_same(answer, expected("iris", version)[0])


def test_chosen_outputs_only(client):
    case = expected("iris", "v1")[0]
    wanted = [triton.InferRequestedOutput("probabilities", binary_data=False)]
    answer = client.infer("iris", inputs(case), outputs=wanted, model_version="v1")
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["probabilities"]


def test_mistakes_are_told_to_the_client(client):
    case = expected("iris", "v1")[0]
    with pytest.raises(triton.InferenceServerException, match="no model of this name"):
        client.infer("nosuchmodel", inputs(case))
    wrong = triton.InferInput("input", [1, 3], "FP32")
    wrong.set_data_from_numpy(numpy.zeros((1, 3), numpy.float32), binary_data=False)
    with pytest.raises(triton.InferenceServerException) as error:
        client.infer("iris", [wrong], model_version="v1")
    assert error.value.status() == "400"


def inputs(case):
    """The case's inputs in the form that this client sends as JSON."""
    made = []
    for tensor in case["inputs"]:
        data = numpy.array(tensor["data"], triton.triton_to_np_dtype(tensor["datatype"]))
        made.append(triton.InferInput(tensor["name"], tensor["shape"], tensor["datatype"]))
        made[-1].set_data_from_numpy(data.reshape(tensor["shape"]), binary_data=False)
    return made


def assert_same(answer, case):
    for tensor in case["outputs"]:
        found = answer.as_numpy(tensor["name"])
        assert list(found.shape) == tensor["shape"]
        numpy.testing.assert_allclose(found.ravel(), tensor["data"], rtol=1e-4, atol=1e-6)
