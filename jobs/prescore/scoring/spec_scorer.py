"""The predictor of a spec with a model file: a scorer whose signature is made from the spec.

The score step uses it:

    scorer = SpecScorer(ModelFile.read(Path("models/flight_delay.onnx")), spec)
    predictions = scorer.score(batch)
"""

from __future__ import annotations

from prescore.errors import ModelInvalid
from prescore.project.spec import Spec
from prescore.scoring import matching
from prescore.scoring.graph import Graph
from prescore.scoring.scorer import Scorer
from prescore.scoring.session import ModelSession
from prescore.store.model_file import ModelFile


class SpecScorer(Scorer):
    """A model file and the spec that maps columns to its inputs and its outputs to columns.

    `threads` is the number of threads of one call. The score step makes several single-threaded calls at the same time
    instead, so that predictions do not depend on the number of cores. Raises ModelInvalid when the file is not an ONNX
    model or does not match the spec.
    """

    def __init__(self, model: ModelFile, spec: Spec, *, threads: int = 1) -> None:
        if spec.onnx is None:
            raise ModelInvalid(f"The spec of {spec.model} has no [onnx] section: its predictions are made elsewhere.")
        self.spec = spec
        self.onnx = spec.onnx
        session = ModelSession(model, self.onnx.file, threads)
        super().__init__(session, matching.signature(spec, self.onnx, session))

    @property
    def graph(self) -> Graph:
        """The graph of the model file."""
        return self.session.graph
