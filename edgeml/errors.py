"""The one error tree.

::

    EdgemlError
    ├── BuildError              a bundle cannot be built
    │   ├── UnsupportedError    a step or estimator that neither the core nor ONNX can take
    │   └── ParityError         the bundle would answer differently from the pipeline
    ├── RuleError               a rule's text cannot be parsed or does not fit the schema
    ├── BundleError             a bundle cannot be read
    │   ├── ArchiveError        the file is not the archive that it should be
    │   ├── DigestError         some bytes are not those that were packed
    │   ├── SignatureError      not signed by enough trusted keys
    │   └── RequirementError    this box cannot run the bundle
    ├── StoreError              the store of a box refuses
    │   ├── StateError          its record is damaged or of a newer edgeml
    │   ├── NotInstalledError   the bundle that was named is not there
    │   ├── ConflictError       another change is under way, or stands against this one
    │   ├── OrderError          order or trust forbid it: replayed, expired, denied, below the security epoch
    │   └── StorageError        the disk is full beyond the quota, or can no longer be trusted
    ├── TransferError           a bundle cannot be moved over the network
    ├── AdmissionError          a bundle may not run on this box
    ├── ModelError              the model cannot be opened or run
    └── RequestError            a request cannot be answered
        └── SchemaError         records break the schema

Every message names the field, step or file concerned and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class EdgemlError(Exception):
    """Root of all errors that edgeml raises on purpose."""


class BuildError(EdgemlError):
    """A bundle cannot be built from what was given."""


class UnsupportedError(BuildError):
    """A pipeline step or estimator that neither the compiled core nor ONNX can take.

    Attributes:
        step: Path of the step in the pipeline, such as ``prepare.num.scale``.
        columns: Input columns that reach the step.
    """

    def __init__(self, message: str, *, step: str, columns: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.step = step
        self.columns = tuple(columns)


class ParityError(BuildError):
    """The bundle would answer differently from the pipeline it was built from.

    Attributes:
        report: The parity report with the worst rows (a JSON-ready dict).
    """

    def __init__(self, message: str, *, report: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report or {}


class RuleError(EdgemlError):
    """A rule's text cannot be parsed, or does not fit the schema.

    Attributes:
        rule: Id of the rule, empty where it has none.
        position: Zero-based offset of the offending character in the expression, or -1.
        line: Line of the file that it was written in, from 1; 0 where it is not known.
        column: Character of that line, from 1; 0 where it is not known.
    """

    def __init__(self, message: str, *, rule: str = "", position: int = -1) -> None:
        super().__init__(message)
        self.rule = rule
        self.position = position
        self.line = self.column = 0


class BundleError(EdgemlError):
    """A bundle cannot be read."""


class ArchiveError(BundleError):
    """The file is not the archive that it should be."""


class DigestError(BundleError):
    """Some bytes are not those that were packed."""


class SignatureError(BundleError):
    """The bundle is not signed by enough trusted keys."""


class RequirementError(BundleError):
    """This box cannot run the bundle."""


class StoreError(EdgemlError):
    """The store of a box refuses."""


class StateError(StoreError):
    """The store's record is damaged, or of a newer edgeml."""


class NotInstalledError(StoreError):
    """The bundle that was named is not there."""


class ConflictError(StoreError):
    """Another change is under way, or stands against this one."""


class OrderError(StoreError):
    """Order or trust forbid it: replayed, expired, denied, or below the security epoch."""


class StorageError(StoreError):
    """The disk is full beyond the quota, or can no longer be trusted."""


class TransferError(EdgemlError):
    """A bundle cannot be moved over the network.

    Attributes:
        status: The HTTP status that the other side answered with; None where it gave no answer.
        code: The registry's own word, such as ``MANIFEST_UNKNOWN``, or ours in small letters, such as ``too_slow``;
            empty where there is none.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class AdmissionError(EdgemlError):
    """A bundle may not run on this box: it was tried, and it is the bundle's fault.

    Attributes:
        code: ``signature``, ``structure``, ``requirement``, ``scan``, ``model``, ``golden_rows``, ``memory``, ``time``
            or ``crash``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ModelError(EdgemlError):
    """The model cannot be opened or run."""


class RuntimeMissingError(ModelError):
    """ONNX Runtime is not installed here."""


class RequestError(EdgemlError):
    """A request cannot be answered.

    Attributes:
        code: Stable machine-readable word, such as ``invalid_json``.
        field: The feature or member of the request concerned, empty if none.
    """

    def __init__(self, message: str, *, code: str = "bad_request", field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which one record breaks the schema.

    Attributes:
        row: Zero-based index of the record.
        field: Name of the feature, or of the unknown field.
        code: ``missing``, ``wrong_type``, ``not_finite``, ``below_min``, ``above_max``,
            ``not_integer``, ``unseen_level``, ``too_long``, ``unknown_field``, ``duplicate_field``
            or ``not_a_record``.
        expected: What the schema asks for, in words.
        got: What came, shortened.
    """

    row: int
    field: str
    code: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"record {self.row}, field {self.field!r}: {self.code}: expected {self.expected}, got {self.got}"


class SchemaError(RequestError):
    """Records break the schema.

    Attributes:
        violations: At least one; the first is in the message.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first}{more}", code="schema_violation", field=first.field)
        self.violations = tuple(violations)
