"""Contracts of what is concluded from the evidence: decisions, splits, versions, models, exams."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from schemas.row import Row

SPLITS = ("train", "test", "gold-teach", "gold-exam")
SIDE = {"train": "train", "gold-teach": "train", "test": "test", "gold-exam": "test"}


class Decisions(Row):
    """Every outcome other than plain keeping, under the scope it was made in.

    `item_kind` is prompt, response, pair, or row (of a pool of files, by the name it has there);
    `action` is drop, flip, to_review, mark (kept, with the rule as a defect) or redact (kept, and
    what was found is covered at export); `rule` names the rule, `value` the number that met it,
    `threshold` the number it was held against; `group_id` and `representative` say which
    duplicates belong together and which of them stayed.
    """

    scope = dy.String(primary_key=True, min_length=1)
    item_id = dy.String(primary_key=True, min_length=1)
    item_kind = dy.String(min_length=1)
    stage = dy.String(min_length=1)
    action = dy.String(min_length=1)
    rule = dy.String(min_length=1)
    reason = dy.String()
    value = dy.Float64(nullable=True)
    threshold = dy.Float64(nullable=True)
    group_id = dy.String(nullable=True)
    representative = dy.String(nullable=True)


class Quarantine(Row):
    """A row that cannot be used, as JSON, with the stage, the place and the reason."""

    quarantine_id = dy.String(primary_key=True, min_length=1)
    stage = dy.String(min_length=1)
    source = dy.String(nullable=True)
    position = dy.String(nullable=True)
    reason = dy.String(min_length=1)
    row = dy.String()


class Splits(Row):
    """Which split a prompt's cluster belongs to. Append-only: a prompt keeps its split."""

    prompt_id = dy.String(primary_key=True, min_length=1)
    cluster_id = dy.String(min_length=1)
    split = dy.String(min_length=1)

    @dy.rule()
    def split_is_known(cls) -> pl.Expr:
        """`split` is one of `SPLITS`."""
        return pl.col("split").is_in(SPLITS)


class Versions(Row):
    """A published data set. `recipe`, `metrics` and `cost` are JSON; `scopes` are the decision
    scopes that apply; `snapshot` is the DuckLake snapshot that holds the rows it was made from."""

    name = dy.String(primary_key=True, min_length=1)
    version = dy.Int64(primary_key=True, min=1)
    snapshot = dy.Int64(min=0)
    fingerprint = dy.String(min_length=1)
    rows = dy.Int64(min=0)
    recipe_hash = dy.String(min_length=1)
    recipe = dy.String()
    policy = dy.String(min_length=1)
    scopes = dy.List(dy.String())
    licences = dy.List(dy.String())
    metrics = dy.String()
    cost = dy.String()


class VersionPairs(Row):
    """The frozen outcome of a label policy. `margin` is in [0, 1]: 2 * probability - 1."""

    name = dy.String(primary_key=True, min_length=1)
    version = dy.Int64(primary_key=True, min=1)
    pair_id = dy.String(primary_key=True, min_length=1)
    prompt_id = dy.String(min_length=1)
    chosen_id = dy.String(min_length=1)
    rejected_id = dy.String(min_length=1)
    probability = dy.Float64(min=0, max=1)
    margin = dy.Float64(min=0, max=1)
    weight = dy.Float64(min=0)
    agreement = dy.Float64(nullable=True, min=0, max=1)
    tier = dy.String(min_length=1)
    decided_by = dy.String(min_length=1)
    annotators = dy.List(dy.String())
    category = dy.String(min_length=1)
    source = dy.String(min_length=1)
    licence = dy.String(min_length=1)
    split = dy.String(min_length=1)

    @dy.rule()
    def sides_differ(cls) -> pl.Expr:
        """A pair has two responses."""
        return pl.col("chosen_id") != pl.col("rejected_id")


class Weights(Row):
    """How much a pair counts in training, under the scope it was weighed in."""

    scope = dy.String(primary_key=True, min_length=1)
    pair_id = dy.String(primary_key=True, min_length=1)
    weight = dy.Float64(min=0)


class Readings(Row):
    """What all voices together make of a pair, under the scope it was read in.

    `p` is the probability that response_a is better as if nothing were known of the prompt's own
    gold; `p_gold`, `p_best` and `p_jury` that of the model taught by gold alone, of the best one
    and of the judges (null where none spoke). `came` is what the pair came with (1: response_a, 0,
    0.5 a tie, null nothing) and `trust` the chance that such a label is right, by who gave it and
    how long it is. `weighs` says that the pair is gold that weighed the voices. `action` (keep,
    flip, discard, or read where no label came) and `rule` are those of
    `annotators.loop.sorting`.
    """

    scope = dy.String(primary_key=True, min_length=1)
    pair_id = dy.String(primary_key=True, min_length=1)
    p = dy.Float64(min=0, max=1)
    p_gold = dy.Float64(min=0, max=1)
    p_best = dy.Float64(min=0, max=1)
    p_jury = dy.Float64(nullable=True, min=0, max=1)
    came = dy.Float64(nullable=True, min=0, max=1)
    trust = dy.Float64(nullable=True, min=0, max=1)
    weighs = dy.Bool()
    action = dy.String(min_length=1)
    rule = dy.String(min_length=1)


