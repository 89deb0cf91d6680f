"""The management plane of one box, from outside: its releases, and what is under way there.

1. Addresses, credentials, TLS, and broken links are the registry client's matter (``bundles.registry``): a box is a
   registry that has releases beside.
2. Changes are asked for once more when the link breaks; the box takes the same request twice for one. The exception is
   going back without saying from where.
3. A change that takes long is an operation on the box. It goes on when nobody asks for it; a box that was started anew
   has forgotten it, and is asked for the change again, which does no harm where it was made.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeml.bundles.documents import parse_object
from edgeml.bundles.oci_reference import Reference, check_name
from edgeml.bundles.registry import Attempts, Registry
from edgeml.bundles.registry_link import Answer, Interrupted, Patience, plain
from edgeml.errors import ArchiveError, TransferError

# What a box answers for as long as it lives: refusals come with a reason that is better than any of ours.
_ANSWERS = frozenset(range(200, 600)) - {301, 302, 303, 307, 308, 401, 408, 429, 503, 504}
_ANSWER_MAX_BYTES = 4 * 1024 * 1024
_POLL_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
_TIMES_FORGOTTEN = 3

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RemoteOperation:
    """One change on a box.

    Attributes:
        id: Its id there.
        kind: ``activate``, ``confirm``, ``rollback`` or ``pull``, among others.
        state: ``running``, ``done`` or ``failed``.
        step: What it does now, or did last.
        reason: Why it failed.
        result: What came of it.
    """

    id: str
    kind: str
    state: str
    step: str
    reason: str
    result: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> RemoteOperation:
        """Reads what a box says of an operation."""
        result = document.get("result")
        return cls(
            id=plain(document.get("id")),
            kind=plain(document.get("kind")),
            state=plain(document.get("state")),
            step=plain(document.get("step")),
            reason=plain(document.get("reason")),
            result=result if isinstance(result, dict) else {},
        )


class DeviceClient:
    """One client of one box. Not for several threads at a time.

    Attributes:
        at: Host and port, as messages show them.
        registry: The same box as a registry, to push to.
    """

    def __init__(
        self,
        address: str | Reference,
        *,
        token: str = "",
        ca_file: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        address: ``https://host:port``; see ``box_address``.
        token: A token of the box.
        ca_file: PEM file of the only authorities to trust; None trusts those of the system.
        certificate: PEM file of the client certificate for mutual TLS.
        key: PEM file of its key.
        patience: How long to wait.
        clock: Seconds of a clock that only goes forward.

        Raises:
            TransferError: Address or credentials cannot be used, or a TLS file cannot be read.
        """
        self.registry = Registry(
            box_address(address) if isinstance(address, str) else address,
            token=token,
            ca_file=ca_file,
            certificate=certificate,
            key=key,
            patience=patience,
        )
        self.at = self.registry.at
        self._clock = clock

    def close(self) -> None:
        """Ends all connections."""
        self.registry.close()

    def __enter__(self) -> DeviceClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading

    def status(self) -> dict[str, Any]:
        """The box: storage, trust, what is served."""
        return self._get("/v1/status", "its status")

    def models(self) -> list[dict[str, Any]]:
        """All models with their releases."""
        found = self._get("/v1/models", "its models").get("models")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def model(self, name: str) -> dict[str, Any]:
        """One model with its releases.

        Raises:
            TransferError: The box does not know it (status 404), or refuses.
        """
        return self._get(f"/v1/models/{check_name(name)}", f"model {name}")

    def release(self, digest: str) -> tuple[str, dict[str, Any]] | None:
        """Name of the model and what the box says of an installed bundle; None where it is not installed."""
        for model in self.models():
            for release in model.get("releases") or ():
                if isinstance(release, dict) and release.get("digest") == digest:
                    return str(model.get("name")), release | {"active": model.get("active") == digest}
        return None

    # Changing

    def activate(self, name: str, digest: str, *, order: bytes | None = None, now: bool = False) -> RemoteOperation:
        """Puts an installed bundle on trial.

        Args:
            name: Name of the model.
            digest: ``sha256:<hex>``.
            order: A signed order, as it stands in its file.
            now: Make it the active one at once.

        Raises:
            TransferError: The box refuses; the message has its reason.
        """
        body: dict[str, Any] = {"digest": digest, "now": now}
        if order is not None:
            body["order"] = base64.b64encode(order).decode()
        return self._begin(f"/v1/models/{check_name(name)}/activate", f"activating {name}", body)

    def confirm(self, name: str, digest: str = "", *, reason: str = "") -> RemoteOperation:
        """Makes the bundle on trial the active one."""
        body = {"reason": reason} | ({"digest": digest} if digest else {})
        return self._begin(f"/v1/models/{check_name(name)}/confirm", f"confirming {name}", body)

    def roll_back(self, name: str, to: str = "", *, leaving: str = "", reason: str = "") -> RemoteOperation:
        """Goes back, to the bundle before or to an earlier one.

        Args:
            name: Name of the model.
            to: Digest to go back to; empty for the bundle before.
            leaving: Digest to go back from; where it does not answer any more, nothing is done. Without it the box is
                asked only once, since twice could go back twice.
            reason: For the box's journal.
        """
        body = {"reason": reason} | ({"to": to} if to else {}) | ({"from": leaving} if leaving else {})
        return self._begin(
            f"/v1/models/{check_name(name)}/rollback", f"going back with {name}", body, again=bool(leaving)
        )

    def pull(self, reference: str) -> RemoteOperation:
        """Lets the box fetch a bundle from a registry."""
        return self._begin("/v1/pulls", f"a pull of {reference}", {"from": reference})

    def operation(self, identity: str, *, wait_seconds: float = 0.0) -> RemoteOperation:
        """How far an operation is.

        Args:
            identity: Its id.
            wait_seconds: How long the box may wait for its end before it answers.
        """
        path = f"/v1/operations/{identity}" + (f"?wait={wait_seconds:.3f}" if wait_seconds else "")
        return RemoteOperation.of(self._get(path, f"operation {identity}"))

    def finish(
        self, begin: Callable[[], RemoteOperation], *, seconds: float, told: Told | None = None
    ) -> RemoteOperation:
        """Asks for a change and waits for its end.

        Args:
            begin: Asks for it.
            seconds: How long to wait.
            told: Called with each step; may raise.

        Raises:
            TransferError: It failed, or takes longer; the message has the box's reason.
        """
        told = told or (lambda step: None)
        end, forgotten = self._clock() + seconds, 0
        found = begin()
        while found.state == "running":
            told(found.step)
            left = end - self._clock()
            if left <= 0:
                raise TransferError(
                    f"{self.at}: {found.kind} {found.id} takes longer than {seconds:g} seconds ({found.step}); "
                    "it goes on there",
                    code="deadline",
                )
            # Less than half of the time that a silent link is given.
            wait = min(_POLL_SECONDS, left, self.registry.patience.silence_seconds / 2)
            asked = self._clock()
            try:
                found = self.operation(found.id, wait_seconds=wait)
            except TransferError as error:
                forgotten += 1
                if error.status != 404 or forgotten > _TIMES_FORGOTTEN:
                    raise
                found = begin()
            if found.state == "running" and self._clock() - asked < wait / 2:
                time.sleep(min(_PAUSE_SECONDS, wait))  # the box has no thread to spare for waiting
        told(found.step)
        if found.state != "done":
            raise TransferError(f"{self.at}: {found.kind}: {found.reason or found.state}", code="failed")
        return found

    # Below the line

    def _get(self, path: str, what: str) -> dict[str, Any]:
        return self._ask("GET", path, what, b"")

    def _begin(self, path: str, what: str, body: dict[str, Any], *, again: bool = True) -> RemoteOperation:
        return RemoteOperation.of(self._ask("POST", path, what, json.dumps(body).encode(), again=again))

    def _ask(self, method: str, path: str, what: str, body: bytes, *, again: bool = True) -> dict[str, Any]:
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body else {})
        patience = self.registry.patience if again else replace(self.registry.patience, attempts=1)
        attempts, document = Attempts(patience), None
        while document is None:
            with self.registry.ask(
                method, path, what=what, expect=_ANSWERS, headers=headers, body=body, attempts=attempts
            ) as answer:
                status = answer.status
                try:
                    document = self._document(answer, what)
                except Interrupted as error:
                    attempts.interrupted(error)
        if status >= 400:
            said = plain(document.get("error")) or "it gives no reason"
            raise TransferError(
                f"{self.at}: {what}: {said} ({status})", status=status, code=plain(document.get("code"))
            )
        return document

    def _document(self, answer: Answer, what: str) -> dict[str, Any]:
        data = answer.read(_ANSWER_MAX_BYTES)
        try:
            return parse_object(data, "its answer")
        except ArchiveError as error:
            if answer.length() is None:  # boxes always say it: the link broke in the middle of the headers
                raise Interrupted(f"{self.at}: {what}: the answer was cut off", code="interrupted") from error
            raise TransferError(
                f"{self.at}: {what}: answered {answer.status}, and not as a box does: {error}",
                status=answer.status,
                code="no_box",
            ) from error


def box_address(text: str) -> Reference:
    """The address of a box: ``[http://|https://]host[:port]``, https where nothing is said, but for this machine.

    Raises:
        TransferError: It is none, or has a path.
    """
    address = Reference.parse(text.removesuffix("/"))
    if address.name:
        raise TransferError(f"{text[:80]!r} has a path; a box is https://host:port")
    return address
