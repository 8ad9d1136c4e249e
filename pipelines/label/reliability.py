"""Measuring every annotator of a lake against gold, and keeping the cards.

What gold is, `annotators.gold` says. An annotator whose own word is part of gold is measured
against what the others say, for agreeing with oneself proves nothing.

Gold of the exam is not looked at, nor any word of people or recorders on its prompts; a
calibration, which labels are read through until somebody measures again, is fitted to gold in train
alone (`pipelines.lake.teaching`).

What has been revised since does not count: a person's earlier word, an older edition of a pool, a
ranking of the same prompt before its newest, a call that failed and was made again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from annotators.agreement import NAMES
from annotators.calibration import fit_isotonic, fit_platt, mirror_pairs
from annotators.gold import HUMAN, select_gold, settle_gold, tell_voice
from annotators.planning import Plan, make_plans
from annotators.ranking.conclusions import count_costs, count_groups, keep_newest, list_cycles
from annotators.reliability import (
    compare_judges,
    correlate_judges,
    make_cards,
    tabulate_calibration,
)
from annotators.rubrics.policy import tabulate_policies
from annotators.rubrics.taxonomy import count_failures
from annotators.signals.compare import compare_scores
from annotators.votes import PAIR, average_opinions, select_opinions
from pipelines.label.latest import keep_last_guided
from pipelines.label.people.counting import keep_counted
from pipelines.lake.catalogue import Lake
from pipelines.lake.editions import drop_superseded
from pipelines.lake.run import Run
from pipelines.lake.teaching import keep_teaching, leave_exam
from schemas.errors import AssayError

STAGE = "reliability"
LEAST_TO_CALIBRATE = 20


class NoSuchAnnotator(AssayError):
    """Gold was to come from somebody who has said nothing in this lake."""


@dataclass(frozen=True)
class Reliability:
    """What is known of the annotators of a lake.

    `cards` are those of `annotators.reliability.make_cards`; `curves` its reliability plots;
    `kappas` and `errors` compare every two; `gold` are the pairs measured against, `sources` who
    gave them; `calibrations` by annotator, as JSON. Of those that do not judge pairs: `rankings`
    and `cycles` (see `annotators.ranking.conclusions`), `policies` (see
    `annotators.rubrics.policy.tabulate_policies`) and `failures` (see
    `annotators.rubrics.taxonomy.count_failures`).
    """

    cards: pl.DataFrame
    curves: pl.DataFrame
    kappas: pl.DataFrame
    errors: pl.DataFrame
    gold: pl.DataFrame
    sources: list[str]
    calibrations: dict[str, dict[str, Any]]
    plans: list[Plan]
    rankings: pl.DataFrame
    cycles: pl.DataFrame
    policies: pl.DataFrame
    failures: pl.DataFrame

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints: figures that cannot be known are null."""
        cards = {row.pop("annotator"): row for row in self.cards.iter_rows(named=True)}
        return clean_numbers(
            {
                "annotators": cards,
                "gold": {"pairs": len(self.gold), "sources": self.sources},
                "kappas": self.kappas.to_dicts(),
                "error_correlations": self.errors.to_dicts(),
                "plans": [asdict(plan) for plan in self.plans],
                "rankings": self.rankings.to_dicts(),
                "cycles": self.cycles.to_dicts(),
                "policies": self.policies.to_dicts(),
                "failures": self.failures.to_dicts(),
            }
        )


def measure_annotators(
    lake: Lake,
    gold_from: Sequence[str] = (),
    *,
    snapshot: int | None = None,
    version: tuple[str, int] | None = None,
) -> Reliability:
    """Measure everybody who has an opinion on a pair.

    Args:
        gold_from: the annotators whose majority is the truth, instead of what the module says.
        snapshot: look at the lake as it stood then; the newest state if not given.
        version: name and number of a published version: only opinions on its prompts count.

    Raises:
        NoSuchAnnotator: one of `gold_from` has said nothing.
    """
    at = lake.snapshot() if snapshot is None else int(snapshot)
    within = (
        "SEMI JOIN (FROM version_pairs WHERE name = ? AND version = ?) USING (prompt_id) "
        if version
        else ""
    )
    judgments = lake.query(
        "SELECT judgment_id, annotator, kind, prompt_id, response_a, response_b, criterion, p_a, "
        'score, tie, valid, reason, "order", sample_index, tokens_in, tokens_out, seconds, '
        "coalesce(gold, false) AS gold, detail, created_at "
        f"FROM judgments AT (VERSION => {at}) {within}"
        "WHERE kind <> 'verifier' OR response_b IS NOT NULL",
        version or (),
    )
    pools = lake.query("SELECT DISTINCT source FROM imports")["source"].to_list()
    judgments = keep_counted(drop_superseded(lake, judgments, pools))
    judgments = count_costs(keep_newest(keep_last_guided(judgments)))
    speaks_gold = tell_voice().is_not_null()
    taught = leave_exam(lake, judgments.filter(speaks_gold))
    judgments = pl.concat([judgments.filter(~speaks_gold), taught])
    judgments = pl.concat([judgments, compare_scores(judgments, select_opinions(judgments))])
    categories = lake.query(f"SELECT prompt_id, category FROM prompts AT (VERSION => {at})")
    lengths = lake.query(
        f"SELECT response_id, length(content) AS characters FROM responses AT (VERSION => {at})"
    )
    voices = _find_gold_voices(judgments, gold_from)
    gold = _settle(voices, categories)
    sources = sorted(voices["annotator"].unique())
    cards = make_cards(judgments, gold, lengths)
    for name in sources:
        others = _settle(voices.filter(pl.col("annotator") != name), categories)
        own = make_cards(judgments.filter(pl.col("annotator") == name), others, lengths)
        cards = pl.concat([cards.filter(pl.col("annotator") != name), own])
    asked = (tell_voice() == HUMAN).fill_null(False)
    machines = judgments.filter(~pl.col("annotator").is_in(sources) & ~asked)
    return Reliability(
        cards=cards.sort("annotator"),
        curves=tabulate_calibration(machines, gold),
        kappas=compare_judges(judgments),
        errors=correlate_judges(machines, gold),
        gold=gold,
        sources=sources,
        calibrations=_calibrate(keep_teaching(lake, machines), gold),
        plans=make_plans(machines, gold) if len(gold) else [],
        rankings=count_groups(judgments),
        cycles=list_cycles(judgments),
        policies=tabulate_policies(judgments),
        failures=count_failures(judgments),
    )