LOOP_STATUSES = ("planned", "waiting", "done")


class Iterations(Row):
    """One iteration of a gold loop. A row each time that it gets further: `planned` (its pairs are
    fixed and not all judged), `waiting` (for people), `done`.

    `loop_id` = hash of what the loop is; `number` counts from 0, which has the judges learn what
    they are worth on gold. `kind` is gold, retrieval (neighbours of gold errors) or rejudging (what
    the best model does not agree with). `pair_ids` are judged in it and `asked` are the pairs that
    people are asked about. `pool` is the hash of the candidate pairs that there were. `gold` and
    `silver` count the pairs that are gold that teaches, and those judged; `accuracy` is that of the
    best probe on gold, held out, with its 95 % interval, `accuracy_read` that of all voices read
    together. `verdicts`, `tokens_in`, `tokens_out` and `seconds` (the requests' own) are what its
    pairs cost, whichever run paid; `minutes` what people spent on those asked. `ended` says why the
    loop goes no further.
    """

    loop_id = dy.String(primary_key=True, min_length=1)
    number = dy.Int64(primary_key=True, min=0)
    status = dy.String(primary_key=True, min_length=1)
    name = dy.String(min_length=1)
    kind = dy.String(min_length=1)
    pool = dy.String(min_length=1)
    pair_ids = dy.List(dy.String())
    asked = dy.List(dy.String())
    gold = dy.Int64(min=0)
    silver = dy.Int64(min=0)
    candidates = dy.Int64(min=0)
    accuracy = dy.Float64(nullable=True, min=0, max=1)
    accuracy_low = dy.Float64(nullable=True, min=0, max=1)
    accuracy_high = dy.Float64(nullable=True, min=0, max=1)
    accuracy_read = dy.Float64(nullable=True, min=0, max=1)
    verdicts = dy.Int64(min=0)
    tokens_in = dy.Int64(min=0)
    tokens_out = dy.Int64(min=0)
    seconds = dy.Float64(min=0)
    minutes = dy.Float64(min=0)
    ended = dy.String(nullable=True)

    @dy.rule()
    def status_is_known(cls) -> pl.Expr:
        """`status` is one of `LOOP_STATUSES`."""
        return pl.col("status").is_in(LOOP_STATUSES)


class Runs(Row):
    """One finished stage: its scope, its counts (`summary`, JSON) and its seconds."""

    stage = dy.String(primary_key=True, min_length=1)
    scope = dy.String(primary_key=True, min_length=1)
    run_id = dy.String(primary_key=True, min_length=1)
    recipe_hash = dy.String(nullable=True)
    summary = dy.String()
    seconds = dy.Float64(min=0)


class Models(Row):
    """A trained reward model: `model_id` = hash(data fingerprint, training configuration). One row
    per folder it was trained into; `name` and `version` are the version it was first trained for.
    """

    model_id = dy.String(primary_key=True, min_length=1)
    name = dy.String(min_length=1)
    version = dy.Int64(min=1)
    fingerprint = dy.String(min_length=1)
    base = dy.String(min_length=1)
    config = dy.String()
    path = dy.String(primary_key=True, min_length=1)
    metrics = dy.String()


class Exams(Row):
    """One examination: accuracy with its interval, by category, and the baselines (JSON). `n`
    is the number of pairs scored, `cut` that of them of which the model did not see all, and
    `unscored` that of pairs whose reward is no number."""

    exam_id = dy.String(primary_key=True, min_length=1)
    model_id = dy.String(min_length=1)
    name = dy.String(min_length=1)
    version = dy.Int64(min=1)
    heading = dy.String(min_length=1)
    label_source = dy.String(min_length=1)
    n = dy.Int64(min=0)
    cut = dy.Int64(min=0, nullable=True)
    unscored = dy.Int64(min=0, nullable=True)
    score = dy.Float64(nullable=True)
    ci_low = dy.Float64(nullable=True)
    ci_high = dy.Float64(nullable=True)
    by_category = dy.String()
    baselines = dy.String()


class Grades(Row):
    """What one exam set said of a version: of its reward model where it has one (`model_id`), else
    of the fixed small probe, and of what both are held against. `set_name` is the benchmark's, or
    `held-out pairs`; `set_hash` follows from its items; `detail` (JSON) is all of it, see
    `pipelines.ship.exams.taking`."""

    grade_id = dy.String(primary_key=True, min_length=1)
    name = dy.String(min_length=1)
    version = dy.Int64(min=1)
    model_id = dy.String(nullable=True)
    set_name = dy.String(min_length=1)
    set_hash = dy.String(min_length=1)
    n = dy.Int64(min=0)
    score = dy.Float64(nullable=True)
    ci_low = dy.Float64(nullable=True)
    ci_high = dy.Float64(nullable=True)
    detail = dy.String()


class LakeMeta(Row):
    """What the lake says of itself: `schema_version` and what else is set once."""

    key = dy.String(primary_key=True, min_length=1)
    value = dy.String()
