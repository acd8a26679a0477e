"""The sequence of calls with open-inference-grpc; prints what it returned as JSON."""

import json
import sys

import grpc
from open_inference.grpc import protocol
from open_inference.grpc.service import GRPCInferenceServiceStub

_, target, key = sys.argv[1:]
metadata = (("authorization", f"Bearer {key}"),)
client = GRPCInferenceServiceStub(grpc.insecure_channel(target))


def request(
    model: str, keys: list[int], version: str = "", field: str = "int64_contents"
) -> protocol.ModelInferRequest:
    datatype = {"int64_contents": "INT64", "fp64_contents": "FP64"}[field]
    tensor = {"name": "customer_id", "shape": [len(keys)], "datatype": datatype, "contents": {field: keys}}
    return protocol.ModelInferRequest(model_name=model, model_version=version, id="r-1", inputs=[tensor])


def seen(response: protocol.ModelInferResponse) -> dict[str, object]:
    contents = {output.name: output.contents for output in response.outputs}
    return {
        "score": list(contents["score"].fp32_contents),
        "plan": [plan.decode() for plan in contents["plan"].bytes_contents],
        "found": list(contents["found"].bool_contents),
    }


def error(sent: protocol.ModelInferRequest) -> str:
    try:
        client.ModelInfer(sent, metadata=metadata)
    except grpc.RpcError as raised:
        return f"{raised.code()}: {raised.details()}"
    return ""


described = client.ModelMetadata(protocol.ModelMetadataRequest(name="churn"), metadata=metadata)
response = client.ModelInfer(request("churn", [7, 2**53 + 1, 8]), metadata=metadata)
print(
    json.dumps(
        {
            "live": client.ServerLive(protocol.ServerLiveRequest()).live,
            "ready": client.ServerReady(protocol.ServerReadyRequest()).ready,
            "server": client.ServerMetadata(protocol.ServerMetadataRequest(), metadata=metadata).name,
            "model_ready": client.ModelReady(protocol.ModelReadyRequest(name="churn"), metadata=metadata).ready,
            "stale_ready": client.ModelReady(protocol.ModelReadyRequest(name="stale"), metadata=metadata).ready,
            "inputs": [
                {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
                for tensor in described.inputs
            ],
            "versions": list(described.versions),
            "answer": seen(response),
            "id": response.id,
            "version": response.model_version,
            "age": response.parameters["age_seconds"].double_param,
            "travel": seen(client.ModelInfer(request("churn", [7], "1"), metadata=metadata))["score"],
            "unknown": error(request("none", [7])),
            "datatype": error(request("churn", [7], field="fp64_contents")),
        }
    )
)
