"""Draft a spec and a domain query from a model file and data, and prove on a sample that they fit."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from prescore.draft import checks, dataset, domain_query, features, interface, outputs, sample, spec_text
from prescore.draft.dataset import Counts, Dataset
from prescore.draft.features import Feature
from prescore.draft.outputs import DraftOutput
from prescore.errors import Mistake
from prescore.project.spec import Spec
from prescore.scoring.column_types import LARGEST_EXACT_INTEGER
from prescore.store.model_file import ModelFile
from prescore.wording import count


@dataclass(frozen=True)
class Draft:
    """The texts of a spec and of a domain query, None if the data is a query already, and what to look at."""

    spec: str
    query: str | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """What a draft is made from: `key` are names of key columns, `given` those of features in order, or none."""

    model: str
    root: Path
    model_file: Path
    data: Dataset
    key: Sequence[str]
    given: Sequence[str]


def draft(request: Request) -> Draft:
    """Return a draft whose model has scored a sample of the data.

    Raises Mistake for a key or features that do not fit, and whatever reading the model or the data raises.
    """
    return _Drafting(request).draft()


class _Drafting:
    """The steps of a draft, and what they know of each other."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.data = request.data
        self.model = ModelFile.read(request.model_file)
        self.interface = interface.read(self.model, request.model_file.name)
        self.examples = _examples_file(request.model_file)
        self.key = {name: self.data.find(name) for name in request.key}
        self.features = features.match(self.interface, self.data, list(self.key.values()), request.given, self.examples)
        self.key_types = {name: domain_query.key_type(self.data, column) for name, column in self.key.items()}
        columns = {feature.column for feature in self.features.listed} | set(self.key.values())
        self.rows, self.counts = self.data.counts(sorted(columns))

    def draft(self) -> Draft:
        request = self.request
        query = None
        if self.data.query_file is None:
            query = domain_query.write(request.model, self.data, self.key, self.features.listed)
        sampled = sample.score(
            self.model, self._provisional(), self.data, query or f"select * from {self.data.relation}"
        )
        columns = outputs.draft(self.interface.graph, sampled.tensors)
        lacking = self._lacking(columns)
        text = spec_text.write(self._spec(columns, with_examples=not lacking))
        # What is written must at least be a spec.
        _parse(request.model, text)
        remarks = [self.features.remark, lacking, *self._missing(), *_of_rejects(sampled.rejects)]
        return Draft(text, query, tuple(remark for remark in remarks if remark))

    def _lacking(self, columns: list[DraftOutput]) -> str:
        """Return what to do about examples that have not the outputs of the draft; empty if they do."""
        if self.examples is None:
            return ""
        names = pq.read_schema(self.examples).names
        lacking = [output.name for output in columns if output.name not in names]
        if not lacking:
            return ""
        return (
            f"{self.examples.name} has no column for {', '.join(lacking)}, and so the spec does not use it. Name its "
            "columns under [onnx.examples] columns, or write it again with prescore.examples."
        )

    def _spec(self, columns: list[DraftOutput], *, with_examples: bool) -> spec_text.DraftSpec:
        request = self.request
        examples = self.examples if with_examples else None
        return spec_text.DraftSpec(
            model=request.model,
            query_file=self.data.query_file or f"sql/domains/{request.model}.sql",
            source=self.data.source_name,
            key=self.key_types,
            model_file=dataset.relative(request.model_file, request.root),
            examples_file=None if examples is None else dataset.relative(examples, request.root),
            features=self.features,
            nullable=self._nullable(),
            allow_precision_loss=self._lossy(),
            outputs=columns,
            checks=checks.draft(self.rows, columns),
        )

    def _provisional(self) -> Spec:
        onnx: dict[str, Any] = {
            "file": self.request.model_file.name,
            "inputs": self.features.inputs,
            "nullable": self._nullable(),
            "allow_precision_loss": self._lossy(),
        }
        content = {
            "model": self.request.model,
            "domain": {"query": self.data.query_file or "", "source": self.data.source_name},
            "key": self.key_types,
            "onnx": onnx,
            "outputs": sample.provisional_outputs(self.interface.outputs),
        }
        return Spec.model_validate(content)

    def _nullable(self) -> list[str]:
        """Return the features that have missing values, and for which the model has a NaN."""
        return [
            feature.name
            for feature in self.features.listed
            if pat.is_floating(feature.type) and self._count(feature).missing
        ]

    def _lossy(self) -> list[str]:
        """Return the features that the model takes with fewer digits than they have, and that no cast rounds."""
        return [feature.name for feature in self.features.listed if self._loses_digits(feature)]

    def _loses_digits(self, feature: Feature) -> bool:
        largest_exact = LARGEST_EXACT_INTEGER.get(feature.type)
        if largest_exact is None:
            return False
        kind = self.data.schema.field(feature.column).type
        if pat.is_integer(kind):
            return self._count(feature).largest > largest_exact
        # The driver of a database returns floats of 64 bits, whatever a query casts them to.
        is_cast = self.data.is_file and self.data.query_file is None and feature.type != pa.float16()
        # Values that are all missing among the first rows may be any numbers.
        return (domain_query.is_wider(kind, feature.type) or pat.is_null(kind)) and not is_cast

    def _count(self, feature: Feature) -> Counts:
        return self.counts[feature.column]

    def _missing(self) -> list[str]:
        """Return what to confirm about missing values."""
        remarks = []
        proven = self.interface.graph.missing_values
        nullable = [name for name in self._nullable() if name not in proven]
        missing = [feature.name for feature in self.features.listed if self._count(feature).missing]
        others = [name for name in missing if name not in proven and name not in nullable]
        if nullable:
            remarks.append(
                f"Some rows have no value for {', '.join(nullable)}, and the model gets NaN for it. If it was not "
                "trained with missing values, fill them in the query, and remove onnx.nullable from the spec."
            )
        if others:
            remarks.append(
                f"Some rows have no value for {', '.join(others)}, and are rejected. Fill it in the query, as in "
                "training."
            )
        return remarks


def _examples_file(model_file: Path) -> Path | None:
    """Return the examples beside a model file, `churn.examples.parquet` beside `churn.onnx`, if there are any."""
    path = model_file.with_suffix(".examples.parquet")
    return path if path.exists() else None


def _of_rejects(rejected: Sequence[Any]) -> list[str]:
    if not rejected:
        return []
    first = rejected[0].reason
    return [f"{count(len(rejected), 'row')} of the sample would be rejected, the first because: {first}"]


def _parse(model: str, text: str) -> None:
    try:
        Spec.model_validate({**tomllib.loads(text), "model": model})
    except ValueError as error:
        raise Mistake(
            f"No valid spec can be drafted for this model and data: {error}. Run `prescore init {model}` without "
            "--model for a template to fill in."
        ) from error
