"""From labels to a version, its export, its model, its exam and its report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from flows.options import command_options, show_example


@click.command(epilog=show_example("assay publish quickstart"))
@click.argument("name")
@command_options
@click.option("--prototype", default=None, metavar="PROTOTYPE",
              help="Whose labels to freeze, as NAME.PROTOTYPE.")  # fmt: skip
def publish(name: str, lake: str, as_json: bool, prototype: str | None) -> None:
    """Freeze what the recipe NAME labels today as a version; no model is called.

    Whatever the recipe says of duplicates, splits, cleaning, labels and quotas is applied first.
    NAME is a recipe file, a shipped recipe, or a recipe that this lake has seen. The same content
    gives the version that has it.
    """
    from flows.console import print_json
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_recipe, speak_for
    from pipelines.steps import open_work, publish_settled, settle

    parsed, base = find_recipe(name, lake)
    if prototype is not None:
        parsed = speak_for(parsed, prototype)
    run = new_run(parsed, tell=lambda line: click.echo(line, err=True))
    with open_work(lake, parsed, base, run) as work:
        version = publish_settled(work, settle(work))
    if as_json:
        print_json(version.to_json())
    else:
        state = "published" if version.new else "unchanged"
        click.echo(
            f"{version.name}@{version.version}  {version.rows} pairs  {state}  "
            f"snapshot {version.snapshot}  fingerprint {version.fingerprint}"
        )


@click.command(epilog=show_example("assay versions --json"))
@command_options
def versions(lake: str, as_json: bool) -> None:
    """List the published versions."""
    from flows.console import print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.ship.publish import list_versions
    from pipelines.ship.withdrawn import find_withdrawn

    with open_lake(lake, create=False) as opened:
        gone = Counter(find_withdrawn(opened).select("name", "version").iter_rows())
        found = [
            {**version.to_json(), "gold_withdrawn": gone[version.name, version.version]}
            for version in list_versions(opened)
        ]
    if as_json:
        keys = ("name", "version", "snapshot", "fingerprint", "rows", "gold_withdrawn")
        print_json({"versions": [{key: row[key] for key in keys} for row in found]})
        return
    for row in found:
        click.echo(
            f"{row['name']}@{row['version']}  {row['rows']} pairs  snapshot {row['snapshot']}  "
            f"{row['fingerprint']}"
        )
        if row["gold_withdrawn"]:
            click.echo(
                f"  gold of {row['gold_withdrawn']} of its pairs was withdrawn or denied since "
                "(assay explain says of which): publish its recipe again for a version without"
            )
    if not found:
        click.echo("nothing is published yet: assay run RECIPE")


@click.command(epilog=show_example("assay diff quickstart@1 quickstart@2"))
@click.argument("first")
@click.argument("second")
@command_options
def diff(first: str, second: str, lake: str, as_json: bool) -> None:
    """Say which pairs changed from one version to another."""
    from flows.console import print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.ship.publish import diff_versions

    with open_lake(lake, create=False) as opened:
        changes = diff_versions(opened, first, second)
    if as_json:
        print_json(changes)
        return
    click.echo(f"{changes['from']} -> {changes['to']}: {changes['unchanged']} pairs unchanged")
    for kind in ("added", "removed", "flipped", "relabelled", "moved_split", "changed"):
        click.echo(f"  {kind}: {len(changes[kind])}")
        for pair_id in changes[kind][:10]:
            click.echo(f"    {pair_id}")
        if len(changes[kind]) > 10:
            click.echo(f"    … and {len(changes[kind]) - 10} more (--json lists all)")


@click.command(epilog=show_example("assay explain 3f9a0c"))
@click.argument("pair_id")
@command_options
def explain(pair_id: str, lake: str, as_json: bool) -> None:
    """Say everything the lake knows of a pair (the first digits of its id are enough)."""
    from flows.console import print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.ship.explain import explain_pair, render_explanation

    with open_lake(lake, create=False) as opened:
        explained = explain_pair(opened, pair_id)
    if as_json:
        print_json(explained)
    else:
        click.echo(render_explanation(explained))


@click.command(epilog=show_example("assay export quickstart@1 --to ./my-data"))
@click.argument("version")
@command_options
@click.option("--to", "target", required=True, help="A folder, or hub:ORG/NAME.")
def export(version: str, lake: str, as_json: bool, target: str) -> None:
    """Write VERSION (NAME or NAME@V) as a Hugging Face data set with its card."""
    from flows.console import print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.ship.export import export_version, push_version
    from pipelines.ship.publish import find_version

    with open_lake(lake, create=False) as opened:
        found = find_version(opened, version)
        if target.startswith("hub:"):
            place = push_version(opened, found, target.removeprefix("hub:"))
        else:
            place = str(export_version(opened, found, Path(target)))
    if as_json:
        print_json({"version": f"{found.name}@{found.version}", "export": place})
    else:
        click.echo(place)


@click.command(epilog=show_example("assay train quickstart --out ./out"))
@click.argument("version")
@command_options
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out"),
              show_default=True, help="The folder that gets models/MODEL_ID.")  # fmt: skip
def train(version: str, lake: str, as_json: bool, out: Path) -> None:
    """Train the reward model that VERSION's recipe describes."""
    import json

    from flows.console import Console, print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from pipelines.ship.publish import find_version
    from pipelines.ship.train import train_model
    from schemas.recipe import TrainSpec, parse_recipe

    console = Console()
    with open_lake(lake, create=False) as opened:
        found = find_version(opened, version)
        text = opened.query(
            "SELECT recipe FROM versions WHERE name = ? AND version = ?",
            [found.name, found.version],
        )["recipe"][0]
        recipe = parse_recipe(json.loads(text), found.name)
        run = new_run(recipe, tell=console.tell, progress=console.progress)
        spec = recipe.train or TrainSpec()
        model = train_model(opened, run, found, spec, recipe.seed, out / "models")
    result = {"model": model.model_id, "path": str(model.path), "new": model.new, **model.metrics}
    if as_json:
        print_json(result)
    else:
        click.echo(
            f"{model.model_id}  {model.path}  {model.metrics['train_pairs']} pairs, "
            f"{model.metrics['dropped_too_long']} too long, {model.metrics['seconds']} s"
        )