def record_cards(lake: Lake, run: Run, found: Reliability) -> int:
    """Write the cards that changed to `annotators`, with the snapshot they were measured at;
    returns how many."""
    snapshot = lake.snapshot()
    latest = {row["annotator"]: row for row in _read_latest(lake).iter_rows(named=True)}
    kinds = dict(
        lake.query("SELECT annotator, min(kind) FROM judgments GROUP BY annotator").iter_rows()
    )
    rows = []
    for card in found.cards.iter_rows(named=True):
        name = card.pop("annotator")
        content = {
            **card,
            "gold_sources": found.sources,
            "calibration": found.calibrations.get(name, {}),
            "kappas": _find_others(found.kappas, name, "kappa"),
            "error_correlations": _find_others(found.errors, name, "phi"),
        }
        text = json.dumps(clean_numbers(content), ensure_ascii=False, sort_keys=True)
        before = latest.get(name, {})
        if text != before.get("card"):
            rows.append(
                {
                    "annotator": name,
                    "snapshot": snapshot,
                    "kind": kinds[name],
                    "specification": before.get("specification") or "{}",
                    "card": text,
                }
            )
    if rows:
        lake.append({"annotators": rows}, run=run, stage=STAGE, message=f"{len(rows)} cards")
    return len(rows)


def read_cards(lake: Lake) -> dict[str, dict[str, Any]]:
    """The newest stored card of each annotator that has one."""
    rows = _read_latest(lake).filter(pl.col("card").is_not_null())
    return {row["annotator"]: json.loads(row["card"]) for row in rows.iter_rows(named=True)}


def clean_numbers(value: Any) -> Any:
    """JSON knows no NaN: such a figure is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: clean_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_numbers(item) for item in value]
    return value


def _find_others(compared: pl.DataFrame, name: str, value: str) -> dict[str, float | None]:
    """What `compared` says of an annotator and every other one."""
    one, other = NAMES
    turned = compared.select(pl.col(other).alias(one), pl.col(one).alias(other), value)
    both = pl.concat([compared.select(one, other, value), turned])
    return dict(both.filter(pl.col(one) == name).select(other, value).sort(other).iter_rows())


def _read_latest(lake: Lake) -> pl.DataFrame:
    return lake.query(
        "SELECT annotator, specification, card FROM annotators "
        "QUALIFY row_number() OVER (PARTITION BY annotator ORDER BY snapshot DESC) = 1"
    )


def _find_gold_voices(judgments: pl.DataFrame, gold_from: Sequence[str]) -> pl.DataFrame:
    pairwise = judgments.filter(
        pl.col("response_b").is_not_null() & pl.col("valid") & pl.col("criterion").is_null()
    )
    if gold_from:
        known = set(pairwise["annotator"])
        strangers = [name for name in gold_from if name not in known]
        if strangers:
            raise NoSuchAnnotator(
                f"{', '.join(strangers)} has said nothing about a pair in this lake; known: "
                f"{', '.join(sorted(known)) or 'nobody'}"
            )
        return pairwise.filter(pl.col("annotator").is_in(list(gold_from)))
    return select_gold(pairwise)


def _settle(voices: pl.DataFrame, categories: pl.DataFrame) -> pl.DataFrame:
    """What they say of each pair: response_a, response_b, p_a, category."""
    return (
        settle_gold(voices)
        .join(categories, on="prompt_id", how="left")
        .select(*PAIR, "p_a", "category")
        .sort(PAIR)
    )


def _calibrate(judgments: pl.DataFrame, gold: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Platt and isotonic fits by annotator, of the mean probability of each pair of gold; none
    where there are fewer than `LEAST_TO_CALIBRATE`."""
    spoken = judgments.filter(
        pl.col("valid") & pl.col("p_a").is_not_null() & pl.col("criterion").is_null()
    )
    said = (
        average_opinions(spoken, ["annotator", *PAIR])
        .join(gold.select(*PAIR, truth="p_a"), on=PAIR)
        .sort("annotator", *PAIR)
    )
    found: dict[str, dict[str, Any]] = {}
    for (name,), rows in said.group_by("annotator", maintain_order=True):
        if len(rows) >= LEAST_TO_CALIBRATE:
            p, truth = mirror_pairs(rows["p_a"].to_numpy(), rows["truth"].to_numpy())
            fits = {"platt": fit_platt(p, truth), "isotonic": fit_isotonic(p, truth)}
            found[str(name)] = {key: json.loads(fit.to_json()) for key, fit in fits.items()}
    return found
