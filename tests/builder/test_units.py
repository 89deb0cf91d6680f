"""Units of numbers in rules: converted when a bundle is built, never on a box."""

import pytest

from edgeml.builder.rule_source import parse_rules
from edgeml.builder.units import convert_unit
from edgeml.errors import RuleError
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Feature, Schema

SCHEMA = Schema(
    (
        Feature("speed", "number", unit="km/h"),
        Feature("limit", "number", unit="km/h"),
        Feature("gust", "number", unit="mph"),
        Feature("heat", "number", unit="°C"),
        Feature("room", "number", unit="°C"),
        Feature("count", "integer"),
        Feature("name", "text"),
    )
)


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "expected"),
    [
        (30.0, "mph", "km/h", 48.28032),
        (32.0, "°F", "°C", 0.0),
        (212.0, "degF", "°C", 100.0),
        (0.1, "m", "mm", 100.0),
        (5.0, "kWh", "J", 18e6),
        (0.0, "m", "km", 0.0),
        (1e-300, "mm", "m", 1e-303),
    ],
)
def test_numbers_are_converted(value, unit, wanted, expected):
    assert convert_unit(value, unit, wanted) == expected


@pytest.mark.parametrize(
    ("unit", "wanted", "message"),
    [
        ("xyz", "m", "'xyz' is no known unit"),
        ("$", "m", "no known unit"),
        ("m", "kg", "m and kg do not measure the same"),
    ],
)
def test_what_is_no_unit(unit, wanted, message):
    with pytest.raises(ValueError, match=message):
        convert_unit(1.0, unit, wanted)
    with pytest.raises(ValueError, match="too large"):
        convert_unit(1e308, "m", "nm")


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("speed > 30[km/h]", "speed > 30 [km/h]"),
        ("speed > 30 [ km/h ]", "speed > 30 [km/h]"),
        ("speed > -30 [mph]", "speed > -48.28032 [km/h]"),
        ("speed > 30", "speed > 30"),
        ("10 [mph] < speed <= 100", "16.09344 [km/h] < speed <= 100"),
        ("speed between 1 [mph] and 2 [km/h]", "speed between 1.609344 [km/h] and 2 [km/h]"),
        ("speed in {1 [mph], 3}", "speed in {1.609344 [km/h], 3}"),
        ("speed - limit > 10 [mph]", "speed - limit > 16.09344 [km/h]"),
        ("speed > limit + 10 [mph]", "speed > limit + 16.09344 [km/h]"),
        ("max(speed, 1 [mph]) > 3", "max(speed, 1.609344 [km/h]) > 3"),
        ("-abs(speed) < -(1 [mph])", "-abs(speed) < -1.609344 [km/h]"),
        ("heat > 212 [°F]", "heat > 100 [°C]"),
        ("heat - room > 5 [°C]", "heat - room > 5 [°C]"),
        ("points(3 if speed > 1 [mph]) > 2", "points(3 if speed > 1.609344 [km/h]) > 2"),
        ("not (speed > 1 [mph] or heat is missing)", "not (speed > 1.609344 [km/h] or heat is missing)"),
        ("fast > 1 [mph] and quick", "fast > 1.609344 [km/h] and quick"),
        ("2 [mph] > 1 [km/h]", "2 [mph] > 0.621371192237334 [mph]"),
        ("speed > gust", "speed > gust"),
        ("speed * gust > 4", "speed * gust > 4"),
    ],
)
def test_literals_are_brought_to_the_features_unit(written, canonical):
    names = {"define": {"fast": "speed - 10", "quick": "speed > 1 [mph]"}}
    rules = parse_rules(names | {"rules": [{"when": written, "then": {"label": "a"}}]}, SCHEMA, ["a"])
    assert rules.rules[0].when == canonical
    document = rules.to_document()
    assert document["define"]["quick"] == "speed > 1.609344 [km/h]"
    assert RuleList.from_document(document, SCHEMA, ["a"]).to_document() == document  # a box needs no conversion


@pytest.mark.parametrize(
    ("written", "position", "message"),
    [
        ("count > 3 [mm]", 8, "3 [mm] has a unit, and count has none"),
        ("speed * 2 > 3 [mph]", 12, "3 [mph] has a unit, and speed * 2 has none"),
        ("length(name) > 3 [mm]", 15, "has a unit, and length(name) has none"),
        ("points(1 if heat > 3) > 3 [mm]", 24, "has a unit, and points(1 if heat > 3) has none"),
        ("speed > 3 [kg]", 8, "3 [kg], but speed is in km/h: kg and km/h do not measure the same; write it in km/h"),
        ("speed > 3 [kmh]", 8, "3 [kmh], but speed is in km/h: 'kmh' is no known unit; write it in km/h"),
        ("heat - room > 5 [°F]", 14, "0 °F is not 0 °C, so a sum or difference is not converted; write it in °C"),
        ("speed + gust > 5 [mph]", 15, "has a unit, and speed + gust has none"),
        ("speed < 5 [mph] < gust", 18, "speed is in km/h and gust is in mph stand beside 5 [mph]"),
        ("fast > 3 [kg]", 7, "3 [kg], but fast is in km/h"),
        ("speed [mph] > 3", 6, "expected the end of the condition"),
        ("speed > 3 []", 10, "expected the end of the condition"),
    ],
)
def test_units_that_do_not_fit(written, position, message):
    document = {"define": {"fast": "speed - 10"}, "rules": [{"when": written, "then": {"label": "a"}}]}
    with pytest.raises(RuleError) as caught:
        parse_rules(document, SCHEMA, ["a"])
    assert message in str(caught.value) and caught.value.position == position


def test_a_box_takes_the_features_unit_only():
    def box(when):
        return RuleList.from_document({"rules": [{"when": when, "then": {"label": "a"}}]}, SCHEMA, ["a"])

    with pytest.raises(RuleError, match=r"30 \[mph\], but speed is in km/h; write it in km/h"):
        box("speed > 30 [mph]")
    rules, reader = box("speed > 30 [km/h]"), RecordReader(SCHEMA)
    frame = reader.new_frame(1)
    record = {"limit": 0, "gust": 0, "heat": 0, "room": 0, "count": 0, "name": ""}
    reader.read_many(frame, [record | {"speed": 31}])
    assert rules.match_one(frame.capsule) == 0
