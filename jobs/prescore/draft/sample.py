"""A sample of the data, converted as a run would, and what the model answers for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from prescore.draft.dataset import Dataset
from prescore.draft.outputs import Tensor
from prescore.errors import DomainInvalid
from prescore.project.spec import Spec
from prescore.scoring import snapshot_columns
from prescore.scoring.domain_conversion import DomainConverter
from prescore.scoring.rejects import Reject
from prescore.scoring.spec_scorer import SpecScorer
from prescore.store.model_file import ModelFile

ROWS = 20_000
"""The most rows of a sample."""
_SEED = 42


@dataclass(frozen=True)
class Sample:
    """The tensors that the model returns for the rows that it can score, and the other rows."""

    tensors: dict[str, Tensor]
    rejects: Sequence[Reject]


def score(model: ModelFile, spec: Spec, dataset: Dataset, query: str) -> Sample:
    """Score a sample of the domain query's rows with all outputs that a provisional spec names.

    Raises DomainInvalid when the query does not fit the model or has no rows, and ModelInvalid or ModelFailed.
    """
    scorer = SpecScorer(model, spec)
    needed = snapshot_columns.needed_columns(spec, scorer.features)
    limit = None if dataset.is_file else ROWS
    converted: list[pa.RecordBatch] = []
    rejected: list[Reject] = []
    with dataset.source.open(_sampling(dataset, query), ROWS, needed, limit=limit) as stream:
        converter = DomainConverter(spec, scorer.features, stream)
        for batch in stream.batches:
            rows, faults = converter.convert(batch)
            converted.append(rows)
            rejected += faults
    table = pa.Table.from_batches(converted, converter.schema).combine_chunks()
    if not table.num_rows:
        reason = f"each of its first rows is rejected: {rejected[0].reason}" if rejected else "it has no rows"
        raise DomainInvalid(f"There is nothing to score in the data: {reason}")
    return Sample(scorer.tensors(table.to_batches()[0]), rejected)


def _sampling(dataset: Dataset, query: str) -> str:
    if not dataset.is_file:
        return query
    return f"select * from (\n{query}\n) using sample reservoir({ROWS} rows) repeatable ({_SEED})"


def provisional_outputs(types: dict[str, pa.DataType]) -> dict[str, Any]:
    """Return outputs of a spec that read every tensor of a model, whatever its width."""
    outputs = {}
    for number, (name, kind) in enumerate(types.items()):
        if pa.types.is_boolean(kind):
            column = "boolean"
        elif pa.types.is_string(kind):
            column = "text[]"
        else:
            column = "real[]" if pa.types.is_floating(kind) else "bigint[]"
        outputs[f"output_{number}"] = {"from": name, "type": column}
    return outputs
