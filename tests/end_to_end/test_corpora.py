"""Document classifiers on real corpora: every label is scikit-learn's, in process and over HTTP."""

import http.client
import json

import numpy as np
import pytest
from serving.running import Running
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

import edgeml
from models.documents.corpus import NoCorpus, corpus

ASKED_OVER_HTTP = 200


@pytest.mark.parametrize("name", ["reuters-r8", "20newsgroups"])
def test_every_test_document_gets_scikit_learns_label(name, tmp_path):
    try:
        (texts, labels), (later, truth) = corpus(name, "train"), corpus(name, "test")
    except NoCorpus as error:
        pytest.skip(str(error))
    pipeline = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, max_features=20_000),
        SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0),
    ).fit(texts, labels)
    bundle = edgeml.build(
        pipeline,
        texts,
        labels,
        name="documents",
        version="1",
        held_out=(later, truth),
        features={"text": {"kind": "text", "max_bytes": 1 << 20}},
    )
    predictor = edgeml.Predictor.from_bundle(bundle)
    expected, scores = pipeline.predict(later), pipeline.predict_proba(later)
    answers = predictor.predict_columns({"text": later})
    assert answers.label_list() == expected.tolist()
    np.testing.assert_allclose(answers.scores, scores, atol=1e-9)
    right = np.mean(np.array(answers.label_list()) == np.array(truth))
    # A classifier that has learnt nothing would agree with itself as well.
    assert right == np.mean(expected == np.array(truth)) and right > 0.75
    bundle.save(tmp_path / "documents.edgeml")
    service = Running(tmp_path / "documents.edgeml")
    try:
        chosen = np.linspace(0, len(later) - 1, ASKED_OVER_HTTP).astype(int).tolist()
        connection = service.connect()
        given = [over_http(connection, {"text": later[row]}) for row in chosen]
        connection.close()
    finally:
        service.stop()
    assert [answer["label"] for answer in given] == expected[chosen].tolist()
    shown = [list(answer["scores"].values()) for answer in given]
    np.testing.assert_allclose(shown, scores[chosen], atol=1e-9)


def over_http(connection: http.client.HTTPConnection, record: dict) -> dict:
    """The service's answer to one record."""
    body = json.dumps({"records": [record]})
    connection.request("POST", "/v1/models/documents/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == 200, answer
    return answer["predictions"][0]
