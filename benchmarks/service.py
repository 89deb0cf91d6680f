"""Requests over HTTP and memory: B8, B9, B10.

1. All services of a task are started and must answer every body with the right label; then all are paused.
2. A round wakes one service, presses it, counts its CPU time, pauses it; then the next. Rounds interleave.
3. Memory is taken from fresh services, one at a time, after exactly 10,000 requests.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import contestants, environments, http_load
from benchmarks.environments import PeerUnavailable
from benchmarks.measurement import Findings, Measurement, Say
from benchmarks.servers import Recipe, Server

CONNECTIONS = 16
MEMORY_REQUESTS = 10_000


class Bench:
    """The settings that all service tasks share.

    Args:
        folder: Folder of artifacts.
        root: The repository.
        server_core: Where services run.
        load_core: Where load comes from.
        wrk: Path of wrk or None.
        expected: Task -> the right labels of the asked rows.
        say: Told what takes long.
    """

    def __init__(
        self,
        *,
        folder: Path,
        root: Path,
        server_core: int,
        load_core: int,
        wrk: str | None,
        expected: dict[str, list[int]],
        say: Say,
    ) -> None:
        self.folder = folder
        self.root = root
        self.server_core = server_core
        self.load_core = load_core
        self.wrk = wrk
        self.expected = expected
        self.say = say

    def recipes(self, task: str, findings: Findings, *, who: set[str] | None = None) -> list[Recipe]:
        """The contestants of a task that can be installed; the others become gaps."""
        found: list[Recipe] = []
        if who is None or "edgeml" in who:
            found.append(contestants.edgeml_service(task, self.folder))
        for name, peer in contestants.PEER_SERVICES[task].items():
            if who is not None and name not in who:
                continue
            try:
                python = environments.ensure(peer, self.say)
            except PeerUnavailable as error:
                findings.gaps[name] = str(error)
                self.say(str(error))
                continue
            found.append(contestants.peer_service(task, name, python, self.folder))
        return found

    def start(self, task: str, recipe: Recipe, findings: Findings) -> Server | None:
        """Starts a service and checks all its answers; a service that fails becomes a gap."""
        self.say(f"starting {recipe.who} ({task})")
        name = "".join(letter if letter.isalnum() else "_" for letter in f"{task}_{recipe.who}")
        server = Server(recipe, core=self.server_core, log=self.folder / f"{name}.log", root=self.root)
        try:
            server.wait_until_right(self.expected[task][0])
            labels = server.labels()
            wrong = sum(a != b for a, b in zip(labels, self.expected[task], strict=True))
            if wrong and recipe.who == "edgeml":
                raise PeerUnavailable(f"{wrong} of {len(labels)} labels are wrong: not measured")
            if wrong:
                findings.notes.append(f"{task}: {recipe.who} gives {wrong} of {len(labels)} labels wrong")
            return server
        except (PeerUnavailable, OSError, KeyError, ValueError) as error:
            server.stop()
            findings.gaps[f"{task}/{recipe.who}"] = str(error)
            self.say(f"{recipe.who} ({task}): {error}")
            return None

    def rates(self, task: str, findings: Findings, *, rounds: int, seconds: float) -> None:
        """Measures requests per second of all contestants of a task."""
        servers: list[tuple[Server, Measurement]] = []
        try:
            unwatched = [contestants.edgeml_service(task, self.folder, watched=False)] if task == "w4" else []
            for recipe in [*self.recipes(task, findings), *unwatched]:
                server = self.start(task, recipe, findings)
                if server is not None:
                    self._round(server, seconds)  # warm-up, not counted
                    server.pause()
                    servers.append((server, Measurement(task, recipe.who, "req/s")))
            for number in range(rounds):
                self.say(f"{task} over HTTP, round {number + 1} of {rounds}")
                for server, measurement in servers:
                    server.resume()
                    load, cpu = self._round(server, seconds)
                    server.pause()
                    measurement.rounds.append(load.rate)
                    measurement.cpu.append(cpu / max(1, load.requests))
                    facts = measurement.facts
                    facts["errors"] = facts.get("errors", 0) + load.errors
                    facts.setdefault("p50_us", []).append(load.p50_us)
                    facts.setdefault("p99_us", []).append(load.p99_us)
            for _, measurement in servers:
                measurement.facts["load"] = "wrk" if self.wrk else "python"
                findings.add(measurement)
                if measurement.facts["errors"]:
                    findings.notes.append(f"{measurement.key}: {measurement.facts['errors']} requests failed")
        finally:
            for server, _ in servers:
                server.stop()

    def memory(self, findings: Findings, *, rounds: int) -> None:
        """Measures memory after 10,000 W4 requests, each service alone."""
        recipes = self.recipes("w4", findings)
        measured = {recipe.who: Measurement("memory", recipe.who, "bytes") for recipe in recipes}
        for number in range(rounds):
            for recipe in recipes:
                self.say(f"memory of {recipe.who} after {MEMORY_REQUESTS} requests, {number + 1} of {rounds}")
                server = self.start("w4", recipe, findings)
                if server is None:
                    continue
                try:
                    load = http_load.send(server.url, recipe.bodies, count=MEMORY_REQUESTS, connections=CONNECTIONS)
                    if load.errors:
                        findings.notes.append(f"memory/{recipe.who}: {load.errors} requests failed")
                    measured[recipe.who].rounds.append(server.pss())
                    measured[recipe.who].facts["processes"] = len(server.processes())
                finally:
                    server.stop()
        for measurement in measured.values():
            if measurement.rounds:
                findings.add(measurement)

    def _round(self, server: Server, seconds: float) -> tuple[http_load.Load, float]:
        cpu = server.cpu_seconds()
        load = http_load.press(
            server.url,
            server.recipe.bodies,
            seconds=seconds,
            connections=CONNECTIONS,
            core=self.load_core,
            wrk=self.wrk,
            folder=self.folder,
        )
        return load, server.cpu_seconds() - cpu
