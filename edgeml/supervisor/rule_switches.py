"""Which rules of which bundles must not answer: decided by the watch or by a person, kept by digest.

1. One small file for each bundle, ``monitors/<digest>.rules``, replaced as a whole with each decision. So a decision
   outlives worker, supervisor and power cuts, and another bundle, which has another digest, is not concerned by it.
2. A file that is lost or damaged only lets the rules answer again. What found a rule out is still in its counts, so
   where the watch may disable rules it does so again.
3. That a person has enabled a rule is a decision too: the watch does not disable it again.
4. The supervisor asks here whenever it orders something, so nothing here waits for evidence or for the disk but whoever
   changes something.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.documents import canonical, parse_object
from edgeml.bundles.files import replace_file
from edgeml.bundles.state import bare
from edgeml.errors import EdgemlError, RequestError, StateError

SUFFIX = ".rules"
# An order for a worker names them all, in a message that is bounded. With more of them the bundle is what is wrong.
MOST_DISABLED = 500
_MOST_BYTES = 4 * 1024 * 1024
_MOST_TEXT = 400


class RuleSwitches:
    """What was decided of the rules of a store's bundles. Any thread may call any method.

    Args:
        folder: Where the files are.
        keeps: Whether decisions are written down, and damaged files removed.
        say: Told what people should read, a line each.
    """

    def __init__(self, folder: Path, *, keeps: bool = True, say: Callable[[str], None] = lambda line: None) -> None:
        self._folder = folder
        self._keeps = keeps
        self._say = say
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        # Hex digest -> rule -> what was decided. Replaced, never changed: whoever took one reads on undisturbed.
        self._known: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        self._unwritten: set[str] = set()
        self._failure = ""

    def of(self, digest: str) -> Mapping[str, Mapping[str, Any]]:
        """What was decided of a bundle's rules.

        Args:
            digest: Its hex digest.

        Returns:
            Id of a rule -> ``disabled``, ``at`` (seconds since 1970), ``who`` and ``reason``.
        """
        known = self._known.get(digest)
        if known is None:
            found = self._read(digest)
            with self._lock:
                known = self._known.setdefault(digest, found)
        return known

    def disabled(self, digest: str) -> list[str]:
        """Ids of the rules of a bundle that must not answer."""
        return [rule for rule, each in self.of(digest).items() if each["disabled"]]

    def added(self, orders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Orders for a worker with the rules that must not answer."""
        made = []
        for each in orders:
            disabled = self.disabled(each["digest"]) if each["digest"] else []
            made.append({**each, "disabled_rules": disabled} if disabled else dict(each))
        return made

    def decide(self, digest: str, rule: str, disabled: bool, *, at: float, who: str, reason: str) -> None:
        """Decides of a rule; ``keep`` writes it down.

        Args:
            digest: Hex digest of the bundle.
            rule: Its id.
            disabled: Whether it must not answer.
            at: Seconds since 1970.
            who: Who decides.
            reason: Why.

        Raises:
            RequestError: There are too many already.
        """
        self.of(digest)
        decided = {"disabled": disabled, "at": at, "who": who[:_MOST_TEXT], "reason": reason[:_MOST_TEXT]}
        with self._lock:
            known = self._known[digest]
            others = sum(each["disabled"] for name, each in known.items() if name != rule)
            if disabled and others >= MOST_DISABLED:
                raise RequestError(
                    f"{others} rules of this bundle are disabled already, and no more may be; build it again without "
                    "them, or go back from it",
                    code="too_many",
                    field="rule",
                )
            self._known[digest] = {**known, rule: decided}
            self._unwritten.add(digest)

    def keep(self) -> str:
        """Writes down what is not written yet. What the disk refuses counts all the same, and is tried again.

        Returns:
            Why the disk refused; empty where it did not.
        """
        failure = ""
        with self._writing:
            with self._lock:
                waiting = {digest: self._known.get(digest, {}) for digest in self._unwritten}
                self._unwritten.clear()
            for digest, known in waiting.items() if self._keeps else ():
                try:
                    data = canonical({"digest": digest, "rules": known}, SUFFIX, error=StateError)
                    self._folder.mkdir(mode=0o750, exist_ok=True)
                    replace_file(self._path(digest), [data], mode=0o640)
                except OSError as error:
                    failure = str(error)
                    with self._lock:
                        self._unwritten.add(digest)
        if failure and failure != self._failure:
            self._say(f"what was decided of rules cannot be kept: {failure}")
        self._failure = failure
        return failure

    def forget(self, installed: Collection[str]) -> None:
        """Lets go of bundles that are no longer installed.

        Args:
            installed: Hex digests of those that are.
        """
        with self._lock:
            self._known = {digest: each for digest, each in self._known.items() if digest in installed}
            self._unwritten &= set(installed)
        if self._keeps:
            with suppress(OSError):
                for path in self._folder.iterdir():
                    if path.suffix == SUFFIX and path.stem not in installed:
                        path.unlink()

    def _read(self, digest: str) -> Mapping[str, Mapping[str, Any]]:
        path = self._path(digest)
        try:
            document = parse_object(SYSTEM.read(path, _MOST_BYTES), path.name, error=StateError)
            if document["digest"] != digest:
                raise ValueError(f"it is of sha256:{str(document['digest'])[:12]}")
            return {str(rule): _decision(each) for rule, each in document["rules"].items()}
        except FileNotFoundError:
            return {}
        except (EdgemlError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            self._say(f"{path} is damaged, so all rules answer that were disabled by it: {error}")
            if self._keeps and not isinstance(error, OSError):
                with suppress(OSError):
                    path.unlink()
            return {}

    def _path(self, digest: str) -> Path:
        return self._folder / f"{bare(digest)}{SUFFIX}"


def _decision(document: Mapping[str, Any]) -> dict[str, Any]:
    if type(document["disabled"]) is not bool:
        raise ValueError(f"disabled is true or false, not {document['disabled']!r}")
    at = float(document["at"])
    return {
        "disabled": document["disabled"],
        "at": at,
        "who": str(document["who"])[:_MOST_TEXT],
        "reason": str(document["reason"])[:_MOST_TEXT],
    }
