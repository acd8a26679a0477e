"""Scoring with both of Triton's clients, which read the inputs from the metadata; prints what they returned as JSON."""

import json
import sys

import numpy as np
from tritonclient import http

url, target, key, transport = sys.argv[1:]
headers = {"authorization": f"Bearer {key}"}
if transport == "http":
    client = http.InferenceServerClient(url.removeprefix("http://"))
    new_input = http.InferInput
    inputs = client.get_model_metadata("churn.live", headers=headers)["inputs"]
else:
    # The two cannot be imported together with KServe's client, but with each other.
    from tritonclient import grpc

    client = grpc.InferenceServerClient(target)
    new_input = grpc.InferInput
    inputs = client.get_model_metadata("churn.live", headers=headers, as_json=True)["inputs"]

tensors = []
for described in inputs:
    tensor = new_input(described["name"], [3], described["datatype"])
    tensor.set_data_from_numpy(np.array([1, 2, np.nan], np.float32))
    tensors.append(tensor)
result = client.infer("churn.live", tensors, headers=dict(headers))
print(
    json.dumps(
        {
            "ready": client.is_model_ready("churn.live", headers=headers),
            "inputs": [described["name"] for described in inputs],
            "score": result.as_numpy("score").tolist(),
            "rejected": result.as_numpy("rejected").tolist(),
            "reason": [reason.decode() for reason in result.as_numpy("rejected.reason")],
        }
    )
)
