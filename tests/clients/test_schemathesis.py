"""What the REST schema promises holds for requests that nobody thought of: schemathesis finds no 500 and no violation.

The schema leaves names open, and random ones meet no model. So copies of it name the models that are served,
and know one request that a model takes: predictions, metadata, configurations and statistics are reached. The same
is asked of the schema that others have written for the protocol, which MLServer's package brings along.
"""

import json
import re
import subprocess

import pytest
from gateway import LOCAL_MODELS, TOP, free_port
from peers import CACHE

SCHEMA = TOP / "src" / "protocol" / "open_inference" / "openapi.json"
PROGRAM = CACHE / "venv-schemathesis" / "bin" / "schemathesis"
LIMIT_S = 400

# All but one: that every request that fits the schema is accepted. Which tensors a model takes, no schema tells.
NOT_PROMISED = "positive_data_acceptance"
# Nor where there are models: a request whose JSON has no bytes is one tensor, of no rows if the body is empty.
NOT_PROMISED_WITH_NAMES = f"{NOT_PROMISED},negative_data_rejection"
# Of a schema that is not ours: its statuses are those of another server, and so is what it refuses.
PROMISED_TO_ALL = "not_a_server_error,response_schema_conformance,content_type_conformance"

NAMES = {
    ("model", "model_name"): ["iris", "digits"],
    ("version", "model_version"): ["v1", "v2"],
}
# Models of backends: that speak each of these, that speak nothing, that are not there.
DIALECTS = ["open_inference", "open_inference_grpc", "kserve_v1", "tensorflow_serving", "torchserve", "sagemaker"]
GONE = ["gone", "unknown", "passing"]
# Their refusals are the gateway's words about them, 502 and the like among them.
NOT_PROMISED_OF_BACKENDS = f"{NOT_PROMISED_WITH_NAMES},not_a_server_error"
# Paths of the other schema that are no part of the protocol.
FOREIGN = re.compile("/(infer_stream|generate|generate_stream)$")

NUMBER = {"type": "number", "minimum": -1e6, "maximum": 1e6}
IRIS_ROW = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "additionalProperties": False,
    "properties": {
        "name": {"const": "input"},
        "shape": {"const": [1, 4]},
        "datatype": {"const": "FP32"},
        "data": {"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4},
    },
}
IRIS_OUTPUT = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"enum": ["label", "probabilities"]},
        "parameters": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"classification": {"type": "integer", "minimum": 1, "maximum": 3}},
        },
    },
}
IRIS_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": IRIS_ROW, "minItems": 1, "maxItems": 1},
        "outputs": {"type": "array", "items": IRIS_OUTPUT, "maxItems": 1},
    },
}


def with_names(text, names=NAMES):
    """A schema whose paths lead to models that there are, and whose requests sometimes fit one."""
    # There is no type of that name.
    schema = json.loads(text.replace('"type": "bytes"', '"type": "string"'))
    for path in [path for path in schema["paths"] if FOREIGN.search(path)]:
        del schema["paths"][path]
    for item in schema["paths"].values():
        parameters = [*item.get("parameters", [])]
        parameters += [one for method in ("get", "post") for one in item.get(method, {}).get("parameters", [])]
        for parameter in parameters:
            for known, values in names.items():
                if parameter["in"] == "path" and parameter["name"] in known:
                    parameter["schema"] = {"type": "string", "enum": values}
    schemas = schema["components"]["schemas"]
    request = next(name for name in ("InferenceRequest", "inference_request") if name in schemas)
    schemas[request] = {"anyOf": [IRIS_REQUEST, schemas[request]]}
    return schema


def predictions(gateway):
    """How many predictions went well."""
    series = r'^pointsman_requests_total\{model="iris",version="v.",pool="",outcome="ok"\} (\S+)$'
    return sum(float(value) for value in re.findall(series, gateway.metrics(), re.MULTILINE))


def check(gateway, folder, schema, *checks):
    """Runs schemathesis, which must find nothing."""
    file = folder / "openapi.json"
    file.write_text(json.dumps(schema))
    command = [
        *(PROGRAM, "run", file, "--url", gateway.url, *checks),
        *("--max-examples", "30", "--seed", "1", "--no-color"),
    ]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]


@pytest.fixture
def gateway(start_gateway):
    if not PROGRAM.exists():
        pytest.skip(f"there is no {PROGRAM}: run tests/setup test")
    started = start_gateway(LOCAL_MODELS + "[protocols]\nrepository = true\n")
    yield started
    started.stop()


def test_no_500_and_no_answer_outside_the_schema(gateway, tmp_path):
    check(gateway, tmp_path, json.loads(SCHEMA.read_text()), "--exclude-checks", NOT_PROMISED)


def test_the_same_for_models_that_there_are(gateway, tmp_path):
    check(gateway, tmp_path, with_names(SCHEMA.read_text()), "--exclude-checks", NOT_PROMISED_WITH_NAMES)
    assert predictions(gateway) >= 10


def test_what_is_said_of_models_of_backends_is_in_the_schema(gateway, start_gateway, tmp_path):
    def version(model, port, more):
        return f'[models.{model}.versions.v1]\nbackends = ["http://127.0.0.1:{port}"]\n{more}'

    def spoken(dialect):
        return f'dialect = "{dialect}"\nremote_model = "iris"\n'

    port = free_port()
    models = [version(dialect, gateway.port, spoken(dialect)) for dialect in DIALECTS]
    models += [version(model, port, more) for model, more in zip(GONE, (spoken("open_inference"), spoken("ask"), ""))]
    front = start_gateway("".join(models) + "[protocols]\nrepository = true\n", "front")
    names = {("model", "model_name"): DIALECTS + GONE, ("version", "model_version"): ["v1"]}
    schema = with_names(SCHEMA.read_text(), names)
    check(front, tmp_path, schema, "--exclude-checks", NOT_PROMISED_OF_BACKENDS)
    front.stop()


def test_the_same_for_the_schema_that_others_have_written(gateway, tmp_path):
    package = "lib/python3.*/site-packages/mlserver/rest/openapi/dataplane.json"
    file = next((CACHE / "venv-mlserver").glob(package), None)
    if file is None:
        pytest.skip(f"MLServer is not installed in {CACHE / 'venv-mlserver'}: run tests/setup test")
    check(gateway, tmp_path, with_names(file.read_text()), "--checks", PROMISED_TO_ALL)
    assert predictions(gateway) >= 10
