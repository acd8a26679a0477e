"""The sequence of calls with KServe's client for gRPC; prints what it returned as JSON."""

import asyncio
import json
import logging
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest, InferResponse

_, target, key = sys.argv[1:]
metadata = (("authorization", f"Bearer {key}"),)
# The client logs each error with its traceback before it raises it.
logging.disable(logging.ERROR)


def request(model: str, keys: np.ndarray, datatype: str = "INT64", version: str | None = None) -> InferRequest:
    customers = InferInput("customer_id", list(keys.shape), datatype)
    customers.set_data_from_numpy(keys)
    return InferRequest(model, [customers], request_id="r-1", model_version=version)


def seen(response: InferResponse) -> dict[str, object]:
    outputs = {output.name: output.as_numpy().tolist() for output in response.outputs}
    plans = [plan.decode() for plan in outputs["plan"]]
    return {"score": outputs["score"], "plan": plans, "found": outputs["found"]}


async def main() -> None:
    client = InferenceGRPCClient(target)

    async def error(model: str, keys: np.ndarray, datatype: str) -> str:
        try:
            await client.infer(request(model, keys, datatype), headers=metadata)
        except grpc.RpcError as raised:
            return f"{raised.code()}: {raised.details()}"
        return ""

    keys = np.array([7, 2**53 + 1, 8])
    response = await client.infer(request("churn", keys), headers=metadata)
    travel = await client.infer(request("churn", np.array([7]), version="1"), headers=metadata)
    print(
        json.dumps(
            {
                "live": await client.is_server_live(),
                "ready": await client.is_server_ready(),
                "model_ready": await client.is_model_ready("churn", headers=metadata),
                "stale_ready": await client.is_model_ready("stale", headers=metadata),
                "answer": seen(response),
                "id": response.id,
                "version": response.model_version,
                "travel": seen(travel)["score"],
                "unknown": await error("none", keys, "INT64"),
                "datatype": await error("churn", np.array([7.0]), "FP64"),
            }
        )
    )
    await client.close()


asyncio.run(main())
