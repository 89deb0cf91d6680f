"""What is this newswire about? Learned rules, then a small model, then word tf-idf and a logistic regression.

Data: Reuters-21578 (Lewis, 1997) as R8 (Cardoso-Cachopo, 2007): 7,674 articles of 1987 on eight topics, split by date;
lower-cased and without punctuation as they come.
"""

from typing import Any

import pandas as pd

# The folder of a training script is on the path while it runs.
from corpus import corpus  # type: ignore[import-not-found,unused-ignore]
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


def train() -> dict[str, Any]:
    """Fits the pipeline and describes the bundle."""
    texts, topics = corpus("reuters-r8", "train")
    later_texts, later_topics = corpus("reuters-r8", "test")
    X, X_test = pd.DataFrame({"text": texts}), pd.DataFrame({"text": later_texts})
    pipeline = make_pipeline(
        ColumnTransformer([("words", TfidfVectorizer(sublinear_tf=True, min_df=2), "text")]),
        LogisticRegression(C=20, max_iter=300),
    )
    pipeline.fit(X, topics)
    return {
        "pipeline": pipeline,
        "X": X,
        "y": pd.Series(topics),
        "held_out": (X_test, pd.Series(later_topics)),
        "name": "documents",
        "version": "1.0.0",
        "features": {"text": {"kind": "text"}},
        "rules": "learn",
        "middle": "learn",
        "description": "The topic of a newswire article: one of eight.",
        "intended_use": "A demonstration of edgeml with texts.",
        "limits": "Business news of 1987 in English; anything else gets one of eight topics too.",
    }
