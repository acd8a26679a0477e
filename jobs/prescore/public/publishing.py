"""From an estimator and a frame to a published table in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prescore.project import scaffold
from prescore.public import estimator_files
from prescore.public.project import Project

if TYPE_CHECKING:
    import pandas as pd

    from prescore.public.run_report import RunReport


def publish(
    name: str,
    estimator: Any,
    frame: pd.DataFrame,
    *,
    key: str | Sequence[str],
    features: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    project: str | os.PathLike[str] | None = None,
    replace: bool = False,
    allow_breaking: bool = False,
    progress: bool = True,
) -> RunReport:
    """Export an estimator, write the spec of its model, run it, and publish the predictions for a frame.

        prescore.publish("churn", model, customers, key="customer_id")

    Writes `models/churn.onnx` with its examples, `data/churn.parquet`, `sql/domains/churn.sql` and `specs/churn.toml`
    into the project: the folder `project`, or the one that `Project()` finds. An empty folder becomes a project with an
    embedded Postgres. The next call, with an estimator that was trained again or with new rows, replaces the model file
    and the data, and publishes a new version. It keeps the spec and the query, which you may have edited, unless
    `replace`.

    `key` names the key columns, which may be in the index. `estimator`, `frame`, `features` and `targets` are those of
    `export_onnx`. Raises what `export_onnx` and `Project.run` raise.
    """
    root = scaffold.project_folder() if project is None else Path(project).resolve()
    written = estimator_files.write(
        root, name, estimator, frame, key=key, features=features, targets=targets, replace=replace
    )
    if progress:
        estimator_files.report(written.remarks)
    with written.advice():
        return Project(root, progress=progress).run(name, allow_breaking=allow_breaking)
