"""What disables the rules that were found out, and does what a person says of rules.

The worker is told by its orders (``RuleSwitches.added``): whoever changes something here nudges the supervisor, which
orders anew.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from typing import Any

from edgeml.bundles.documents import parse_object
from edgeml.bundles.event import Event
from edgeml.bundles.manifest import Manifest
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError, NotInstalledError, RequestError
from edgeml.monitor.rule_promises import RulePromise, rule_promises
from edgeml.monitor.watch import Watch
from edgeml.supervisor.rule_switches import RuleSwitches

RULES = "rules.json"
# How long whoever switches a rule waits until the worker does as it is told.
FOLLOW_S = 10.0
_LONGEST_REASON = 200


class RuleGuard:
    """Disables and enables rules of the bundles of one store. Any thread may call any method.

    Args:
        store: The store.
        switches: What was decided.
        say: Told what people should read, a line each.
        now: Seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        switches: RuleSwitches,
        *,
        say: Callable[[str], None] = lambda line: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._switches = switches
        self._say = say
        self._now = now
        self._events: Callable[[tuple[Any, ...]], None] = lambda event: None
        # Digests of bundles of which no more rules may be disabled, as was said.
        self._full: set[str] = set()

    def nudges(self, events: Callable[[tuple[Any, ...]], None]) -> None:
        """Says where the supervisor takes events."""
        self._events = events

    def look(self, model: str, watch: Watch, allowed: bool) -> None:
        """Disables the rules that were found out and of which nothing was decided yet.

        Args:
            model: Name of the model.
            watch: What is known of its bundle.
            allowed: Whether the operator lets the watch disable rules.
        """
        if not allowed:
            return
        known = self._switches.of(watch.digest)
        wrong = {rule: each for rule, each in watch.wrong_rules().items() if rule not in known}
        decided = []
        for rule, finding in wrong.items():
            try:
                self._switches.decide(watch.digest, rule, True, at=self._now(), who="supervisor", reason=finding.text)
            except RequestError as error:
                # Once: it is asked for again with whatever is counted.
                if watch.digest not in self._full:
                    self._say(f"{model}: rule {rule} is not disabled: {error}")
                    self._full.add(watch.digest)
                break
            decided.append(rule)
        if not decided:
            return
        # Before it is written down: a disk that refuses must not let a wrong rule answer.
        self._events(("nudge", lambda answer: None, FOLLOW_S))
        self._switches.keep()
        for rule in decided:
            self._note(model, watch.digest, rule, f"rule {rule} is disabled until the next bundle", "supervisor")

    def switch(self, model: str, rule: str, disabled: bool, *, who: str, reason: str = "") -> dict[str, Any]:
        """Does what a person says of a rule of the bundle that answers.

        Args:
            model: Name of the model.
            rule: Id of the rule.
            disabled: Whether it must not answer.
            who: For the journal.
            reason: Why.

        Returns:
            ``model``, ``bundle``, ``rule``, ``disabled``; ``followed``: whether the worker does so already;
            ``failure``: why it could not be written down, empty where it could.

        Raises:
            NotInstalledError: The box does not have the model, or nothing of it answers.
            RequestError: The bundle has no such rule, or too many are disabled.
        """
        digest = self._answering(model)
        known = {each.id for each in promises_of(self._store, self._store.manifest(digest)) if each.answers}
        if rule not in known:
            raise RequestError(
                f"{model} has no rule {rule[:80]!r} that answers; 'edgeml quality {model} --all' lists them",
                code="unknown_rule",
                field="rule",
            )
        why = reason[:_LONGEST_REASON]
        self._switches.decide(digest, rule, disabled, at=self._now(), who=who, reason=why)
        failure = self._switches.keep()
        text = f"rule {rule} is {'disabled until the next bundle' if disabled else 'enabled'}"
        self._note(model, digest, rule, f"{text}: {why}" if why else text, who)
        return {
            "model": model,
            "bundle": f"sha256:{digest}",
            "rule": rule,
            "disabled": disabled,
            "followed": self._followed(model, digest, rule, disabled),
            "failure": failure,
        }

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answers a command on the box."""
        return self.switch(
            str(asked["model"]),
            str(asked["rule"]),
            asked.get("disabled") is True,
            who=str(asked.get("who", "cli")),
            reason=str(asked.get("reason", "")),
        )

    def _followed(self, model: str, digest: str, rule: str, disabled: bool) -> bool:
        answers: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._events(("nudge", answers.put, FOLLOW_S))
        try:
            live = answers.get(timeout=FOLLOW_S + 1)
        except queue.Empty:
            return False
        serves = live.get("models", {}).get(model, {})
        same = serves.get("digest") == f"sha256:{digest}"
        return same and (rule in serves.get("disabled_rules", ())) == disabled

    def _answering(self, model: str) -> str:
        state = self._store.state()
        known = state.models.get(model)
        digest = None if known is None else known.candidate or known.active or known.last_resort
        if digest is None:
            raise NotInstalledError(f"nothing answers for {model[:80]!r}; see 'edgeml status'")
        return digest

    def _note(self, model: str, digest: str, rule: str, text: str, who: str) -> None:
        self._say(f"{model}: {text}")
        self._store.note(Event("rule", model, digest, text, signal=rule), who=who)


def promises_of(store: Store, manifest: Manifest, quality: Mapping[str, Any] | None = None) -> tuple[RulePromise, ...]:
    """What the rules of an installed bundle promise; nothing where it has none, or they cannot be read.

    Args:
        store: Where it is installed.
        manifest: Its manifest.
        quality: The member ``quality`` of its ``reference.json``; None where it has none.
    """
    member = manifest.members.get(RULES)
    if member is None:
        return ()
    try:
        document = parse_object(store.blobs.read(bare(member.digest), max(member.size, 1)), RULES)
        return rule_promises(document, quality)
    except (EdgemlError, OSError, ValueError):
        return ()  # no worker takes it either
