"""What a row of a preference pool becomes in the tables of the lake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.lake.layouts import OPINIONS, read_row
from pipelines.lake.opinions import NO_MATTER
from pipelines.lake.parts import Comparison, ImportedRow
from pipelines.lake.readers import BadRow
from schemas.ids import (
    hash_text,
    make_id,
    make_judgment_id,
    make_pair_id,
    make_prompt_id,
    make_response_id,
)
from schemas.sourcing import ImportSource

STAGE = "import"
MACHINES = ("llm", "reward_model")
FILLED = ("prompts", "responses", "rollouts", "judgments", "quarantine", "imports")
"""In the order of writing: `imports` says that a row is done, so it comes last."""

Tables = dict[str, list[dict[str, Any]]]
PoolRow = dict[str, Any] | BadRow


def write_json(row: dict[str, Any]) -> str:
    """JSON of a row, the same whatever the order of its keys."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True, default=str)


@dataclass(frozen=True)
class Edition:
    """A file as it is imported: how its rows are read, and which revision of them this makes."""

    file_hash: str
    layout: str
    settings: str
    revision: int = 0


class Intake:
    """Turns rows into table rows, and knows what of the file has come already: the pairs of a
    pool, the rows of recorded opinions."""

    def __init__(self, source: ImportSource, edition: Edition, seen_pairs: set[str]) -> None:
        self._source = source
        self._edition = edition
        self._licence = source.licence or "unknown"
        self._recorded = edition.layout == OPINIONS
        self._seen = set() if self._recorded else seen_pairs
        self._added: set[str | tuple[str, str]] = set()

    def remember(self, row: PoolRow) -> None:
        """Take note of a row that an earlier call did. What a pool's rows have brought is known
        from the lake; which opinions a file has said is known from its rows alone."""
        if self._recorded and not isinstance(row, BadRow):
            self._seen.add(self._hash_row(row))

    def add(self, tables: Tables, number: int, row: PoolRow) -> None:
        """Add what one input row comes to."""
        if isinstance(row, BadRow):
            self._quarantine(tables, number, row.reason, row.text)
            return
        try:
            imported = read_row(self._edition.layout, row)
            prompt_id = make_prompt_id(imported.messages)
            response_ids = [make_response_id(prompt_id, text) for text in imported.responses]
        except ValueError as error:
            self._quarantine(tables, number, str(error), write_json(row))
            return
        category = self._source.category or imported.category or "imported"
        self._add_content(tables, number, imported, category, prompt_id, response_ids)
        opinions = [
            (index, make_pair_id(prompt_id, response_ids[c.i], response_ids[c.j]), c)
            for index, c in enumerate(imported.comparisons)
            if response_ids[c.i] != response_ids[c.j]
        ]
        # The row's content, not its place: a longer edition of the file says nothing twice.
        row_hash = self._hash_row(row)
        origin = f"{self._source.name}:{row_hash}" + (":gold" if self._source.gold else "")
        judgment_ids = []
        for index, pair_id, comparison in opinions:
            judgment = self._make_judgment(pair_id, comparison, response_ids, f"{origin}:{index}")
            detail = self._make_detail(number, comparison, response_ids)
            tables["judgments"].append({**judgment, "prompt_id": prompt_id, "detail": detail})
            judgment_ids.append(judgment["judgment_id"])
        pair_ids = list(dict.fromkeys(pair_id for _, pair_id, _ in opinions))
        brought = [row_hash] if self._recorded else pair_ids
        outcome, reason = self._decide(imported, brought, len(opinions))
        self._seen.update(brought)
        said = 0 if self._recorded and outcome == "duplicate" else len(opinions)
        licence = imported.licence or self._licence
        self._account(
            tables, number, outcome, reason, licence, prompt_id, category, pair_ids, said,
            judgment_ids,
        )  # fmt: skip

    def _hash_row(self, row: dict[str, Any]) -> str:
        if self._recorded:
            row = {k: v for k, v in row.items() if v is not None and k not in NO_MATTER}
        return hash_text(write_json(row))

    def _decide(
        self, imported: ImportedRow, brought: list[str], opinions: int
    ) -> tuple[str, str | None]:
        without = len(imported.comparisons) - opinions
        if imported.comparisons and not opinions:
            return "dropped", "identical_responses"
        if brought and self._seen.issuperset(brought):
            return "duplicate", None
        if without:
            return "kept", f"identical responses in {without} of its comparisons"
        return "kept", None

    def _add_content(
        self,
        tables: Tables,
        number: int,
        imported: ImportedRow,
        category: str,
        prompt_id: str,
        response_ids: list[str],
    ) -> None:
        source = self._source
        if prompt_id not in self._added:  # of many opinions on one pair, one brings the texts
            self._added.add(prompt_id)
            tables["prompts"].append(
                {
                    "prompt_id": prompt_id,
                    "messages": list(imported.messages),
                    "category": category,
                    "language": imported.language,
                    "source": source.name,
                    "licence": imported.licence or self._licence,
                    "context": imported.context,
                    "origin_id": self._key(number),
                }
            )
        triples = zip(response_ids, imported.responses, imported.policies, strict=True)
        for response_id, content, named in triples:
            policy = f"import:{source.name}/{named}" if named else f"import:{source.name}"
            if (response_id, policy) in self._added:
                continue
            self._added.add((response_id, policy))
            tables["responses"].append(
                {"response_id": response_id, "prompt_id": prompt_id, "content": content}
            )
            request_id = make_id("import", source.name, policy, response_id)
            tables["rollouts"].append(
                {
                    "rollout_id": make_id("rollout", request_id, 0),
                    "request_id": request_id,
                    "prompt_id": prompt_id,
                    "response_id": response_id,
                    "policy": policy,
                    "sample_index": 0,
                }
            )

    def _make_judgment(
        self, pair_id: str, comparison: Comparison, response_ids: list[str], origin: str
    ) -> dict[str, Any]:
        first, second = response_ids[comparison.i], response_ids[comparison.j]
        p_a, order = comparison.p_first, comparison.order
        if second < first:
            p_a = None if p_a is None else 1 - p_a
            order = None if order is None else order[::-1]
        suffix = comparison.annotator_suffix
        annotator = f"import:{self._source.name}" + (f"/{suffix}" if suffix else "")
        return {
            "judgment_id": make_judgment_id(
                annotator,
                pair_id,
                criterion=comparison.criterion,
                order=order,
                sample_index=comparison.sample_index,
                origin=origin,
            ),
            "annotator": annotator,
            "kind": comparison.kind,
            "response_a": min(first, second),
            "response_b": max(first, second),
            "criterion": comparison.criterion,
            "p_a": p_a,
            "tie": comparison.tie,
            "valid": comparison.valid,
            "reason": comparison.reason,
            "order": order,
            "sample_index": comparison.sample_index,
            "critique": comparison.critique,
            "raw": comparison.raw,
            "gold": self._tell_gold(comparison),
            "tokens_in": comparison.tokens_in,
            "tokens_out": comparison.tokens_out,
            "seconds": comparison.seconds,
        }

    def _tell_gold(self, comparison: Comparison) -> bool | None:
        """Whether an opinion is the truth: as it says itself, else as its source was declared."""
        declared = self._source.gold and comparison.kind not in MACHINES and comparison.valid
        return True if comparison.gold is None and declared else comparison.gold

    def _make_detail(self, number: int, comparison: Comparison, response_ids: list[str]) -> str:
        """The row that a judgment came from; of a recorded opinion also whether the row's A is the
        judgment's B (as `raw` and `critique` have it), and the scores, turned round with it."""
        detail: dict[str, Any] = {"row": self._key(number)}
        if self._recorded:
            detail["mirrored"] = response_ids[comparison.j] < response_ids[comparison.i]
        if comparison.scores is not None:
            scores = comparison.scores[::-1] if detail["mirrored"] else comparison.scores
            detail["score_a"], detail["score_b"] = scores
        return json.dumps(detail)

    def _quarantine(self, tables: Tables, number: int, reason: str, text: str) -> None:
        tables["quarantine"].append(
            {
                "quarantine_id": make_id("quarantine", STAGE, self._key(number), reason),
                "stage": STAGE,
                "source": self._source.name,
                "position": str(number),
                "reason": reason,
                "row": text,
            }
        )
        self._account(tables, number, "quarantined", reason, self._licence)

    def _account(
        self,
        tables: Tables,
        number: int,
        outcome: str,
        reason: str | None,
        licence: str,
        prompt_id: str | None = None,
        category: str | None = None,
        pair_ids: Sequence[str] = (),
        judgments: int = 0,
        judgment_ids: Sequence[str] = (),
    ) -> None:
        tables["imports"].append(
            {
                "source": self._source.name,
                "file_hash": self._edition.file_hash,
                "row": number,
                "revision": self._edition.revision,
                "settings": self._edition.settings,
                "outcome": outcome,
                "reason": reason,
                "licence": licence,
                "category": category,
                "prompt_id": prompt_id,
                "pair_ids": list(pair_ids),
                "judgments": judgments,
                "judgment_ids": list(judgment_ids),
            }
        )

    def _key(self, number: int) -> str:
        return f"{self._source.name}:{self._edition.file_hash}:{number}"
