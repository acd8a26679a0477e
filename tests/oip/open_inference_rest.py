"""The sequence of calls with open-inference-openapi; prints what it returned as JSON."""

import json
import sys

import httpx
from open_inference.openapi.client import InferenceRequest, OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError

url, _, key = sys.argv[1:]
client = OpenInferenceClient(
    base_url=url, httpx_client=httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=30)
)


def request(name: str, datatype: str, keys: list[object]) -> InferenceRequest:
    tensor = {"name": name, "shape": [len(keys)], "datatype": datatype, "data": keys}
    return InferenceRequest(id="r-1", inputs=[tensor])


def error(model: str, sent: InferenceRequest) -> str:
    try:
        client.model_infer(model, request=sent)
    except ApiError as raised:
        return f"{raised.status_code}: {raised.body}"
    return ""


def is_ready(model: str) -> bool:
    try:
        client.check_model_readiness(model)
    except ApiError:
        return False
    return True


client.check_server_liveness()
client.check_server_readiness()
metadata = client.read_model_metadata("churn")
response = client.model_infer("churn", request=request("customer_id", "INT64", [7, 8]))
travel = client.model_version_infer("churn", "1", request=request("customer_id", "INT64", [7]))
outputs = {output.name: output.data.__root__ for output in response.outputs}
print(
    json.dumps(
        {
            "server": client.read_server_metadata().name,
            "model_ready": is_ready("churn"),
            "stale_ready": is_ready("stale"),
            "inputs": [json.loads(tensor.json()) for tensor in metadata.inputs],
            "versions": metadata.versions,
            "answer": {name: outputs[name] for name in ("score", "plan", "found")},
            "id": response.id,
            "version": response.model_version,
            "travel": travel.outputs[0].data.__root__,
            "unknown": error("none", request("customer_id", "INT64", [7])),
            "datatype": error("churn", request("customer_id", "FP64", [7])),
            "large": error("churn", request("customer_id", "INT64", [2**53 + 1])),
            "text": error("texts", request("code", "BYTES", ["1"])),
        },
        default=str,
    )
)
