"""The releases API: what ``Releases`` can do, as HTTP.

Changes answer 200 when they are done, 202 while they go on (``?wait=SECONDS`` waits for the end), and the status of
what they failed of; each time with the operation.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from edgeml.bundles.keyring import MAX_BYTES
from edgeml.errors import RequestError
from edgeml.supervisor.call import Call, answer
from edgeml.supervisor.management_openapi import management_document
from edgeml.supervisor.operations import DONE, FAILED, Operation
from edgeml.supervisor.places import Places
from edgeml.supervisor.refusals import Answer, Headers, describe
from edgeml.supervisor.releases import Releases

# A swap takes milliseconds when the bundle is warm; most callers then need to ask only once.
_SHORT_WAIT_SECONDS = 2.0


class ReleasesPlane:
    """Answers about releases.

    Args:
        releases: What decides.
        waits: Places for waiting.
    """

    def __init__(self, releases: Releases, *, waits: Places) -> None:
        self._releases = releases
        self._waits = waits

    def health(self, call: Call) -> Answer:
        """Is the process alive?"""
        return answer({"live": True})

    def openapi(self, call: Call) -> Answer:
        """The OpenAPI document."""
        return answer(management_document())

    def status(self, call: Call) -> Answer:
        """The box."""
        return answer(self._releases.status())

    def models(self, call: Call) -> Answer:
        """All models."""
        return answer({"models": list(self._releases.list().values())})

    def model(self, call: Call, name: str) -> Answer:
        """One model."""
        return answer(self._releases.model(name))

    def card(self, call: Call, name: str) -> Answer:
        """A model card."""
        text = self._releases.card(name, call.query("digest"))
        return 200, [("Content-Type", "text/markdown; charset=utf-8")], text

    def history(self, call: Call, name: str) -> Answer:
        """What happened."""
        limit = call.query("limit") or "100"
        if not limit.isascii() or not limit.isdigit() or len(limit) > 6:
            raise RequestError(f"limit is a whole number, not {limit[:40]!r}", field="limit")
        return answer({"model": name, "events": self._releases.history(name, int(limit))})

    def activate(self, call: Call, name: str) -> Answer:
        """Tries a release."""
        seconds, asked = call.wait(), call.document(digest=str, version=str, order=str, now=bool)
        operation = self._releases.activate(
            _wanted(asked, needed=True),
            model=name,
            order=_order(asked.get("order")),
            now=asked.get("now", False),
            who=call.caller.name,
        )
        return self._begun(operation, seconds)

    def confirm(self, call: Call, name: str) -> Answer:
        """Ends the trial well."""
        seconds, asked = _short(call), call.document(digest=str, version=str, reason=str)
        operation = self._releases.confirm(
            name, wanted=_wanted(asked), reason=asked.get("reason", ""), who=call.caller.name
        )
        return self._begun(operation, seconds)

    def roll_back(self, call: Call, name: str) -> Answer:
        """Goes back."""
        seconds, asked = _short(call), call.document(**{"to": str, "from": str, "reason": str})
        operation = self._releases.roll_back(
            name,
            to=asked.get("to", ""),
            leave=asked.get("from", ""),
            reason=asked.get("reason", ""),
            who=call.caller.name,
        )
        return self._begun(operation, seconds)

    def deny(self, call: Call, name: str) -> Answer:
        """Forbids a release."""
        seconds, asked = _short(call), call.document(digest=str, version=str, reason=str)
        operation = self._releases.deny(
            name, _wanted(asked, needed=True), reason=asked.get("reason", ""), who=call.caller.name
        )
        return self._begun(operation, seconds)

    def allow(self, call: Call, name: str) -> Answer:
        """Lifts a denial."""
        seconds, asked = _short(call), call.document(digest=str, version=str)
        operation = self._releases.allow(name, _wanted(asked, needed=True), who=call.caller.name)
        return self._begun(operation, seconds)

    def pull(self, call: Call) -> Answer:
        """Fetches a bundle."""
        seconds, asked = call.wait(), call.document(**{"from": str})
        if not asked.get("from"):
            raise RequestError("say where from: registry/name:tag", field="from")
        return self._begun(self._releases.pull(asked["from"], who=call.caller.name), seconds)

    def keyring(self, call: Call) -> Answer:
        """Trusts the next keyring."""
        version = self._releases.change_keyring(call.body.whole(MAX_BYTES), who=call.caller.name)
        return answer({"keyring": version})

    def operations(self, call: Call) -> Answer:
        """Changes under way and lately done."""
        return answer({"operations": [each.to_dict() for each in self._releases.operations.all()]})

    def operation(self, call: Call, id: str) -> Answer:
        """One of them. It was found, so the status is 200 even where it failed."""
        found = self._releases.operations.get(id)
        headers = self._wait(found, call.wait())
        return answer(found.to_dict(), headers=headers)

    def _begun(self, operation: Operation, seconds: float) -> Answer:
        headers = [("Location", f"/v1/operations/{operation.id}"), *self._wait(operation, seconds)]
        document = operation.to_dict()
        if document["state"] == FAILED and operation.error is not None:
            status, problem = describe(operation.error)
            return answer(problem | {"operation": document}, status, headers)
        return answer(document, 200 if document["state"] == DONE else 202, headers)

    def _wait(self, operation: Operation, seconds: float) -> Headers:
        """Waits for an end, where a thread may be had for it; gives what is to be said where none may."""
        if operation.wait(0) or not seconds:
            return []
        turn = self._waits.take_if_free()
        if turn is None:
            return [("Retry-After", "1")]  # whoever asks again at once would only ask more often
        with turn:
            operation.wait(seconds)
        return []


def _short(call: Call) -> float:
    return call.wait() or _SHORT_WAIT_SECONDS


def _wanted(asked: dict[str, Any], *, needed: bool = False) -> str:
    given = [key for key in ("digest", "version") if asked.get(key)]
    if len(given) > 1 or (needed and not given):
        raise RequestError("name the release by digest or by version", field="digest")
    return str(asked[given[0]]) if given else ""


def _order(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("order must be base64 of the signed order", field="order") from None
