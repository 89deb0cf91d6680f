"""P1, P2, P4 and P6 on a disk in memory: power cuts and errors at every operation of every transition."""

import errno

import pytest
from crash.broken_variants import VARIANTS
from crash.examination import Examination, Findings
from crash.full_disk import KINDS, TEN, FullDisk, ten_in_a_row
from crash.scenarios import NAMES, SCENARIOS, scenario

# Transitions with many operations: all errnos only with ``make test-crash``.
LONG = [each for each in NAMES if "install" in each]
URGENT = [each.name for each in SCENARIOS if each.urgent]


@pytest.fixture
def told(record_property):
    """Writes findings down for the table, and then asserts that there is nothing wrong."""

    def tell(findings: Findings) -> None:
        record_property(
            "crash",
            {
                "name": findings.name,
                "points": findings.points,
                "states": findings.states,
                "errnos": findings.errors,
                "violations": len(findings.violations),
            },
        )
        assert not findings.violations, "\n".join(findings.violations[:10])

    return tell


@pytest.mark.parametrize("name", NAMES)
def test_power_cuts_and_kills(name, told):
    examination = Examination(scenario(name))
    examination.power_cuts()
    assert examination.findings.points == len(examination.kinds) > 0
    told(examination.findings)


@pytest.mark.parametrize("name", [each for each in NAMES if each not in LONG])
def test_every_errno(name, told):
    examination = Examination(scenario(name))
    examination.errors()
    told(examination.findings)


@pytest.mark.parametrize(
    "name", [each if "quota" not in each else pytest.param(each, marks=pytest.mark.crash) for each in LONG]
)
def test_the_worst_errno(name, told):
    examination = Examination(scenario(name))
    examination.errors(errnos=lambda error: error == errno.EIO)
    told(examination.findings)


@pytest.mark.crash
@pytest.mark.parametrize("name", LONG)
def test_all_other_errnos(name, told):
    examination = Examination(scenario(name))
    examination.errors(errnos=lambda error: error != errno.EIO)
    told(examination.findings)


@pytest.mark.parametrize("name", URGENT)
def test_full_disk(name, told):
    examination = FullDisk(scenario(name))
    examination.while_others_write()
    examination.after_power_cuts()
    told(examination.findings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("each", TEN, ids=lambda each: each.name)
def test_ten_in_a_row_on_a_full_disk(each, kind):
    assert ten_in_a_row(each, KINDS[kind]) == []


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: f"{each.name} ({each.scenario})")
def test_the_harness_catches(variant, record_property):
    violations = variant.violations()
    record_property("crash_variant", {"name": variant.name, "where": variant.scenario, "violations": len(violations)})
    assert violations
