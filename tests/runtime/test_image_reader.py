"""Records of pictures in every form: the same picture gives the same answer, and what is wrong is named."""

import base64
import json
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from runtime.image_samples import SPEC, data, disks, file_of, png_header

from edgeml.bundles import Bundle
from edgeml.errors import BundleError, RequestError, SchemaError
from edgeml.runtime import image_reader
from edgeml.runtime.counting import drift_layout, drift_monitor
from edgeml.runtime.file_check import FileCheck
from edgeml.runtime.picture import PictureDecoder
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.record_file import Item

PICTURES, COLOURS = data()
FILES = [file_of(each) for each in PICTURES]
TEXTS = [base64.b64encode(each).decode() for each in FILES]


@pytest.fixture(scope="module")
def predictor():
    return Predictor.from_bundle(disks())


def scores(answers):
    return np.array([list(each.scores.values()) for each in answers])


def test_every_form_gives_the_same_answers(predictor):
    wanted = [predictor.predict({"image": each}) for each in TEXTS[:5]]
    assert [each.label for each in wanted] == list(COLOURS[:5])
    body = json.dumps({"records": [{"image": each} for each in TEXTS[:5]]}).encode()
    forms = [
        predictor.predict_json(body)[1],
        [predictor.predict_json_record(json.dumps({"image": each}).encode()) for each in TEXTS[:5]],
        predictor.predict_many([{"image": each} for each in FILES[:5]]),
        predictor.predict_many([{"image": each} for each in PICTURES[:5]]),
        predictor.predict_columns({"image": TEXTS[:5]}),
        predictor.predict_columns({"image": np.array(TEXTS[:5], dtype=object)}),
        predictor.predict_columns({"image": np.stack(PICTURES[:5])}),
        predictor.predict_many([{"image": each.encode().decode()} for each in TEXTS[:5]]),
    ]
    for answers in forms:
        assert [each.label for each in answers] == [each.label for each in wanted]
        # For several rows the runtime takes other vector instructions.
        np.testing.assert_allclose(scores(answers), scores(wanted), rtol=1e-6)


def test_golden_rows_are_pictures_and_pass(predictor):
    assert predictor.golden_check().passed
    assert all(row["record"].keys() == {"image"} for row in predictor.golden)


def test_rules_ask_about_what_is_derived(predictor):
    answer = predictor.predict({"image": np.zeros((9, 9, 3), np.uint8)})
    assert (answer.tier, answer.rule, answer.label) == ("rule", "dark", "blue")


@pytest.mark.parametrize(
    "value, code, got",
    [
        ("?", "not_base64", '"?'),
        ("", "not_base64", "an empty text"),
        (TEXTS[0][:-3], "not_base64", "…"),
        (TEXTS[0] + "\n", "not_base64", "…"),
        ("data:image/png;base64," + TEXTS[0], "not_base64", "data:image"),
        (base64.b64encode(b"GIF89a").decode(), "not_a_picture", "6 bytes that are neither PNG nor JPEG"),
        (base64.b64encode(FILES[0][:-30]).decode(), "not_a_picture", "cannot be decoded"),
        (base64.b64encode(png_header(65535, 65535)).decode(), "too_many_pixels", "65535 x 65535 pixels"),
        (base64.b64encode(file_of(np.zeros((201, 200), np.uint8))).decode(), "too_many_pixels", "200 x 201 pixels"),
        (5, "wrong_type", "5"),
        (None, "missing", "no value"),
    ],
)
def test_what_is_wrong_is_named(predictor, value, code, got):
    for ask in (
        lambda: predictor.predict({"image": value}),
        lambda: predictor.predict_json(json.dumps({"records": [{"image": value}]}).encode()),
        lambda: predictor.predict_json_record(json.dumps({"image": value}).encode()),
    ):
        with pytest.raises(SchemaError) as caught:
            ask()
        (violation,) = caught.value.violations
        assert (violation.row, violation.field, violation.code) == (0, "image", code)
        assert got in violation.got
        assert "picture" in violation.expected or "PNG or JPEG" in violation.expected


