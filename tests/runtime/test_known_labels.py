"""What a file says of a label, and which label of a model that is."""

import pytest

from edgeml.runtime.known_labels import label_in


@pytest.mark.parametrize(
    ("labels", "said", "meant"),
    [
        ((0, 1), "1", 1),
        ((0, 1), "1.0", 1),
        ((0, 1), 1.0, 1),
        ((0, 1), True, None),
        ((0, 1), "true", None),
        ((0, 1), "nan", None),
        ((0, 1), None, None),
        ((0, 1), "", None),
        ((False, True), "True", True),
        ((False, True), "true", True),
        ((False, True), False, False),
        ((False, True), 0, None),
        ((2.5, 3.0), "3", 3.0),
        (("1", "1.0"), "1.0", "1.0"),
        (("1", "2"), 1, "1"),
        (("yes", "no"), "Yes", None),
        ((1,), [1], None),
    ],
)
def test_a_label_is_known_by_how_files_hold_it(labels, said, meant):
    found = label_in(labels, said)
    assert found == meant and type(found) is type(meant)
