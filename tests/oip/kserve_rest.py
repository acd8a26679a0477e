"""The sequence of calls with KServe's client for REST; prints what it returned as JSON."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig

url, _, key = sys.argv[1:]
headers = {"Authorization": f"Bearer {key}"}


def request(keys: np.ndarray, datatype: str = "INT64", *, binary: bool) -> InferRequest:
    customers = InferInput("customer_id", list(keys.shape), datatype)
    customers.set_data_from_numpy(keys, binary_data=binary)
    return InferRequest("churn", [customers], request_id="r-1")


def seen(response: InferResponse) -> dict[str, object]:
    outputs = {output.name: output.as_numpy().tolist() for output in response.outputs}
    plans = [plan.decode() if isinstance(plan, bytes) else plan for plan in outputs["plan"]]
    return {"score": outputs["score"], "plan": plans, "found": outputs["found"]}


async def error(client: InferenceRESTClient, model: str, keys: np.ndarray, datatype: str) -> str:
    try:
        await client.infer(url, request(keys, datatype, binary=False), model, headers=dict(headers))
    except httpx.HTTPStatusError as raised:
        return f"{raised.response.status_code}: {raised}"
    return ""


async def main() -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    keys = np.array([7, 2**53 + 1, 8])
    response = await client.infer(url, request(keys, binary=True), "churn", headers=dict(headers))
    in_json = await client.infer(url, request(keys, binary=False), "churn", headers=dict(headers))
    travel = await client.infer(url, request(np.array([7]), binary=False), "churn/versions/1", headers=dict(headers))
    print(
        json.dumps(
            {
                "live": await client.is_server_live(url),
                "ready": await client.is_server_ready(url),
                "model_ready": await client.is_model_ready(url, "churn", headers=headers),
                "stale_ready": await client.is_model_ready(url, "stale", headers=headers),
                "answer": seen(response),
                "json_answer": seen(in_json),
                "id": response.id,
                # The client drops the field model_version of a response.
                "version": str(response.parameters["version"]),
                "parameters": sorted(response.parameters),
                "travel": seen(travel)["score"],
                "unknown": await error(client, "none", keys, "INT64"),
                "datatype": await error(client, "churn", np.array([7.0]), "FP64"),
                "by_default": await error(InferenceRESTClient(RESTConfig()), "churn", keys, "INT64"),
            }
        )
    )


asyncio.run(main())