def test_arrays_that_are_no_pictures(predictor):
    for array, code in [
        (np.zeros((5, 5), "f4"), "wrong_type"),
        (np.zeros((5, 5, 2), "u1"), "wrong_shape"),
        (np.zeros(5, "u1"), "wrong_shape"),
        (np.zeros((0, 5), "u1"), "wrong_shape"),
        (np.zeros((300, 300), "u1"), "too_many_pixels"),
    ]:
        with pytest.raises(SchemaError) as caught:
            predictor.predict({"image": array})
        assert caught.value.violations[0].code == code


def test_a_record_holds_the_picture_and_nothing_else(predictor):
    for more, code in [({"image.brightness": 5.0}, "unknown_field"), ({"colour": "red"}, "unknown_field")]:
        with pytest.raises(SchemaError) as caught:
            predictor.predict({"image": TEXTS[0]} | more)
        assert caught.value.violations[0].code == code
    with pytest.raises(SchemaError, match="not_a_record|object"):
        predictor.predict_many([5])
    with pytest.raises(RequestError, match="there is no input 'x'"):
        predictor.predict_columns({"image": TEXTS[:1], "x": [1]})
    with pytest.raises(RequestError, match="missing"):
        predictor.predict_columns({})
    with pytest.raises(RequestError, match="UINT8"):
        predictor.predict_columns({"image": np.zeros((1, 5, 5, 3))})
    with pytest.raises(RequestError, match="UINT8"):
        predictor.predict_matrix(np.zeros((1, 5)))
    assert predictor.predict_json_row(b"[1,2]", single=True) is None


def test_partial_leaves_out_what_is_wrong(predictor):
    records = [{"image": TEXTS[0]}, {"image": "?"}, {"picture": 1}, {"image": TEXTS[1]}]
    body = json.dumps({"records": records, "partial": True, "id": "x"}).encode()
    envelope, answers = predictor.predict_json(body)
    assert (envelope.id, envelope.n_records, envelope.rows) == ("x", 4, [0, 3])
    assert sorted((each.row, each.code) for each in envelope.violations) == [
        (1, "not_base64"),
        (2, "missing"),
        (2, "unknown_field"),
    ]
    alone = [predictor.predict({"image": each}).label for each in TEXTS[:2]]
    assert [each.label for each in answers] == alone


def test_a_request_is_bounded_whatever_it_unpacks_to(predictor):
    flat = base64.b64encode(file_of(np.zeros((200, 200), np.uint8))).decode()
    body = json.dumps({"records": [{"image": flat}] * 5}).encode()
    with patch.object(image_reader, "MAX_DECODED_PIXELS", 100_000):
        for ask in (lambda: predictor.predict_json(body), lambda: predictor.predict_columns({"image": [flat] * 5})):
            with pytest.raises(RequestError, match="send them in several") as caught:
                ask()
            assert (caught.value.code, caught.value.field) == ("too_many_pixels", "image")
        # Pictures that fail while they are decoded have cost as much; one whose header is refused costs nothing.
        for cut in (
            file_of(np.zeros((200, 200), np.uint8))[:-30],
            file_of(np.zeros((200, 200), np.uint8), "JPEG")[:-9],
        ):
            late = base64.b64encode(cut).decode()
            body_of_late = json.dumps({"records": [{"image": late}] * 5, "partial": True}).encode()
            with pytest.raises(RequestError, match="send them in several"):
                predictor.predict_json(body_of_late)
        huge = base64.b64encode(png_header(65535, 65535)).decode()
        body_of_huge = json.dumps({"records": [{"image": huge}] * 5 + [{"image": flat}], "partial": True}).encode()
        assert len(predictor.predict_json(body_of_huge)[1]) == 1
        # The one that would be too much is not decoded first.
        with patch.object(PictureDecoder, "levels", autospec=True, side_effect=PictureDecoder.levels) as decoded:
            with pytest.raises(RequestError, match="send them in several"):
                predictor.predict_json(body)
            assert decoded.call_count == 2
        # A caller's own objects are his own.
        assert len(predictor.predict_many([{"image": flat}] * 5)) == 5
    with patch.object(image_reader, "MAX_FINISHED_BYTES", 3 * 144):
        small = Predictor.from_bundle(disks())
        for ask in (lambda: small.predict_json(body), lambda: small.predict_columns({"image": [flat] * 5})):
            with pytest.raises(RequestError) as caught:
                ask()
            assert caught.value.code == "too_many_records"


