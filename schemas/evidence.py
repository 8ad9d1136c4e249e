"""Contracts of what is collected and paid for: prompts, responses, opinions, and where they came
from."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from schemas.row import Row

JUDGMENT_KINDS = ("verifier", "llm", "reward_model", "human", "import")


class Prompts(Row):
    """A conversation that waits for a response.

    `category` is a key of the taxonomy; `difficulty` is easy, medium or hard where the generator
    knows it; `answer` is the reference answer; `verifier` names the scorer and `verifier_data`
    (JSON) is what it needs; `parent_id` is the prompt this one was derived from; `origin_id` is
    the `syntheses.request_id` that made it, or the imported row's key.
    """

    prompt_id = dy.String(primary_key=True, min_length=1)
    messages = dy.List(
        dy.Struct({"role": dy.String(min_length=1), "content": dy.String()}), min_length=1
    )
    category = dy.String(min_length=1)
    language = dy.String(nullable=True)
    source = dy.String(min_length=1)
    licence = dy.String(min_length=1)
    difficulty = dy.String(nullable=True)
    answer = dy.String(nullable=True)
    verifier = dy.String(nullable=True)
    verifier_data = dy.String(nullable=True)
    context = dy.String(nullable=True)
    parent_id = dy.String(nullable=True)
    origin_id = dy.String(nullable=True)


class Responses(Row):
    """One answer to one prompt: what judgments and pairs point at."""

    response_id = dy.String(primary_key=True, min_length=1)
    prompt_id = dy.String(min_length=1)
    content = dy.String()


class Rollouts(Row):
    """One sample from one policy.

    `policy` is model@revision (`reference` for the reference answer, `import:<name>` for an
    imported response); `sampler` is the sampling parameters as JSON; `finish_reason` is the
    server's word (`stop`, `length`, ...), None where nothing was sampled. `logprob` and
    `prefix_source`, `log_weight` have their place here, and no stage fills them yet.
    """

    rollout_id = dy.String(primary_key=True, min_length=1)
    request_id = dy.String(min_length=1)
    prompt_id = dy.String(min_length=1)
    response_id = dy.String(min_length=1)
    policy = dy.String(min_length=1)
    sampler = dy.String(nullable=True)
    seed = dy.Int64(nullable=True)
    sample_index = dy.Int64(min=0)
    tokens_in = dy.Int64(nullable=True, min=0)
    tokens_out = dy.Int64(nullable=True, min=0)
    finish_reason = dy.String(nullable=True)
    logprob = dy.Float64(nullable=True)
    prefix_source = dy.String(nullable=True)
    log_weight = dy.Float64(nullable=True)
    seconds = dy.Float64(nullable=True, min=0)


class Judgments(Row):
    """One opinion. A label is a view over these, never a column that somebody wrote.

    Pairwise: `response_a` < `response_b` by id, `p_a` in [0, 1] is the probability that
    `response_a` is better, `order` (`ab` or `ba`) says which was shown first, `tie` that the
    annotator called it a tie. Pointwise: `response_b` is null and `score` holds the number.
    With a `criterion` the opinion is about that alone, and of a pair it may be a `score` (positive
    where `response_a` is better). An opinion that could not be read has `valid` false, the reason
    in `reason`, and neither `p_a` nor `score`. `gold` says that whoever recorded the opinion
    vouches for it as the truth. `detail` is JSON.
    """

    judgment_id = dy.String(primary_key=True, min_length=1)
    annotator = dy.String(min_length=1)
    kind = dy.String(min_length=1)
    prompt_id = dy.String(min_length=1)
    response_a = dy.String(min_length=1)
    response_b = dy.String(nullable=True)
    criterion = dy.String(nullable=True)
    p_a = dy.Float64(nullable=True, min=0, max=1)
    score = dy.Float64(nullable=True)
    tie = dy.Bool()
    valid = dy.Bool()
    reason = dy.String(nullable=True)
    order = dy.String(nullable=True)
    sample_index = dy.Int64(min=0)
    critique = dy.String(nullable=True)
    raw = dy.String(nullable=True)
    detail = dy.String(nullable=True)
    tokens_in = dy.Int64(nullable=True, min=0)
    tokens_out = dy.Int64(nullable=True, min=0)
    seconds = dy.Float64(nullable=True, min=0)
    request_id = dy.String(nullable=True)
    gold = dy.Bool(nullable=True)

    @dy.rule()
    def kind_is_known(cls) -> pl.Expr:
        """`kind` is one of `JUDGMENT_KINDS`."""
        return pl.col("kind").is_in(JUDGMENT_KINDS)

    @dy.rule()
    def pair_is_ordered(cls) -> pl.Expr:
        """`response_a` is the smaller id of a pair."""
        return pl.col("response_b").is_null() | (pl.col("response_a") < pl.col("response_b"))

    @dy.rule()
    def invalid_is_unscored(cls) -> pl.Expr:
        """An invalid opinion carries no number; a valid one carries exactly one."""
        numbers = pl.col("p_a").is_not_null().cast(pl.Int8) + pl.col("score").is_not_null()
        return pl.when(pl.col("valid")).then(numbers == 1).otherwise(numbers == 0)

    @dy.rule()
    def pairwise_has_probability(cls) -> pl.Expr:
        """`p_a` speaks of pairs, `score` of single responses or of one criterion."""
        scored = pl.col("response_b").is_null() | pl.col("criterion").is_not_null()
        return (pl.col("p_a").is_null() | pl.col("response_b").is_not_null()) & (
            pl.col("score").is_null() | scored
        )


class Answers(Row):
    """One answer of a model that judges, as it came: what judgments and attributes are read from.

    `annotator` is who asked first (two judges may ask the same question); `first_logprobs` is JSON,
    the alternatives of the first token with their log probabilities; `prompt_logprobs`, where they
    were asked for, is JSON too: for each token of the prompt its id and log probability, null for
    the first.
    """

    request_id = dy.String(primary_key=True, min_length=1)
    annotator = dy.String(min_length=1)
    stage = dy.String(min_length=1)
    prompt_id = dy.String(nullable=True)
    text = dy.String()
    finish_reason = dy.String(nullable=True)
    tokens_in = dy.Int64(nullable=True, min=0)
    tokens_out = dy.Int64(nullable=True, min=0)
    logprob = dy.Float64(nullable=True)
    first_logprobs = dy.String(nullable=True)
    prompt_logprobs = dy.String(nullable=True)
    seconds = dy.Float64(nullable=True, min=0)


class Attributes(Row):
    """What a model says that a prompt asks for and that its two responses differ in (Skywork's
    five attributes, and the difference).

    `target` is the pair or the prompt; `difference` and `difference_kinds` are of pairs alone, and
    call the responses A and B by their ids' order. What could not be read has `valid` false.
    """

    attributes_id = dy.String(primary_key=True, min_length=1)
    target = dy.String(min_length=1)
    prompt_id = dy.String(min_length=1)
    annotator = dy.String(min_length=1)
    task_category = dy.String(nullable=True)
    objectivity = dy.String(nullable=True)
    controversiality = dy.String(nullable=True)
    desired_attributes = dy.List(dy.String(), nullable=True)
    guideline = dy.String(nullable=True)
    difference = dy.String(nullable=True)
    difference_kinds = dy.List(dy.String(), nullable=True)
    valid = dy.Bool()
    reason = dy.String(nullable=True)
    raw = dy.String(nullable=True)
    tokens_in = dy.Int64(nullable=True, min=0)
    tokens_out = dy.Int64(nullable=True, min=0)
    seconds = dy.Float64(nullable=True, min=0)
    request_id = dy.String(nullable=True)


class Syntheses(Row):
    """One attempt to make a prompt (a generator's item or a model call) and what became of it.

    `outcome` is `kept` (`prompt_id` names the prompt; another attempt may have made the same) or
    `unusable` (with `reason`). `detail` is JSON: family, difficulty, seed prompts.
    """

    request_id = dy.String(primary_key=True, min_length=1)
    generator = dy.String(min_length=1)
    prompt_id = dy.String(nullable=True)
    outcome = dy.String(min_length=1)
    reason = dy.String(nullable=True)
    raw = dy.String(nullable=True)
    detail = dy.String(nullable=True)
    tokens_in = dy.Int64(nullable=True, min=0)
    tokens_out = dy.Int64(nullable=True, min=0)
    seconds = dy.Float64(nullable=True, min=0)


class Imports(Row):
    """One row per input row of an imported file: its outcome, its licence, what it became.

    `outcome` is kept, duplicate, dropped (identical responses) or quarantined.
    `pair_ids` are the pairs it speaks of. A file that is imported again with other `settings`
    (JSON: layout, licence, category) gets a new `revision` of its rows: the latest is the one
    that counts. What lakes of schema 1 hold has neither and counts as revision 0. `judgment_ids`
    are the judgments that it says, whichever row said them first (null in rows of schema 3).
    """

    source = dy.String(primary_key=True, min_length=1)
    file_hash = dy.String(primary_key=True, min_length=1)
    row = dy.Int64(primary_key=True, min=0)
    revision = dy.Int64(primary_key=True, min=0)
    settings = dy.String(min_length=1)
    outcome = dy.String(min_length=1)
    reason = dy.String(nullable=True)
    licence = dy.String(min_length=1)
    category = dy.String(nullable=True)
    prompt_id = dy.String(nullable=True)
    pair_ids = dy.List(dy.String())
    judgments = dy.Int64(min=0)
    judgment_ids = dy.List(dy.String(), nullable=True)


QUESTIONS = ("preference", "correctness", "spans", "first_wrong_step", "ranking")
ROLES = ("work", "gold", "adjudication")


class Reviews(Row):
    """What waits for people. One row per change of status: the furthest says where it stands.

    `review_id` = hash of what is asked about, the question, the role and, where there is one, the
    batch, the round or the assignee; `status` is queued, planned (a push is to send it), pushed,
    answered, or gone (its task or project was deleted at the desk). `question` is one of
    `QUESTIONS` (null: `preference`). Of a pair `response_a` < `response_b`; of one response
    `response_b` is null; of a group `responses` holds the ids in the order shown. `pair_id` is the
    pair, the response or the hash of the group. `left` says which response (`a` or `b`) is shown on
    the left side.

    `role` is `work`, `gold` (the answer is known and hidden) or `adjudication` (a third opinion on
    what people disagree about); null means `work`. `batch_id` names the push it went out with;
    `round` counts how often it went back to the queue; `assignee` is the person it is kept for;
    `overlap` the people wanted. `gain` is what an answer was expected to be worth (a share of one
    label) and `why` (JSON) its parts; `expected_seconds` what it would cost.
    """

    review_id = dy.String(primary_key=True, min_length=1)
    status = dy.String(primary_key=True, min_length=1)
    pair_id = dy.String(min_length=1)
    prompt_id = dy.String(min_length=1)
    response_a = dy.String(min_length=1)
    response_b = dy.String(nullable=True)
    reason = dy.String(nullable=True)
    left = dy.String(nullable=True)
    desk = dy.String(nullable=True)
    project_id = dy.Int64(nullable=True)
    task_id = dy.Int64(nullable=True)
    question = dy.String(nullable=True)
    role = dy.String(nullable=True)
    responses = dy.List(dy.String(), nullable=True)
    batch_id = dy.String(nullable=True)
    round = dy.Int64(nullable=True, min=0)
    assignee = dy.String(nullable=True)
    overlap = dy.Int64(nullable=True, min=1)
    gain = dy.Float64(nullable=True)
    why = dy.String(nullable=True)
    expected_seconds = dy.Float64(nullable=True, min=0)

    @dy.rule()
    def question_is_known(cls) -> pl.Expr:
        """`question` is one of `QUESTIONS`."""
        return pl.col("question").is_null() | pl.col("question").is_in(QUESTIONS)

    @dy.rule()
    def role_is_known(cls) -> pl.Expr:
        """`role` is one of `ROLES`."""
        return pl.col("role").is_null() | pl.col("role").is_in(ROLES)


class Batches(Row):
    """One push to people: what was asked for. `gold_rate` is the share of hidden gold among the
    tasks, `minutes` the budget it was filled to (null: none), `expected_minutes` what it should
    take everybody together."""

    batch_id = dy.String(primary_key=True, min_length=1)
    desk = dy.String(min_length=1)
    title = dy.String(min_length=1)
    project_ids = dy.List(dy.Int64())
    question = dy.String(min_length=1)
    overlap = dy.Int64(min=1)
    gold_rate = dy.Float64(min=0, max=1)
    minutes = dy.Float64(nullable=True, min=0)
    expected_minutes = dy.Float64(min=0)
    reviews = dy.Int64(min=0)
    gold = dy.Int64(min=0)


class Releases(Row):
    """What became of an item of a batch when somebody approved it.

    `outcome` is `gold`, or `discarded` with the `reason` (nobody could decide, say). `p_a` and
    `tie` are what people together said. `approved_by` is who approved; `gates` (JSON) what was
    measured then. Released gold is also a judgment of annotator `people:BATCH` with `gold`.
    """

    batch_id = dy.String(primary_key=True, min_length=1)
    review_id = dy.String(primary_key=True, min_length=1)
    pair_id = dy.String(min_length=1)
    outcome = dy.String(min_length=1)
    reason = dy.String(nullable=True)
    p_a = dy.Float64(nullable=True, min=0, max=1)
    tie = dy.Bool()
    agreement = dy.Float64(nullable=True, min=0, max=1)
    annotators = dy.List(dy.String())
    approved_by = dy.String(min_length=1)
    gates = dy.String()


class Standings(Row):
    """What a person's work in a batch came to, each time it was measured and had changed.

    `below` says that it stayed below the bar: this person's judgments of the batch count for
    nothing from then on, and its items went back to the queue. `card` is JSON.
    """

    batch_id = dy.String(primary_key=True, min_length=1)
    person = dy.String(primary_key=True, min_length=1)
    measured = dy.String(primary_key=True, min_length=1)
    n = dy.Int64(min=0)
    gold_n = dy.Int64(min=0)
    gold_accuracy = dy.Float64(nullable=True, min=0, max=1)
    below = dy.Bool()
    card = dy.String()


class Failures(Row):
    """A model call that ended without a result; tried again only with `--retry-failed`.

    `attempt` counts the runs that tried it; the latest attempt is the one that counts.
    """

    request_id = dy.String(primary_key=True, min_length=1)
    attempt = dy.Int64(primary_key=True, min=1)
    stage = dy.String(min_length=1)
    prompt_id = dy.String(nullable=True)
    cause = dy.String(min_length=1)
    detail = dy.String(nullable=True)
    tries = dy.Int64(min=0)
    seconds = dy.Float64(nullable=True, min=0)


class Annotators(Row):
    """Who judges: `specification` and `card` (reliability) are JSON. Rows with a card carry the
    snapshot that it was measured at; the specification alone, as it was first used, carries 0."""

    annotator = dy.String(primary_key=True, min_length=1)
    snapshot = dy.Int64(primary_key=True, min=0)
    kind = dy.String(min_length=1)
    specification = dy.String()
    card = dy.String(nullable=True)


class Embeddings(Row):
    """A cached sentence vector; `text_hash` is the hash of the content, not of the row."""

    text_hash = dy.String(primary_key=True, min_length=1)
    model = dy.String(primary_key=True, min_length=1)
    vector = dy.List(dy.Float32())
