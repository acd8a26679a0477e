"""The manifests of the serving engines run a command that exists, and probe paths that are there without an API key.

`tests/oip/test_crds.py` validates them by the engines' custom resource definitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from click import Command

from doc_pages import ROOT
from prescore.cli import main
from prescore_api.http.routes import ROUTES

MANIFESTS = sorted((ROOT / "docs/how-to/engines").glob("*.yaml"))


def _containers(manifest: Any) -> Iterator[tuple[str, Any]]:
    """Yield each container, with the name that its engine finds it by."""
    spec = manifest["spec"]
    if manifest["kind"] == "InferenceService":
        yield from (("kserve-container", container) for container in spec["predictor"]["containers"])
        return
    assert spec["protocol"] == "v2"
    for predictor in spec["predictors"]:
        for component in predictor["componentSpecs"]:
            yield from ((predictor["graph"]["name"], container) for container in component["spec"]["containers"])


def _options(container: Any) -> dict[str, Any]:
    """Return the options of the container's command, as the command line reads them."""
    program, command, *arguments = container["args"]
    assert (program, command) == ("prescore", "serve")
    group: Any = typer.main.get_command(main.app)
    serve: Command = group.commands[command]
    return serve.make_context(command, list(arguments)).params


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_runs_the_lookup_api(path: Path) -> None:
    open_paths = {route.path for route in ROUTES if route.open}
    containers = list(_containers(yaml.safe_load(path.read_text())))
    assert len(containers) == 1
    for name, container in containers:
        assert container["name"] == name
        options = _options(container)
        assert options["host"] == "0.0.0.0"
        served = {"http": options["port"], "grpc": options["grpc_port"], "h2c": options["grpc_port"]}
        for port in container["ports"]:
            assert port["containerPort"] == served[port.get("name", "http")]
        for probe in ("readinessProbe", "livenessProbe"):
            request = container.get(probe, {}).get("httpGet")
            assert request is None or (request["path"] in open_paths and request["port"] == options["port"])
        assert "PRESCORE_DATABASE_URL" in [variable["name"] for variable in container["env"]]


def test_the_image_can_serve_grpc() -> None:
    assert 'ARG EXTRAS="oip"' in (ROOT / "docker/api.Dockerfile").read_text()
