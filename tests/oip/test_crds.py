"""The manifests of the serving engines are valid by the engines' own custom resource definitions.

PRESCORE_TEST_CRDS names a folder with these definitions, of any release. They are large, and therefore not in this
repository: config/crd/full/serving.kserve.io_inferenceservices.yaml of kserve/kserve, and
operator/config/crd_v1/bases/machinelearning.seldon.io_seldondeployments.yaml of SeldonIO/seldon-core, branch master.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from doc_pages import ROOT

MANIFESTS = sorted((ROOT / "docs/how-to/engines").glob("*.yaml"))
FOLDER = os.environ.get("PRESCORE_TEST_CRDS", "")


def _schema(api_version: str, kind: str) -> Any:
    """Return the schema of a kind, from the definitions in the folder."""
    group, _, version = api_version.partition("/")
    for path in Path(FOLDER).glob("*.yaml"):
        # Parsing two megabytes takes a while.
        if kind not in path.read_text():
            continue
        for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            spec = document["spec"]
            if (spec["group"], spec["names"]["kind"]) == (group, kind):
                (found,) = [each for each in spec["versions"] if each["name"] == version]
                return found["schema"]["openAPIV3Schema"]
    raise AssertionError(f"{FOLDER} has no definition of {kind} in {api_version}")


def _unknown(schema: Any, value: Any, where: str) -> Iterator[str]:
    """Yield the fields that the schema does not have: a server would drop them silently."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(schema.get("items", {}), item, f"{where}[{number}]")
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    for name, content in value.items():
        if properties and name in properties:
            yield from _unknown(properties[name], content, f"{where}.{name}")
        elif isinstance(others, dict):
            yield from _unknown(others, content, f"{where}.{name}")
        elif properties:
            yield f"{where}.{name}"


@pytest.mark.skipif(not FOLDER, reason="PRESCORE_TEST_CRDS names no folder with custom resource definitions")
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_valid(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    schema = _schema(manifest["apiVersion"], manifest["kind"])
    jsonschema.validate(manifest, schema)
    assert list(_unknown(schema, manifest, manifest["kind"])) == []
    # The validation itself finds a mistake.
    manifest["spec"]["unknown"] = True
    assert list(_unknown(schema, manifest, manifest["kind"])) == [f"{manifest['kind']}.spec.unknown"]
