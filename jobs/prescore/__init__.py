"""Score every answer before it is asked.

    specs/<model>.toml + sql/domains/<model>.sql + model.onnx
      → snapshot   freeze the domain
      → score      chunk by chunk, Arrow batch in, Arrow batch out
      → stage      COPY into the version's own table, then never change it
      → check      before anyone can see it
      → publish    move the pointer that readers follow

The public API is what this module exports; `prescore.run.materialize` is the flow on one page.

    import prescore

    project = prescore.Project()
    project.run("churn")
    frame = project.read("churn")

`import prescore` loads nothing heavy: a name is imported when it is first used.
"""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING

from prescore.errors import (
    Busy,
    DatabaseRefused,
    DatabaseUnavailable,
    DomainInvalid,
    KeyInvalid,
    LeaseLost,
    Mistake,
    ModelFailed,
    ModelInvalid,
    NotAllowed,
    NotFound,
    PrescoreError,
    Refused,
    RuntimeDiffers,
    SpecInvalid,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    Terminal,
    Transient,
)

if TYPE_CHECKING:
    from prescore.comparison.differences import (
        Bucket,
        ColumnDifference,
        Distribution,
        ElementShift,
        KeyCounts,
        LabelPair,
        Mover,
        Shift,
    )
    from prescore.export.examples import examples
    from prescore.public.activity import ModelActivity
    from prescore.public.comparison import Comparison, ParameterDifference
    from prescore.public.export import ExportedOutput, ExportResult, export_onnx
    from prescore.public.model_version import ModelVersion
    from prescore.public.plan import Plan, Verification
    from prescore.public.project import Project
    from prescore.public.publishing import publish
    from prescore.public.results import Canary, Event, Finding, LookupResult, Results, ValidationResult
    from prescore.public.retirement import RemovalResult, RetentionDecision, RetirementResult
    from prescore.public.run_report import RunReport
    from prescore.public.scorer import Scorer
    from prescore.public.status import ModelStatus

    __version__: str

__all__ = [
    "Bucket",
    "Busy",
    "Canary",
    "ColumnDifference",
    "Comparison",
    "DatabaseRefused",
    "DatabaseUnavailable",
    "Distribution",
    "DomainInvalid",
    "ElementShift",
    "Event",
    "ExportResult",
    "ExportedOutput",
    "Finding",
    "KeyCounts",
    "KeyInvalid",
    "LabelPair",
    "LeaseLost",
    "LookupResult",
    "Mistake",
    "ModelActivity",
    "ModelFailed",
    "ModelInvalid",
    "ModelStatus",
    "ModelVersion",
    "Mover",
    "NotAllowed",
    "NotFound",
    "ParameterDifference",
    "Plan",
    "PrescoreError",
    "Project",
    "Refused",
    "RemovalResult",
    "Results",
    "RetentionDecision",
    "RetirementResult",
    "RunReport",
    "RuntimeDiffers",
    "Scorer",
    "Shift",
    "SpecInvalid",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "Terminal",
    "Transient",
    "ValidationResult",
    "Verification",
    "examples",
    "export_onnx",
    "publish",
]

# Name → its module. The extra that a module needs stands in _EXTRAS.
_MODULES = {
    "Project": "prescore.public.project",
    "RunReport": "prescore.public.run_report",
    "Scorer": "prescore.public.scorer",
    "Bucket": "prescore.comparison.differences",
    "ColumnDifference": "prescore.comparison.differences",
    "Comparison": "prescore.public.comparison",
    "Canary": "prescore.public.results",
    "Event": "prescore.public.results",
    "ExportResult": "prescore.public.export",
    "ExportedOutput": "prescore.public.export",
    "Finding": "prescore.public.results",
    "Distribution": "prescore.comparison.differences",
    "ElementShift": "prescore.comparison.differences",
    "KeyCounts": "prescore.comparison.differences",
    "LabelPair": "prescore.comparison.differences",
    "Mover": "prescore.comparison.differences",
    "Shift": "prescore.comparison.differences",
    "LookupResult": "prescore.public.results",
    "ModelActivity": "prescore.public.activity",
    "ModelStatus": "prescore.public.status",
    "ModelVersion": "prescore.public.model_version",
    "ParameterDifference": "prescore.public.comparison",
    "RemovalResult": "prescore.public.retirement",
    "Results": "prescore.public.results",
    "RetentionDecision": "prescore.public.retirement",
    "RetirementResult": "prescore.public.retirement",
    "ValidationResult": "prescore.public.results",
    "Plan": "prescore.public.plan",
    "Verification": "prescore.public.plan",
    "examples": "prescore.export.examples",
    "export_onnx": "prescore.public.export",
    "publish": "prescore.public.publishing",
}
_EXTRAS = {
    "Plan": "jobs",
    "RunReport": "jobs",
    "Scorer": "score",
    "Verification": "jobs",
    "examples": "score",
    "export_onnx": "export",
    "publish": "jobs",
}


# Type checkers see the imports above instead, and so report a misspelt name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used; raise Mistake when the extra that it needs is not installed."""
        if name == "__version__":
            from importlib.metadata import version

            return version("prescore")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from prescore.public import extras

        with extras.needed(_EXTRAS[name]) if name in _EXTRAS else nullcontext():
            module = import_module(_MODULES[name])
        value: object = getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
