"""The same bundle, asked otherwise: without some of its rules, or by its model alone.

Both are snapshots of their own beside the whole one, and share schema, reader, features and model with it. A rule that
is left out keeps its place in the list, so the indexes of rules in counts, ids and answers stay those of the bundle.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

from edgeml.runtime.no_model import NoModel
from edgeml.runtime.other_tiers import with_tiers
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.rules import RuleList

# A condition that no record meets.
_NEVER = "false"


def without_rules(predictor: Predictor, left_out: Collection[str]) -> Predictor:
    """A predictor that answers as if some rules were absent: later rules are asked, and then the model.

    Args:
        predictor: The whole one.
        left_out: Ids of the rules; those that it does not have are passed over.

    Returns:
        The whole one itself where it has none of them.

    Raises:
        RuleError: The other rules are too large to be compiled; what was compiled before fits.
    """
    rules, named = predictor.rules, frozenset(left_out)
    if rules is None or not any(rule.id in named for rule in rules.rules):
        return predictor
    document = rules.to_document()
    document["rules"] = [{**each, "when": _NEVER} if each["id"] in named else each for each in document["rules"]]
    made = RuleList.from_document(document, predictor.schema, labels=predictor.outputs.labels)
    # What people are shown of a rule is what it says, and not that it is left out here.
    made.rules = rules.rules
    other = copy.copy(predictor)
    other.rules = made
    other._match_one = made.match_one
    return other


def model_alone(predictor: Predictor) -> Predictor | None:
    """A predictor whose model answers every record, whatever answers before it in the whole one; counts nothing.

    Args:
        predictor: The whole one.

    Returns:
        None where there is no model.
    """
    if isinstance(predictor.session, NoModel):
        return None
    return with_tiers(predictor)


def answers_early(predictor: Predictor) -> bool:
    """Whether a bundle has both a model and something that answers before it."""
    if isinstance(predictor.session, NoModel):
        return False
    rules = predictor.rules.rules if predictor.rules is not None else ()
    return any(not rule.abstains for rule in rules) or predictor.middle is not None
