"""The sequence of calls with Triton's client for gRPC; prints what it returned as JSON."""

import json
import sys

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

_, target, key = sys.argv[1:]
headers = {"authorization": f"Bearer {key}"}
client = grpc.InferenceServerClient(target)


def infer(keys: list[int], version: str = "") -> grpc.InferResult:
    customers = grpc.InferInput("customer_id", [len(keys)], "INT64")
    customers.set_data_from_numpy(np.array(keys, np.int64))
    wanted = [grpc.InferRequestedOutput(name) for name in ("score", "plan", "found")]
    return client.infer("churn", [customers], version, wanted, request_id="r-1", headers=headers)


def seen(result: grpc.InferResult) -> dict[str, object]:
    scores, plans, found = (result.as_numpy(name) for name in ("score", "plan", "found"))
    return {"score": scores.tolist(), "plan": [plan.decode() for plan in plans], "found": found.tolist()}


def infer_flights() -> list[float]:
    carriers = grpc.InferInput("carrier", [2, 1], "BYTES")
    carriers.set_data_from_numpy(np.array([["UA"], ["ÄÖ"]], object))
    flights = grpc.InferInput("flight", [2, 1], "INT32")
    flights.set_data_from_numpy(np.array([[1], [2]], np.int32))
    result = client.infer("flights", [carriers, flights], headers=headers)
    embedding: list[float] = result.as_numpy("embedding").tolist()
    return embedding


def error(model: str, keys: np.ndarray, datatype: str) -> str:
    customers = grpc.InferInput("customer_id", list(keys.shape), datatype)
    customers.set_data_from_numpy(keys)
    try:
        client.infer(model, [customers], headers=headers)
    except InferenceServerException as raised:
        return f"{raised.status()}: {raised.message()}"
    return ""


metadata = client.get_model_metadata("churn", headers=headers, as_json=True)
result = infer([7, 2**53 + 1, 8])
response = result.get_response()
print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "server": client.get_server_metadata(headers=headers).name,
            "model_ready": client.is_model_ready("churn", headers=headers),
            "stale_ready": client.is_model_ready("stale", headers=headers),
            "inputs": [{**tensor, "shape": list(map(int, tensor["shape"]))} for tensor in metadata["inputs"]],
            "versions": metadata["versions"],
            "answer": seen(result),
            "id": response.id,
            "version": response.model_version,
            "age": response.parameters["age_seconds"].double_param,
            "travel": seen(infer([7], "1"))["score"],
            "embedding": infer_flights(),
            "unknown": error("none", np.array([7]), "INT64"),
            "datatype": error("churn", np.array([7.0]), "FP64"),
        }
    )
)
