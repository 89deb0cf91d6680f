import dataclasses

import pytest

from edgeml.supervisor.trial_config import TrialConfig


def test_defaults_are_those_that_were_decided():
    config = TrialConfig()
    assert (config.min_seconds, config.min_requests, config.max_seconds) == (600, 200, 86_400)
    assert (config.process_deaths, config.stall_seconds, config.memory_bytes) == (3, 10, None)
    assert (config.failures, config.failure_window_seconds, config.failure_share) == (5, 60, 0.01)
    assert (config.error_evidence, config.burn_rate, config.burn_bad_events) == (100, 14.4, 10)
    assert (config.burn_long_seconds, config.burn_short_seconds) == (3_600, 300)
    assert (config.collapse_share, config.collapse_reference_share) == (0.999, 0.9)


def test_a_mapping_changes_what_it_names():
    config = TrialConfig.from_mapping({"min_requests": 5, "memory_bytes": 10**8})
    assert config == dataclasses.replace(TrialConfig(), min_requests=5, memory_bytes=10**8)
    assert TrialConfig.from_mapping(dataclasses.asdict(config)) == config


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown field 'min_second'; known are min_seconds"):
        TrialConfig.from_mapping({"min_second": 5})


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrialConfig)])
@pytest.mark.parametrize("value", ["5", True, -1, float("nan"), float("inf"), [1]])
def test_a_wrong_value_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"trial: {field} must be"):
        TrialConfig.from_mapping({field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_requests", 0),
        ("min_requests", 1.5),
        ("process_deaths", 0),
        ("stall_seconds", 0),
        ("failure_share", 1.01),
        ("deadline_budget", 0),
        ("error_evidence", 1),
        ("memory_bytes", 0),
        ("min_seconds", 86_401),
        ("doubtful_evidence", 101),
        ("burn_short_seconds", 3_601),
    ],
)
def test_the_ends_of_the_ranges(field, value):
    with pytest.raises(ValueError, match=f"trial: {field}"):
        TrialConfig.from_mapping({field: value})
