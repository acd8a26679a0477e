"""The sequence of calls with Triton's client for REST; prints what it returned as JSON."""

import json
import sys

import numpy as np
from tritonclient import http
from tritonclient.utils import InferenceServerException

url, _, key = sys.argv[1:]
headers = {"Authorization": f"Bearer {key}"}
client = http.InferenceServerClient(url.removeprefix("http://"))


def infer(keys: list[int], *, binary: bool = True, version: str = "") -> http.InferResult:
    customers = http.InferInput("customer_id", [len(keys)], "INT64")
    customers.set_data_from_numpy(np.array(keys, np.int64), binary_data=binary)
    wanted = [http.InferRequestedOutput(name, binary_data=binary) for name in ("score", "plan", "found")]
    return client.infer("churn", [customers], version, wanted, request_id="r-1", headers=dict(headers))


def seen(result: http.InferResult) -> dict[str, object]:
    scores, plans, found = (result.as_numpy(name) for name in ("score", "plan", "found"))
    return {
        "score": scores.tolist(),
        "plan": [plan.decode() if isinstance(plan, bytes) else plan for plan in plans],
        "found": found.tolist(),
    }


def infer_flights() -> list[float]:
    carriers = http.InferInput("carrier", [2, 1], "BYTES")
    carriers.set_data_from_numpy(np.array([["UA"], ["ÄÖ"]], object))
    flights = http.InferInput("flight", [2, 1], "INT32")
    flights.set_data_from_numpy(np.array([[1], [2]], np.int32))
    result = client.infer("flights", [carriers, flights], headers=dict(headers))
    embedding: list[float] = result.as_numpy("embedding").tolist()
    return embedding


def error(model: str, keys: np.ndarray, datatype: str) -> str:
    customers = http.InferInput("customer_id", list(keys.shape), datatype)
    customers.set_data_from_numpy(keys)
    try:
        client.infer(model, [customers], headers=dict(headers))
    except InferenceServerException as raised:
        return f"{raised.status()}: {raised.message()}"
    return ""


metadata = client.get_model_metadata("churn", headers=dict(headers))
extensions = []
for call in (client.get_model_config, client.get_inference_statistics):
    try:
        call("churn", headers=dict(headers))
    except InferenceServerException as raised:
        extensions.append(raised.message())
result = infer([7, 2**53 + 1, 8])
print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "server": client.get_server_metadata(headers=dict(headers))["name"],
            "model_ready": client.is_model_ready("churn", headers=dict(headers)),
            "stale_ready": client.is_model_ready("stale", headers=dict(headers)),
            "inputs": metadata["inputs"],
            "versions": metadata["versions"],
            "answer": seen(result),
            "json_answer": seen(infer([7, 2**53 + 1, 8], binary=False)),
            "id": result.get_response()["id"],
            "version": result.get_response()["model_version"],
            "travel": seen(infer([7], version="1"))["score"],
            "embedding": infer_flights(),
            "unknown": error("none", np.array([7]), "INT64"),
            "datatype": error("churn", np.array([7.0]), "FP64"),
            "extensions": extensions,
        }
    )
)
