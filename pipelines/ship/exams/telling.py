"""What an exam says, as one object and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.ship.exam import tell_cut
from pipelines.ship.exams.examination import Examination
from pipelines.ship.exams.gating import Verdict
from pipelines.ship.exams.scoring import HELD_OUT

Result = Mapping[str, Any]


def gather(
    exam: Examination, results: Mapping[str, Result], verdict: Verdict | None = None
) -> dict[str, Any]:
    """The object that `assay exam --json` prints: the held-out pairs on top, as `score`, `ci`,
    `by_category` and `baselines` (all other examinees), and everything by set under `sets`."""
    held = results[HELD_OUT]
    found: dict[str, Any] = {
        "model": exam.model.model_id if exam.model else None,
        "version": f"{exam.version.name}@{exam.version.version}",
        "examinee": exam.main,
        "heading": held["heading"],
        "label_source": " and ".join(exam.sources) or "none",
        "n": held["n"],
        "score": held["score"],
        "ci": held["ci"],
        "by_category": held["by_category"],
        "baselines": {
            who: {"score": row["score"], "ci_low": row["ci"][0], "ci_high": row["ci"][1]}
            for who, row in held["rows"].items()
            if who != exam.main
        },
        "forecast": held.get("forecast"),
        "sets": dict(results),
        "warnings": list_warnings(exam, results),
    }
    if verdict is not None:
        found["gate"] = verdict.to_json()
    return found


def list_warnings(exam: Examination, results: Mapping[str, Result]) -> list[str]:
    """What a reader of the scores must know."""
    said = []
    label = f"{exam.version.name}@{exam.version.version}"
    for name, result in results.items():
        leaked, parts, mend = result["leaked"], [], ""
        if leaked["pairs"]:
            parts.append(
                f"{leaked['prompts']} of its prompts are in {label}, in {leaked['pairs']} pairs "
                f"(first: {', '.join(leaked['examples'])})"
            )
            mend = f"; `assay decontaminate --against {result['place']}` drops these prompts"
        if leaked["responses"]:
            parts.append(f"all responses of {leaked['responses']} of its items are in {label}")
        if parts:
            what = " and ".join(parts)
            said.append(f"{name}: {what}: what was learned examines nothing{mend}")
        if result["cut"]:
            said.append(f"{name}: {tell_cut(result['cut'])}")
        if result["unscored"]:
            counts = ", ".join(f"{n} {why}" for why, n in result["unscored"].items())
            said.append(f"{name}: rows that are not scored: {counts}")
    return said


def render(found: Mapping[str, Any]) -> str:
    """The object as text."""
    lines = [line for result in found["sets"].values() for line in _render_set(result)]
    lines += _render_forecast(found["forecast"])
    lines += [f"warning: {line}" for line in found["warnings"]]
    if "gate" in found:
        word = "passed" if found["gate"]["passed"] else "failed"
        lines.append(f"gate {word}: {found['gate']['reason']}")
    return "\n".join(lines)


def _render_set(result: Result) -> list[str]:
    if not result["n"]:
        return [f"{result['set']}: none whose label can examine a model"]
    lines = [f"{result['heading']} (n = {result['n']}, {result['prompts']} prompts)"]
    for who, row in result["rows"].items():
        pairs = f"   of {_count_pairs(row)} pairs" if row["pairs"] else ""
        lines.append(f"  {who:<16}{row['score']:>7.1%}   95 % {_span(row['ci'])}{pairs}")
    longest = result["rows"]["longest answer"]["score"]
    if longest < 0.5 and result["set"] == HELD_OUT:
        lines.append(f"  (the shortest answer would score {1 - longest:.1%})")
    for category, row in result["by_category"].items():
        if row["score"] is not None:
            lines.append(
                f"    {category:<20}{row['score']:>7.1%}   95 % {_span(row['ci'])}   n = {row['n']}"
            )
    if "styles" in result:
        s = result["styles"]
        lines.append(
            f"  by style: easy {s['easy']:.1%}, normal {s['normal']:.1%}, hard {s['hard']:.1%}; "
            f"gap {100 * s['gap']:.1f} points"
        )
    if "ties" in result:
        ties = result["ties"].items()
        parts = [f"{part[4:].strip(', ')} {score:.2f}" for part, score in ties if score is not None]
        lines.append(f"  ties: {', '.join(parts)}")
    lines += _render_views(result["views"]) if "views" in result else []
    shorter = result["length"]["shorter_is_right"]
    if shorter["n"]:
        lines.append(
            f"  where the shorter response is right: {shorter['score']:.1%}, 95 % "
            f"{_span(shorter['ci'])}, n = {shorter['n']}"
        )
    if result["calibration"]["ece"] is not None:
        lines.append(f"  calibration error of its margins: {result['calibration']['ece']:.3f}")
    best = result["best_of"]
    if best:
        peak = best["peak"]
        last = best["points"][-1]
        state = "over-optimised beyond doubt" if best["over_optimised"] else "no fall beyond doubt"
        lines.append(
            f"  best of n: gold is highest at n = {peak['n']} ({peak['low']} to {peak['high']}), "
            f"{_at(best, peak['n'])['gold']:.1%}; {last['gold']:.1%} at {last['n']} ({state}); "
            f"proxy ahead of gold by {best['gap']:.2f} sd at the peak"
        )
    return lines


def _render_views(found: Result) -> list[str]:
    lines = [f"  chains of steps (one at random: {found['any']['score']:.1%} right)"]
    for view, row in found["views"].items():
        told = [f"{words} {row[name]['score']:.1%} ({_span(row[name]['ci'])})"
                for name, words in (("pairs", "pairs"), ("best_of", "best of all"),
                                    ("vote", "weighted vote")) if row[name]]  # fmt: skip
        lines.append(f"    {view:<12}{', '.join(told)}")
    if found["torn"]:
        lines.append(f"    of {found['torn']} chains the answer and the steps disagree")
    return lines


def _render_forecast(found: Result | None) -> list[str]:
    if found is None:
        return []
    lines = []
    if found["ahead"]:
        told = ", ".join(
            f"{row['score']:.1%} ({_span(row['ci'])}) at {row['n']:,}" for row in found["ahead"]
        )
        most, labels = found["points"][-1]["n"], found["labels"]
        if labels > most:
            told += f" (from what {most:,} of {labels:,} labels gave)"
        lines.append(f"more labels of the same kind would give the small probe: {told}")
    if found["reason"]:
        lines.append(f"forecast: {found['reason']}")
    return lines


def _count_pairs(row: Result) -> str:
    """How many pairs a probe learned from, and of how many where it was not all."""
    return f"{row['pairs']:,} of {row['of']:,}" if row["of"] > row["pairs"] else f"{row['pairs']:,}"


def _at(best: Result, n: int) -> Result:
    return next(point for point in best["points"] if point["n"] == n)


def _span(ci: Sequence[float | None]) -> str:
    low, high = ci
    return "unknown" if low is None or high is None else f"{low:.1%} to {high:.1%}"
