"""The table of metrics: the names that dashboards and alerts rely on, what each means, and its labels.

Names follow the conventions of Prometheus: base units (seconds, bytes, ratios), ``_total`` on what only rises. The same
table stands in docs/metrics.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Named:
    """One metric.

    Attributes:
        kind: ``counter``, ``gauge`` or ``histogram``.
        labels: Names of its labels.
        help: What it is, for people.
    """

    kind: str
    labels: tuple[str, ...]
    help: str


_MODEL = "model version"

METRICS = {
    name: Named(kind, tuple(labels.split()), text)
    for name, kind, labels, text in (
        # The box
        ("edgeml_build_info", "gauge", "version", "1; the version of edgeml."),
        ("edgeml_worker_up", "gauge", "", "Whether there is a worker process."),
        (
            "edgeml_worker_recent_deaths",
            "gauge",
            "",
            "Workers that died in a row; 0 once one has answered well for a minute.",
        ),
        ("edgeml_worker_resident_memory_bytes", "gauge", "", "Resident memory of the worker with all its models."),
        (
            "edgeml_store_degraded",
            "gauge",
            "",
            "Whether the store takes no changes, or its record or journal cannot be used.",
        ),
        ("edgeml_snapshot_today_bytes", "gauge", "", "Bytes of kept counts written to the disk today (UTC)."),
        (
            "edgeml_snapshot_written_bytes_total",
            "counter",
            "",
            "Bytes of kept counts written to the disk since the supervisor began.",
        ),
        ("edgeml_snapshot_daily_limit_bytes", "gauge", "", "Bytes of kept counts from which on they become rarer."),
        ("edgeml_snapshot_failing", "gauge", "", "Whether the disk refused the last kept counts."),
        # Releases
        ("edgeml_model_ready", "gauge", "model", "Whether the whole of a bundle answers."),
        ("edgeml_model_degraded", "gauge", "model", "Whether its rules and fallback answer, without the model."),
        (
            "edgeml_release_info",
            "gauge",
            "model version digest role",
            "1; the bundle that is active, candidate (on trial) or previous.",
        ),
        ("edgeml_releases", "gauge", "model state", "Installed bundles by state."),
        ("edgeml_trial_active", "gauge", "model", "Whether a bundle is on trial."),
        ("edgeml_trial_tries_left", "gauge", "model", "How often the bundle on trial may still be loaded."),
        ("edgeml_trial_elapsed_seconds", "gauge", "model", "How long it has been on trial while it answered."),
        ("edgeml_trial_held", "gauge", "model", "Whether only a person can decide the trial."),
        # Traffic
        (
            "edgeml_watched_since_timestamp_seconds",
            "gauge",
            _MODEL,
            "Since when this bundle is counted, in seconds since 1970.",
        ),
        ("edgeml_answers_total", "counter", f"{_MODEL} tier", "Records answered, by who answered."),
        ("edgeml_answer_duration_seconds", "histogram", f"{_MODEL} tier", "How long answers took, by who answered."),
        ("edgeml_missed_deadlines_total", "counter", _MODEL, "Answers that came after their deadline."),
        ("edgeml_refused_records_total", "counter", _MODEL, "Records that broke the schema."),
        (
            "edgeml_rejected_requests_total",
            "counter",
            f"{_MODEL} code",
            "Requests that could not be read at all, by reason.",
        ),
        ("edgeml_violations_total", "counter", f"{_MODEL} code", "Ways in which records broke the schema, by reason."),
        (
            "edgeml_field_violations_total",
            "counter",
            f"{_MODEL} field code",
            "The same by field; the 100 commonest pairs.",
        ),
        ("edgeml_violated_fields", "gauge", _MODEL, "Fields with a violation, shown by name or not."),
        ("edgeml_unknown_values_total", "counter", _MODEL, "Values of unknown fields that were passed over."),
        # Objectives
        ("edgeml_objective_limit_seconds", "gauge", f"{_MODEL} objective", "How long an answer may take."),
        ("edgeml_objective_budget_ratio", "gauge", f"{_MODEL} objective", "Share of the answers that may be later."),
        (
            "edgeml_objective_budget_left_ratio",
            "gauge",
            f"{_MODEL} objective",
            "Share of the error budget of three days that is left; below 0 where it is overspent.",
        ),
        (
            "edgeml_objective_burn_rate",
            "gauge",
            f"{_MODEL} objective window",
            "How fast the error budget burns; 1 spends it exactly.",
        ),
        (
            "edgeml_objective_burning",
            "gauge",
            f"{_MODEL} objective speed",
            "Whether it burns so fast that somebody should look: now (fast) or this week (slow).",
        ),
        # Drift
        ("edgeml_drift_columns", "gauge", _MODEL, "Columns, shown by name or not."),
        ("edgeml_drift_unwatched_features", "gauge", _MODEL, "Features beyond the most that are watched."),
        ("edgeml_drift_rows", "gauge", _MODEL, "Records in the windows that are compared with the reference."),
        (
            "edgeml_drift_design_effect",
            "gauge",
            _MODEL,
            "How much more windows scatter than those of independent records; alarms are less certain above 2.",
        ),
        (
            "edgeml_drift_evidence_threshold_log10",
            "gauge",
            _MODEL,
            "Evidence from which on a column may raise an alarm, as a power of ten.",
        ),
        ("edgeml_drift_alarms", "gauge", f"{_MODEL} state", "Alarms that have not ended, of all columns."),
        (
            "edgeml_drift_evidence_log10",
            "gauge",
            f"{_MODEL} column",
            "Evidence that a column differs from the reference, as a power of ten; the 100 worst columns.",
        ),
        (
            "edgeml_drift_effect",
            "gauge",
            f"{_MODEL} column",
            "How much it differs beyond chance: population stability index.",
        ),
        ("edgeml_drift_level", "gauge", f"{_MODEL} column", "0 none, 1 certain but small, 2 drift."),
        ("edgeml_drift_alarm", "gauge", f"{_MODEL} column", "Whether it has an alarm that has not ended."),
        ("edgeml_drift_alarm_acknowledged", "gauge", f"{_MODEL} column", "Whether somebody has seen that alarm."),
        (
            "edgeml_column_psi",
            "gauge",
            f"{_MODEL} column",
            "Population stability index as it is usually computed, chance included.",
        ),
        ("edgeml_column_missing_ratio", "gauge", f"{_MODEL} column", "Share of records without a value."),
        # Quality
        ("edgeml_quality_estimated_ratio", "gauge", f"{_MODEL} measure", "Quality estimated without labels."),
        ("edgeml_quality_estimated_low_ratio", "gauge", f"{_MODEL} measure", "Lower end of its interval."),
        ("edgeml_quality_estimated_high_ratio", "gauge", f"{_MODEL} measure", "Upper end of its interval."),
        ("edgeml_quality_estimated_rows", "gauge", _MODEL, "Answers that the estimate is made from."),
        ("edgeml_quality_realised_ratio", "gauge", f"{_MODEL} measure", "Quality measured with labels that came."),
        ("edgeml_quality_realised_low_ratio", "gauge", f"{_MODEL} measure", "Lower end of its confidence sequence."),
        ("edgeml_quality_realised_high_ratio", "gauge", f"{_MODEL} measure", "Upper end of its confidence sequence."),
        ("edgeml_quality_realised_rows", "gauge", _MODEL, "Answers that a label came for."),
        ("edgeml_quality_reference_ratio", "gauge", f"{_MODEL} measure", "Quality when the bundle was built."),
        (
            "edgeml_quality_estimate_agrees",
            "gauge",
            _MODEL,
            "Whether labels bear the estimate out; 0 means that what is true has changed.",
        ),
        (
            "edgeml_quality_realised_mean_absolute_error",
            "gauge",
            f"{_MODEL} tier",
            "Mean absolute error of labelled answers, in the unit of the answer.",
        ),
        (
            "edgeml_quality_realised_root_mean_squared_error",
            "gauge",
            f"{_MODEL} tier",
            "Root mean squared error of labelled answers, in the unit of the answer.",
        ),
        (
            "edgeml_quality_reference_mean_absolute_error",
            "gauge",
            f"{_MODEL} tier",
            "Mean absolute error when the bundle was built.",
        ),
        (
            "edgeml_quality_reference_root_mean_squared_error",
            "gauge",
            f"{_MODEL} tier",
            "Root mean squared error when the bundle was built.",
        ),
        # Rules and audits
        ("edgeml_rules", "gauge", _MODEL, "Rules that answer, shown by name or not."),
        (
            "edgeml_rules_found_out",
            "gauge",
            f"{_MODEL} kind",
            "Rules that do not keep what they promise, by labels or by audits.",
        ),
        ("edgeml_rules_disabled", "gauge", _MODEL, "Rules that are disabled until the next bundle."),
        (
            "edgeml_rule_answers_total",
            "counter",
            f"{_MODEL} rule",
            "Records answered by a rule; the first 100: what was found out or disabled, then what answers most.",
        ),
        (
            "edgeml_rule_promised_ratio",
            "gauge",
            f"{_MODEL} rule",
            "Share of its answers that is right at least, as it was promised or measured when the bundle was built.",
        ),
        ("edgeml_rule_right_ratio", "gauge", f"{_MODEL} rule", "Share of its labelled answers that were right."),
        ("edgeml_rule_right_low_ratio", "gauge", f"{_MODEL} rule", "Lower end of its confidence sequence."),
        ("edgeml_rule_right_high_ratio", "gauge", f"{_MODEL} rule", "Upper end of its confidence sequence."),
        (
            "edgeml_rule_agreement_ratio",
            "gauge",
            f"{_MODEL} rule",
            "Share of its audited answers that are the model's too.",
        ),
        ("edgeml_rule_agreement_low_ratio", "gauge", f"{_MODEL} rule", "Lower end of its confidence sequence."),
        ("edgeml_rule_agreement_high_ratio", "gauge", f"{_MODEL} rule", "Upper end of its confidence sequence."),
        ("edgeml_rule_found_out", "gauge", f"{_MODEL} rule kind", "1; a rule that does not keep what it promises."),
        ("edgeml_rule_disabled", "gauge", f"{_MODEL} rule", "Whether it is disabled until the next bundle."),
        (
            "edgeml_audited_answers_total",
            "counter",
            f"{_MODEL} tier verdict",
            "Answers that the model was asked about too, and whether it agreed.",
        ),
        (
            "edgeml_audits_dropped_total",
            "counter",
            _MODEL,
            "Answers drawn for an audit for which there was no room or no time.",
        ),
        ("edgeml_audits_failed_total", "counter", _MODEL, "Audits to which the model gave no answer."),
        # What watching takes
        ("edgeml_capture_kept_records_total", "counter", _MODEL, "Captured records that were written down."),
        (
            "edgeml_capture_dropped_records_total",
            "counter",
            _MODEL,
            "Records chosen for capture that were not kept: no room, or the disk refused.",
        ),
        ("edgeml_capture_joined_labels_total", "counter", _MODEL, "Labels that found their captured record."),
        ("edgeml_capture_failing", "gauge", _MODEL, "Whether the last captured records could not be written."),
        ("edgeml_watch_state_bytes", "gauge", _MODEL, "Memory that watching this bundle takes in the supervisor."),
    )
}