def different(report):
    columns, threshold = report["drift"]["columns"], report["drift"]["threshold"]
    return {each["name"] for each in columns if (each["evidence"] or 0.0) > threshold}


def test_darkened_pictures_are_seen_by_the_drift_counters():
    bundle = disks()
    predictor = Predictor.from_bundle(bundle)
    layout = drift_layout(bundle)
    names = [column.name for column in layout.columns]
    assert "image" not in names and {"image.brightness", "image.sharpness", "image.red_1", "image.width"} <= set(names)
    monitor = drift_monitor(layout, predictor)
    predictor.watch(monitor.counters)
    check = FileCheck(bundle, Predictor.from_bundle(bundle))
    dark = [{"image": (each * 0.5).astype(np.uint8)} for each in PICTURES]
    assert len(predictor.predict_many(dark)) == len(dark)
    items = iter([Item("record", at, {"image": each}) for at, each in enumerate(TEXTS + ["?"])])
    check.take(items)
    same = check.report()
    assert different(same) == set() and same["records"] == {"read": 151, "answered": 150, "refused": 1}
    check = FileCheck(bundle, Predictor.from_bundle(bundle))
    check.take(iter([Item("record", at, record) for at, record in enumerate(dark)]))
    drifted = different(check.report())
    assert {"image.brightness", "image.contrast"} <= drifted and "image.width" not in drifted
    check = FileCheck(bundle, Predictor.from_bundle(bundle))
    blurred = [{"image": cv2.GaussianBlur(each, (0, 0), 6.0)} for each in PICTURES]
    check.take(iter([Item("record", at, record) for at, record in enumerate(blurred)]))
    drifted = different(check.report())
    assert "image.sharpness" in drifted and "image.brightness" not in drifted


def test_members_that_do_not_fit_each_other_are_refused():
    bundle = disks()

    def changed(**parts):
        members = dict(bundle.members)
        document = json.loads(members["image.json"]) | parts
        members["image.json"] = json.dumps(document).encode()
        return Bundle.create(bundle.config, members)

    for parts, message in [
        ({"channels": "grey"}, "other features"),
        ({"name": "photo"}, "other features"),
        ({"width": 9}, "."),
        ({"width": 10**9}, "width"),
        ({"max_pixels": 2**60}, "max_pixels"),
    ]:
        with pytest.raises((BundleError, ValueError), match=message):
            Predictor.from_bundle(changed(**parts))
    members = {name: data for name, data in bundle.members.items() if name != "image.json"}
    with pytest.raises(BundleError, match=r"image\.json"):
        Predictor.from_bundle(Bundle.create(bundle.config, members))


def test_without_its_model_rules_and_fallback_answer():
    bundle = disks()
    predictor = Predictor.from_bundle(bundle, without_model="given up")
    assert predictor.predict({"image": TEXTS[0]}).tier == "fallback"
    assert predictor.predict({"image": np.zeros((5, 5), np.uint8)}).tier == "rule"


def test_wide_rows_are_run_in_blocks(predictor):
    wanted = scores(predictor.predict_many([{"image": each} for each in PICTURES[:40]]))
    with patch("edgeml.runtime.model_rows.BLOCK_BYTES", 8 * SPEC.width * SPEC.height * 3 * 7):
        small = Predictor.from_bundle(disks(), backend="c")
        np.testing.assert_allclose(scores(small.predict_many([{"image": e} for e in PICTURES[:40]])), wanted, rtol=1e-6)
