"""What a store holds for one model, without disk, clock, digests or reasons: the rules in fifty lines."""

from __future__ import annotations

from dataclasses import dataclass, field


class Refused(Exception):
    """The rules forbid it; nothing changes."""


@dataclass
class Oracle:
    """Bundles are known by their version; each has a security epoch."""

    installed: dict[str, int] = field(default_factory=dict)
    confirmed: dict[str, int] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    active: str | None = None
    previous: str | None = None
    candidate: str | None = None
    tries: int = 0
    deaths: int = 3
    resort: str | None = None
    resort_tries: int = 0
    floor: int = 0
    clock: int = 0

    def install(self, version: str, epoch: int) -> None:
        need(version in self.installed or epoch >= self.floor)
        self.installed.setdefault(version, epoch)

    def activate(self, version: str, *, now: bool) -> None:
        need(version in self.installed and self.installed[version] >= self.floor and version not in self.denied)
        if self.candidate is None and self.active == version:
            return
        need(self.candidate in (None, version))
        if now:
            self._answer(version)
        elif self.candidate is None:
            self.candidate, self.tries = version, 3

    def confirm(self) -> None:
        need(self.candidate is not None)
        self._answer(str(self.candidate))

    def withdraw(self) -> None:
        need(self.candidate is not None)
        self.candidate, self.tries = None, 0

    def roll_back(self, to: str | None = None, *, by_itself: bool = False) -> None:
        if self.candidate is not None and to != self.candidate:
            self.denied.add(self.candidate)
            if by_itself and self.active is None and self.resort is None:
                self.resort, self.resort_tries = self.candidate, 3
            self.candidate, self.tries = None, 0
            if to in (None, self.active):
                return
        elif to is not None and to == self.active:
            return
        to = to or self.previous
        need(to in self.confirmed and to not in self.denied and self.installed.get(str(to), -1) >= self.floor)
        self.denied |= {self.active} - {None}  # type: ignore[arg-type]
        at = self.confirmed[str(to)]
        self._answer(str(to))
        self.confirmed[str(to)] = at

    def deny(self, version: str) -> None:
        need(version in self.installed and version not in (self.active, self.candidate))
        self.denied.add(version)
        if self.resort == version:
            self.resort, self.resort_tries = None, 0
        if self.previous == version:
            self.previous = self._best()

    def allow(self, version: str) -> None:
        need(version in self.installed)
        self.denied.discard(version)

    def load(self) -> None:
        if self.candidate is not None:
            if self.tries:
                self.tries -= 1
                return
            self.roll_back(by_itself=True)
        if self.active is None and self.resort is not None:
            if self.resort_tries:
                self.resort_tries -= 1
            else:
                self.denied.add(self.resort)
                self.resort = None

    def died(self) -> None:
        if self.candidate is not None or self.active is None:
            return
        left = (self.deaths or 3) - 1
        if left:
            self.deaths = left
            return
        try:
            self.roll_back()
            self.deaths = 0
        except Refused:
            self.denied.add(self.active)
            self.resort, self.resort_tries = self.active, 3
            self.active = None

    def healthy(self) -> None:
        self.deaths = 3 if self.active else self.deaths
        self.tries = 3 if self.candidate else self.tries
        self.resort_tries = 3 if self.resort and not self.active and not self.candidate else self.resort_tries

    def collect(self) -> None:
        kept = {self.active, self.previous, self.candidate, self.resort}
        self.installed = {each: epoch for each, epoch in self.installed.items() if each in kept}
        self.confirmed = {each: at for each, at in self.confirmed.items() if each in kept}

    def _answer(self, version: str) -> None:
        old, self.active = self.active, version
        self.clock += 1
        self.confirmed[version] = self.clock
        self.candidate, self.tries, self.deaths, self.resort, self.resort_tries = None, 0, 3, None, 0
        self.floor = max(self.floor, self.installed[version])
        if old not in (None, version) and old not in self.denied:
            self.previous = old
        if self.previous in self.denied | {None, version} or self.installed[str(self.previous)] < self.floor:
            self.previous = self._best()

    def _best(self) -> str | None:
        fit = self.confirmed.keys() - self.denied - {self.active}
        fit = {each for each in fit if self.installed[each] >= self.floor}
        return max(fit, key=lambda each: self.confirmed[each], default=None)


def need(condition: bool) -> None:
    """Refuses where the condition does not hold."""
    if not condition:
        raise Refused
