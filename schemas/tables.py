"""The tables of the lake as dataframely contracts, and the SQL that creates them.

DuckLake has no constraints, so these contracts are the constraints: `pipelines.lake` validates
every row against them before it is written and quarantines the rows that fail. Every table also
carries `run_id` and `created_at` (UTC), which `append` fills in. Columns that hold JSON text say
so. All ids are hex strings.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

SCHEMA_VERSION = 1
"""Raised whenever a table changes in a way that older code cannot read."""

SPLITS = ("train", "test", "gold-teach", "gold-exam")
TIERS = ("gold", "silver", "candidate")
JUDGMENT_KINDS = ("verifier", "llm", "reward_model", "human", "import")


class Row(dy.Schema):
    """What every row carries."""

    run_id = dy.String()
    created_at = dy.Datetime(time_unit="us")


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
    server's word (`stop`, `length`, ...), None where nothing was sampled.
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
    An opinion that could not be read has `valid` false, the reason in `reason`, and neither
    `p_a` nor `score`. `detail` is JSON.
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
        """`p_a` speaks of pairs, `score` of single responses."""
        return (pl.col("p_a").is_null() | pl.col("response_b").is_not_null()) & (
            pl.col("score").is_null() | pl.col("response_b").is_null()
        )


class Syntheses(Row):
    """One attempt to make a prompt (a generator's item or a model call) and what became of it.

    `outcome` is `kept` (a new prompt), `duplicate` (the prompt was there already; `prompt_id`
    names it) or `unusable` (with `reason`). `detail` is JSON: family, difficulty, seed prompts.
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


class Reviews(Row):
    """What waits for people. One row per change of status: the latest says where it stands.

    `review_id` = hash of the pair and the question; `status` is queued, pushed, answered or
    withdrawn; `left` says which response (`a` or `b`) is shown on the left side.
    """

    review_id = dy.String(primary_key=True, min_length=1)
    status = dy.String(primary_key=True, min_length=1)
    pair_id = dy.String(min_length=1)
    prompt_id = dy.String(min_length=1)
    response_a = dy.String(min_length=1)
    response_b = dy.String(min_length=1)
    reason = dy.String(nullable=True)
    left = dy.String(nullable=True)
    desk = dy.String(nullable=True)
    project_id = dy.Int64(nullable=True)
    task_id = dy.Int64(nullable=True)


class Decisions(Row):
    """Every outcome other than plain keeping, under the scope it was made in.

    `item_kind` is prompt, response or pair; `action` is drop, flip or to_review; `rule` names the
    rule, `value` the number that met it, `threshold` the number it was held against; `group_id`
    and `representative` say which duplicates belong together and which of them stayed.
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


class Imports(Row):
    """One row per input row of an imported file: its outcome, its licence, what it became.

    `outcome` is kept, duplicate or quarantined. `pair_ids` are the pairs it speaks of.
    """

    source = dy.String(primary_key=True, min_length=1)
    file_hash = dy.String(primary_key=True, min_length=1)
    row = dy.Int64(primary_key=True, min=0)
    outcome = dy.String(min_length=1)
    reason = dy.String(nullable=True)
    licence = dy.String(min_length=1)
    prompt_id = dy.String(nullable=True)
    pair_ids = dy.List(dy.String())
    judgments = dy.Int64(min=0)


class Annotators(Row):
    """Who judges: `specification` and `card` (reliability) are JSON."""

    annotator = dy.String(primary_key=True, min_length=1)
    snapshot = dy.Int64(primary_key=True, min=0)
    kind = dy.String(min_length=1)
    specification = dy.String()
    card = dy.String(nullable=True)


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


class Runs(Row):
    """One finished stage: its scope, its counts (`summary`, JSON) and its seconds."""

    stage = dy.String(primary_key=True, min_length=1)
    scope = dy.String(primary_key=True, min_length=1)
    run_id = dy.String(primary_key=True, min_length=1)
    recipe_hash = dy.String(nullable=True)
    summary = dy.String()
    seconds = dy.Float64(min=0)


class Models(Row):
    """A trained reward model: `model_id` = hash(data fingerprint, training configuration)."""

    model_id = dy.String(primary_key=True, min_length=1)
    name = dy.String(min_length=1)
    version = dy.Int64(min=1)
    fingerprint = dy.String(min_length=1)
    base = dy.String(min_length=1)
    config = dy.String()
    path = dy.String(min_length=1)
    metrics = dy.String()


class Exams(Row):
    """One examination: accuracy with its interval, by category, and the baselines (JSON)."""

    exam_id = dy.String(primary_key=True, min_length=1)
    model_id = dy.String(min_length=1)
    name = dy.String(min_length=1)
    version = dy.Int64(min=1)
    heading = dy.String(min_length=1)
    label_source = dy.String(min_length=1)
    n = dy.Int64(min=0)
    score = dy.Float64(nullable=True)
    ci_low = dy.Float64(nullable=True)
    ci_high = dy.Float64(nullable=True)
    by_category = dy.String()
    baselines = dy.String()


class Embeddings(Row):
    """A cached sentence vector; `text_hash` is the hash of the content, not of the row."""

    text_hash = dy.String(primary_key=True, min_length=1)
    model = dy.String(primary_key=True, min_length=1)
    vector = dy.List(dy.Float32())


class LakeMeta(Row):
    """What the lake says of itself: `schema_version` and what else is set once."""

    key = dy.String(primary_key=True, min_length=1)
    value = dy.String()


TABLES: dict[str, type[Row]] = {
    "prompts": Prompts,
    "responses": Responses,
    "rollouts": Rollouts,
    "judgments": Judgments,
    "syntheses": Syntheses,
    "reviews": Reviews,
    "decisions": Decisions,
    "quarantine": Quarantine,
    "failures": Failures,
    "imports": Imports,
    "annotators": Annotators,
    "splits": Splits,
    "versions": Versions,
    "version_pairs": VersionPairs,
    "runs": Runs,
    "models": Models,
    "exams": Exams,
    "embeddings": Embeddings,
    "lake_meta": LakeMeta,
}


def key_columns(table: str) -> list[str]:
    """The columns that make a row of `table` unique."""
    return TABLES[table].primary_key()


def polars_schema(table: str) -> dict[str, pl.DataType]:
    """Column name -> polars type of `table`, in order."""
    return {name: column.dtype for name, column in TABLES[table].columns().items()}


def create_table_sql(table: str) -> str:
    """`CREATE TABLE IF NOT EXISTS` for DuckLake (which knows no constraints, so none stand here)."""
    columns = ", ".join(
        f'"{name}" {sql_type(dtype)}' for name, dtype in polars_schema(table).items()
    )
    return f'CREATE TABLE IF NOT EXISTS "{table}" ({columns})'


def sql_type(dtype: pl.DataType) -> str:
    """The DuckDB type of a polars type.

    Raises:
        TypeError: a type that no table uses (128-bit integers among them: DuckLake stores them
            as DOUBLE, silently).
    """
    if isinstance(dtype, pl.List):
        return f"{sql_type(dtype.inner)}[]"  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        fields = ", ".join(f'"{f.name}" {sql_type(f.dtype)}' for f in dtype.fields)  # type: ignore[arg-type]
        return f"STRUCT({fields})"
    names = {
        pl.String: "VARCHAR",
        pl.Int64: "BIGINT",
        pl.Float64: "DOUBLE",
        pl.Float32: "FLOAT",
        pl.Boolean: "BOOLEAN",
        pl.Datetime: "TIMESTAMP",
    }
    for polars_type, name in names.items():
        if dtype == polars_type:
            return name
    raise TypeError(f"no lake column may have type {dtype}")
