"""What a person reads instead of a rule's name, in reports and explanations."""

from __future__ import annotations

OVER = "over_quota_"
WORDS = {
    "exact_duplicate": "the same prompt as another",
    "near_duplicate": "nearly the same as another",
    "paraphrase": "another one in other words",
    "contaminated_exact": "an evaluation prompt, word for word",
    "contaminated_13gram": "13 words in a row of an evaluation prompt",
    "contaminated_8gram": "much of an evaluation prompt",
    "contaminated_semantic": "an evaluation prompt in other words",
    "bridges_splits": "close to prompts of both splits",
    "empty_response": "an empty response",
    "truncated": "cut off",
    "too_short": "too short",
    "too_long": "too long",
    "repeats_response": "the same response as another",
    "copies_prompt": "opens with its whole prompt",
    "identical_responses": "both responses are the same",
    "differs_in_punctuation": "the responses differ in their stops alone",
    "identical_when_cut": "the responses are the same as far as a trainer reads",
    "duplicate_pair": "says what another pair says",
    "mirrored_pair": "says the opposite of another pair",
    "preference_cycle": "part of a circle of preferences",
    "over_total": "over the total",
    "over_stratum": "over the part of its stratum",
    "over_cluster": "over the cap of its cluster",
    "over_policy": "over the cap of its policy",
    "length_matched": "left out so that length predicts less",
    "discarded_by_people": "discarded by people",
    "tie": "a tie",
    "below_threshold": "not sure enough",
    "one_order_only": "judged in one order only",
    "no_opinion": "nobody has said anything",
    "unsure": "no side is sure enough",
    "label_rejected": "all voices together reject its label",
    "inconsistent": "the models do not agree with its label",
    "flip_unanimous": "turned round: gold model, best model and jury reject its label",
    "flip_all": "turned round, for it was not kept",
    "prototypes_part": "kinds of people part",
    "language": "in another language",
    "toxicity": "offensive",
    "pii": "holds numbers or addresses of persons",
    "refusal": "declines to answer",
    "repeated_lines": "repeats its lines",
    "repeated_ngrams": "repeats its words",
    "compressibility": "repeats itself",
    "unfinished": "unfinished",
    "boilerplate": "opens or closes as many do",
    "length_ratio": "one response is far longer",
    "low_margin": "a label with a small margin",
    "disagreement": "the opinions differ",
    "label_noise": "a label that is likely the wrong way round",
    "reward_outlier": "an unusual reward",
}


def name_rule(rule: str) -> str:
    """A rule in words; one that is not known by its name with spaces."""
    if rule.startswith(OVER):
        return f"over the quota of its {rule.removeprefix(OVER)}"
    return WORDS.get(rule, rule.replace("_", " "))