@click.command(
    epilog=show_example(
        "assay exam quickstart@1\n  assay exam mine@3 --set reward-bench-2.parquet --gate"
    )
)
@click.argument("target")
@command_options
@click.option("--set", "sets", multiple=True, metavar="FILE|DATASET",
              help="A public benchmark; may be given several times.")  # fmt: skip
@click.option("--gate", is_flag=True,
              help="Exit with 1 unless the version is better than the one before it.")  # fmt: skip
def exam(target: str, lake: str, as_json: bool, sets: tuple[str, ...], gate: bool) -> None:
    """Examine TARGET: a trained model by its id, or a version by NAME[@V].

    A version is examined through its newest model, where it has one, and through a small probe
    that is the same for every version; beside it stand a probe of the uncurated pool, one of a
    random subset of it, the longest answer and a coin, all on the same items.

    It is examined on its held-out pairs, and on each --set: RewardBench 2, RM-Bench, JudgeBench,
    RMB, PPE, LLMBar or RewardBench (which never gates), known by their columns. A set is a Parquet,
    JSONL, JSON or CSV file (.gz too), a folder of such files or one saved by `datasets`, or
    hub:ORG/NAME.
    """
    from flows.console import print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from pipelines.ship.exams.sitting import sit

    with open_lake(lake, create=False) as opened:
        run = new_run(tell=lambda line: click.echo(line, err=True))
        found, text = sit(opened, run, target, sets, gate)
    if as_json:
        print_json(found)
    else:
        click.echo(text)
    if gate and not found["gate"]["passed"]:
        click.echo(f"error: {found['version']}: {found['gate']['reason']}", err=True)
        click.get_current_context().exit(1)


@click.command(epilog=show_example("assay report quickstart --out report.html"))
@click.argument("version")
@command_options
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="The file to write [default: out/report/NAME@V.html].")  # fmt: skip
def report(version: str, lake: str, as_json: bool, out: Path | None) -> None:
    """Write the report of VERSION: one HTML page that needs no network."""
    from flows.console import print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.ship.publish import find_version
    from pipelines.ship.report import build_report

    with open_lake(lake, create=False) as opened:
        found = find_version(opened, version)
        label = f"{found.name}@{found.version}"
        target = out or Path("out") / "report" / f"{label}.html"
        path = build_report(opened, found.name, found.version, out=target)
    if as_json:
        print_json({"version": label, "report": str(path)})
    else:
        click.echo(str(path))
