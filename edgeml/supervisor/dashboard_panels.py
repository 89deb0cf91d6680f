"""The panels of the dashboard about releases, traffic, latency and what happened, as HTML.

Each takes what is known and gives markup; a value that is not there is shown as a dash. Times are UTC and none is
relative, so that a panel changes only when what it says does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeml.supervisor import dashboard_svg as svg
from edgeml.supervisor.dashboard_html import (
    NOTHING,
    Html,
    badge,
    count,
    duration,
    facts,
    is_number,
    join,
    moment,
    note,
    number,
    percent,
    shown,
    size,
    table,
    tag,
)

TIERS = ("rule", "middle", "model", "fallback")
MOST_FINDINGS = 20
MOST_FIELDS = 50
OBJECTIVES = {"p99_ms": "99th percentile", "deadline_ms": "deadline"}
_STATES = {"confirmed": "good", "trial": "warn", "rejected": "bad"}
_EVENTS = {
    "activated": "good",
    "confirmed": "good",
    "rolled_back": "bad",
    "rejected": "bad",
    "denied": "bad",
    "died": "bad",
    "withdrawn": "warn",
    "recovered": "warn",
    "rule": "warn",
}
# How much traffic the longest window of a burn rate has behind it is shown by its name.
_WINDOWS = {"300": "5 min", "1800": "30 min", "3600": "1 h", "21600": "6 h", "259200": "3 days"}


@dataclass(frozen=True)
class View:
    """What is known of the model that is shown, and of the box.

    Attributes:
        model: As ``Releases.model`` gives it.
        box: As ``Releases.status`` gives it.
        report: What was watched; empty where nothing was.
        events: As ``Releases.history`` gives them.
        card: The model card, rendered; None where there is none.
        may_release: Whether the caller may change what answers.
    """

    model: Mapping[str, Any]
    box: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    card: Html | None = None
    may_release: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.model["name"])

    def release(self, digest: str | None) -> Mapping[str, Any]:
        """One of its releases; empty where it is not known."""
        return next((each for each in self.model["releases"] if each["digest"] == digest), {})

    def called(self, digest: str | None) -> Html:
        """Version and the beginning of the digest."""
        if not digest:
            return Html(NOTHING)
        version = self.release(digest).get("version")
        short = tag("code", shown(digest)[:19])
        return join((tag("strong", str(version)), " ", short)) if version else short


def models_panel(models: Mapping[str, Mapping[str, Any]], chosen: str) -> Html:
    """The models of the box; the one that is shown is marked."""
    if not models:
        return note("No bundle is installed yet. Push one with ", tag("code", "edgeml push"), ".")
    links = []
    for name, model in models.items():
        serves = model.get("serves") or {}
        state, level = (
            ("on trial", "warn")
            if model.get("candidate")
            else ("serving", "good")
            if serves.get("ready")
            else ("not served", "bad")
        )
        here = "true" if name == chosen else None
        link = tag(
            "a", name, " ", badge(state, level), href="#", data_model=name, data_keep=f"model {name}", aria_current=here
        )
        links.append(tag("li", link))
    return tag("ul", *links)


def release_panel(view: View) -> Html:
    """What answers, what is on trial, what there is to go back to; and the buttons."""
    model = view.model
    serves = model.get("serves")
    answers = model["candidate"] or model["active"]
    if serves is None:
        serving = badge("no worker serves it", "bad")
    elif not serves.get("ready"):
        serving = join((badge("not served", "bad"), " ", str(serves.get("reason") or "")))
    elif serves.get("digest") != answers:
        serving = join((view.called(serves["digest"]), " ", badge("is being exchanged", "warn")))
    else:
        serving = join((view.called(serves["digest"]), " ", badge("serving", "good")))
    pairs: list[tuple[str, str | None]] = [("Serves", serving), ("Active", view.called(model["active"]))]
    if model["candidate"]:
        tries = f"{count(model.get('tries_left'))} starts left"
        pairs.append(("On trial", join((view.called(model["candidate"]), " ", badge(tries, "warn")))))
    pairs.append(("To go back to", view.called(_back(model))))
    return join((facts(pairs), _trial(model.get("trial")), _buttons(view), _releases(view)))


def _back(model: Mapping[str, Any]) -> str | None:
    found: str | None = model["active"] if model["candidate"] else model["previous"]
    return found


def _trial(trial: Mapping[str, Any] | None) -> Html | None:
    if not trial:
        return None
    needed = trial.get("needed") or {}
    verdict = str(trial.get("verdict") or "")
    reason = str(trial.get("reason") or "")
    left = (
        f"{count(trial.get('requests'))} answers in {number(trial.get('elapsed_seconds'))} s; "
        f"{count(needed.get('requests'))} answers and {number(needed.get('seconds'))} s to go"
    )
    rows = [
        (name.replace("_", " "), badge(str(each.get("state")), _SIGNALS.get(str(each.get("state")), "none")))
        + (number(each.get("value")), number(each.get("limit")))
        for name, each in (trial.get("signals") or {}).items()
    ]
    warnings = [
        note(f"{str(each.get('signal')).replace('_', ' ')}: {each.get('reason')}", level="warn")
        for each in trial.get("warnings") or []
    ]
    signals = table("Signals of the trial", ("signal", "state", "value", "limit"), rows, numbers=2) if rows else None
    return tag(
        "div",
        tag("h3", "Trial"),
        facts([("So far", left), ("Verdict", join((tag("strong", verdict), " ", reason)))]),
        *warnings,
        _details("signals", "Signals", signals) if signals else None,
    )


_SIGNALS = {"fine": "good", "ambiguous": "warn", "failed": "bad"}


def _buttons(view: View) -> Html:
    model = view.model
    if not view.may_release:
        return note("This token may only read; confirming and going back need the scope “release”.")
    made = []
    if model["candidate"]:
        version = view.release(model["candidate"]).get("version", "")
        made.append(_button(f"Confirm {shown(version, longest=40)}", "confirm", view.name, model["candidate"], version))
    answers, back = model["candidate"] or model["active"], _back(model)
    if answers and back:
        version = view.release(back).get("version", "")
        made.append(
            _button(f"Roll back to {shown(version, longest=40)}", "rollback", view.name, answers, version, danger=True)
        )
    return tag("div", *made, class_="buttons") if made else note("There is nothing to go back to.")


def _button(words: str, act: str, model: str, digest: str, version: Any, *, danger: bool = False) -> Html:
    return tag(
        "button",
        words,
        type="button",
        class_="danger" if danger else None,
        data_act=act,
        data_model=model,
        data_digest=digest,
        data_called=shown(model, longest=80),
        data_version=shown(version, longest=80),
        data_keep=f"{act} {model}",
    )


def _releases(view: View) -> Html:
    rows = [
        (
            str(each["version"]),
            tag("code", shown(each["digest"])[:19]),
            badge(str(each["state"]), _STATES.get(str(each["state"]), "none")),
            moment(each["installed"]),
            str(each["reason"]),
        )
        for each in view.model["releases"][:MOST_FIELDS]
    ]
    listed = table("Installed releases", ("version", "digest", "state", "installed", "reason"), rows)
    return _details("releases", f"Installed releases ({len(view.model['releases'])})", listed)


def _details(key: str, summary: str, *parts: str | None) -> Html:
    return tag("details", tag("summary", summary, data_keep=f"summary {key}"), *parts, data_open=key)


def traffic_panel(view: View) -> Html:
    """How much is asked, and who answers."""
    report = view.report
    if not report.get("answered") and not report.get("refused"):
        return note("Nothing has been asked since this bundle began to answer.")
    tiers = {name: (report.get("tiers") or {}).get(name) or 0 for name in TIERS}
    if not tiers["middle"]:
        del tiers["middle"]  # most bundles have none
    total = sum(tiers.values())
    rows = [
        (
            join((tag("span", class_=f"key tier-{name}", aria_hidden="true"), name)),
            count(number_),
            percent(number_ / total if total else None),
        )
        for name, number_ in tiers.items()
    ]
    return join(
        (
            facts(
                [
                    ("Rate, last minute", f"{number(report.get('rate'))} answers/s"),
                    ("Answered", count(report.get("answered"))),
                    ("Refused", count(report.get("refused"))),
                    ("Since", moment(report.get("since"))),
                ]
            ),
            svg.traffic(report.get("traffic") or [], report.get("now") or 0.0),
            keys(("answered", "answered"), ("refused", "refused")),
            svg.shares("Answers by tier", tiers),
            table("Answers by tier", ("tier", "answers", "share"), rows, numbers=2),
        )
    )


def keys(*entries: tuple[str, str]) -> Html:
    """What the colours of a plot mean."""
    return tag(
        "p",
        *(
            join((tag("span", tag("span", class_=f"key {class_}", aria_hidden="true"), words, class_="entry"), " "))
            for class_, words in entries
        ),
        class_="keys",
    )


def latency_panel(view: View) -> Html:
    """How long answers take, and what the bundle promises."""
    tiers = {name: each for name, each in (view.report.get("latency") or {}).items() if each.get("count")}
    objectives = view.report.get("objectives") or []
    if not tiers and not objectives:
        return note("Nothing has been measured yet.")
    rows = [
        (
            name,
            *(duration(each.get(key)) for key in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")),
        )
        for name, each in tiers.items()
    ]
    headings = ("tier", "median", "p90", "p99", "p99.9", "max")
    limits = {str(each["name"]).removesuffix("_ms"): each["limit_ms"] * 1000 for each in objectives}
    parts = [
        svg.latency(tiers, limits),
        keys(
            ("quantile", "median to 99.9th percentile"),
            ("limit p99", "limit of the 99th"),
            ("limit deadline", "deadline"),
        ),
        table("Latency inside the service", headings, rows, numbers=5),
    ]
    if not objectives:
        parts.append(note("The bundle promises no latency, so there is no error budget."))
    for each in objectives:
        parts.append(_objective(each))
    return join(parts)


def _objective(each: Mapping[str, Any]) -> Html:
    name = OBJECTIVES.get(str(each["name"]), str(each["name"]))
    level = {"ok": ("holds", "good"), "slow": ("burns slowly", "warn"), "fast": ("burns fast", "bad")}.get(
        str(each.get("level")), (str(each.get("level")), "none")
    )
    burn = [(_WINDOWS.get(str(key), f"{key} s"), number(value)) for key, value in (each.get("burn") or {}).items()]
    return tag(
        "div",
        tag("h3", f"{name}: {number(each.get('limit_ms'))} ms ", badge(*level)),
        facts(
            [
                (
                    "Late, last hour",
                    f"{count(each.get('late'))} of {count(each.get('answers'))} ({percent(each.get('share'), 2)})",
                ),
                ("May be late", percent(each.get("budget"), 2)),
                ("Error budget left, 3 days", percent(each.get("left"))),
            ]
        ),
        table("Burn rate: 1 spends the budget exactly", [window for window, _ in burn], [[rate for _, rate in burn]])
        if burn
        else None,
    )


def quality_panel(view: View) -> Html:
    """How good answers are: estimated without labels, and with those that came."""
    quality = view.report.get("quality") or {}
    estimated, realised = quality.get("estimated") or {}, quality.get("realised") or {}
    agreement = quality.get("agreement") or {}
    rows = [
        (name, figure["value"], figure["low"], figure["high"])
        for name, figure in (("estimated", estimated.get("accuracy")), ("realised", realised.get("accuracy")))
        if figure
    ]
    parts: list[Html] = []
    if rows:
        parts.append(svg.intervals("Accuracy with its interval", rows))
        listed = [
            (f"{name} accuracy", percent(value), f"{percent(low)} to {percent(high)}", count(of.get("rows")))
            for (name, value, low, high), of in zip(
                rows, [each for each in (estimated, realised) if each.get("accuracy")], strict=True
            )
        ]
        for name, of in (("estimated", estimated), ("realised", realised)):
            listed += [
                (f"{name} macro {measure}", percent(_value(found)), _interval(found), count(of.get("rows")))
                for measure, found in (of.get("macro") or {}).items()
                if _value(found) is not None
            ]
        parts.append(table("Quality of the answers", ("measure", "value", "interval", "answers"), listed, numbers=3))
    errors = [
        (
            tier,
            count(each.get("rows")),
            number(each.get("mean_absolute_error")),
            number(each.get("root_mean_squared_error")),
        )
        for tier, each in (realised.get("by_tier") or {}).items()
        if "mean_absolute_error" in each
    ]
    if errors:
        headings = ("tier", "labels", "mean absolute error", "root mean squared error")
        parts.append(table("Errors of the values that labels came for", headings, errors, numbers=3))
    if agreement:
        agrees = bool(agreement.get("agrees"))
        words = "labels agree with the estimate" if agrees else "labels contradict the estimate"
        parts.append(
            note(
                badge(words, "good" if agrees else "bad"),
                f" {percent(agreement.get('expected'))} were expected to be right, "
                f"{percent(_value(agreement.get('realised')))} of {count(agreement.get('rows'))} were.",
            )
        )
    if not realised:
        parts.append(note("No label has come back yet; POST /v1/feedback takes them, however late."))
    parts += [note(f"{str(each)[:1].upper()}{str(each)[1:]}.") for each in quality.get("notes") or []]
    return join(parts)


def _value(figure: Any) -> float | None:
    found = figure.get("value") if isinstance(figure, Mapping) else figure
    return found if is_number(found) else None


def _interval(figure: Any) -> str:
    if isinstance(figure, Mapping) and is_number(figure.get("low")) and is_number(figure.get("high")):
        return f"{percent(figure['low'])} to {percent(figure['high'])}"
    return NOTHING


def validation_panel(view: View) -> Html:
    """What was refused, and what has probably happened to the data."""
    validation = view.report.get("validation") or {}
    findings, fields = validation.get("findings") or [], validation.get("fields") or {}
    requests = validation.get("requests") or {}
    parts: list[Html] = []
    for each in findings[:MOST_FINDINGS]:
        remedy = each.get("remedy")
        parts.append(
            tag(
                "li",
                tag("strong", str(each.get("text"))),
                f" ({count(each.get('records'))} records, {percent(each.get('share'))}) ",
                tag("span", str(remedy), class_="remedy") if remedy else None,
            )
        )
    listed = [tag("ul", *parts, class_="findings")] if parts else []
    if len(findings) > MOST_FINDINGS:
        listed.append(note(f"{len(findings) - MOST_FINDINGS} more findings are not shown."))
    counted = sorted(
        ((sum(codes.values()), name, codes) for name, codes in fields.items()),
        reverse=True,
        key=lambda each: (each[0], each[1]),
    )
    rows = [
        (name, count(total), ", ".join(f"{code.replace('_', ' ')} {count(n)}" for code, n in codes.items()))
        for total, name, codes in counted[:MOST_FIELDS]
    ]
    if rows:
        listed.append(table("Refused values by field", ("field", "refused", "why"), rows))
    if len(counted) > MOST_FIELDS:
        listed.append(note(f"The {MOST_FIELDS} fields that were refused most are shown, of {count(len(counted))}."))
    whole = [(code.replace("_", " "), count(n)) for code, n in requests.items()]
    if whole:
        listed.append(table("Requests refused as a whole", ("why", "requests"), whole, numbers=1))
    unknown = validation.get("unknown") or {}
    if unknown:
        names = ", ".join(
            f"{shown(name, longest=60)} ({count(n)})" for name, n in list(unknown.items())[:MOST_FINDINGS]
        )
        listed.append(note("Fields that the bundle does not know: ", names))
    return join(listed) if listed else note("Every record fitted the schema.")


def events_panel(view: View) -> Html:
    """What happened to the model, newest first."""
    if not view.events:
        return note("Nothing has happened yet.")
    items = [
        tag(
            "li",
            moment(each["at"]),
            " ",
            badge(str(each["kind"]).replace("_", " "), _level(str(each["kind"]))),
            " ",
            view.called(each.get("digest")) if each.get("digest") else None,
            f" by {each.get('who')}",
            tag("span", f" {each.get('reason')}", class_="reason") if each.get("reason") else None,
            tag("span", f" ({str(each['signal']).replace('_', ' ')})", class_="reason") if each.get("signal") else None,
        )
        for each in view.events
    ]
    return tag("ol", *items, class_="timeline")


def _level(kind: str) -> str:
    return "warn" if "drift" in kind or "alarm" in kind else _EVENTS.get(kind, "none")


def card_panel(view: View) -> Html:
    """The model card of the bundle that answers."""
    return (
        view.card
        if view.card is not None
        else note("There is no card: no bundle answers, or it was built without one.")
    )


def box_panel(box: Mapping[str, Any], report: Mapping[str, Any]) -> Html:
    """The box itself: worker, storage, and what is wrong with it."""
    live = box.get("live")
    worker = (live or {}).get("worker") or {}
    problems = [str(each) for each in box.get("problems") or []]
    degraded = str((live or {}).get("degraded") or "")
    if degraded and degraded not in problems:
        problems.append(degraded)
    monitors, capture = report.get("monitors") or {}, report.get("capture") or {}
    problems += [str(each["failure"]) for each in (monitors, capture) if each.get("failure")]
    storage = box.get("storage") or {}
    running = f"process {worker['pid']}, {size(worker.get('rss_bytes'))}" if worker.get("pid") else "none runs"
    pairs: list[tuple[str, str | None]] = [
        ("Worker", running),
        ("Its deaths in a row", count(worker.get("deaths"))),
        ("Bundles on disk", f"{size(storage.get('used_bytes'))} of {size(storage.get('quota_bytes'))}"),
        ("Free on disk", size(storage.get("free_bytes"))),
    ]
    if monitors:
        pairs += [
            ("Monitors in memory", size(monitors.get("state_bytes"))),
            ("Written by monitors today", size(monitors.get("bytes_today"))),
            ("Monitors kept last", moment(monitors.get("snapshot_at"))),
        ]
    if capture:
        kept = f"{count(capture.get('kept'))} records, {count(capture.get('labels'))} labels"
        pairs.append(("Captured", f"{kept}, {count(capture.get('dropped'))} dropped"))
    return join((*(note(each, level="bad") for each in problems), facts(pairs)))
