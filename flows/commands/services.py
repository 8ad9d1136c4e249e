"""Local services, schedules, and what is missing on this machine."""

from __future__ import annotations

import sys

import click

from flows.options import command_options, show_example

KINDS = click.Choice(["vllm", "label-studio", "prefect"])


@click.command(epilog=show_example("assay up label-studio"))
@click.argument("service", type=KINDS)
@command_options
@click.option("--model", default="embedded", show_default=True,
              help="For vllm: embedded, a checkpoint folder or a hub id.")  # fmt: skip
def up(service: str, lake: str, as_json: bool, model: str) -> None:
    """Start SERVICE on loopback; one that runs is reused."""
    from engines.models import EMBEDDED_NAME, ensure_embedded
    from engines.services import start_service
    from flows.console import print_json
    from schemas.part import EMBEDDED

    def tell(line: str) -> None:
        click.echo(line, err=True)

    if service == "vllm":
        weights = str(ensure_embedded(tell)) if model == EMBEDDED else model
        name = EMBEDDED_NAME if model == EMBEDDED else model
        started = start_service("vllm", model=weights, served_name=name, tell=tell)
    else:
        started = start_service(service, tell=tell)
    if as_json:
        print_json({"name": started.name, "url": started.url, "log": started.log})
    else:
        click.echo(f"{started.name}  {started.url}  log {started.log}")


@click.command(epilog=show_example("assay down"))
@click.argument("services", nargs=-1)
@command_options
def down(services: tuple[str, ...], lake: str, as_json: bool) -> None:
    """Stop SERVICES (all, when none is named)."""
    from engines.services import list_services, stop_service
    from flows.console import print_json

    running = list_services()
    names = [service.name for service in running]
    for name in services:
        if name not in (*KINDS.choices, *names):
            raise click.UsageError(
                f"{name}: no such service; known: {', '.join(KINDS.choices)}; what runs: "
                f"{', '.join(names) or 'nothing'}"
            )
    stopped = []
    for service in running:
        if not services or service.name in services or service.kind in services:
            stop_service(service)
            stopped.append(service.name)
    if as_json:
        print_json({"stopped": stopped})
    else:
        click.echo(f"stopped: {', '.join(stopped) or 'nothing ran'}")


@click.command(epilog=show_example("assay status"))
@command_options
def status(lake: str, as_json: bool) -> None:
    """List the services that run."""
    from engines.services import list_services
    from flows.console import print_json

    running = [
        {"name": s.name, "url": s.url, "pid": s.pid, "owner": s.owner, "log": s.log}
        for s in list_services()
    ]
    if as_json:
        print_json({"services": running})
        return
    for row in running:
        click.echo(f"{row['name']}  {row['url']}  pid {row['pid']}  log {row['log']}")
    if not running:
        click.echo("no service runs: assay up vllm|label-studio|prefect")


@click.command(epilog=show_example("assay deploy --recipe quickstart --lake ./lake"))
@command_options
@click.option("--recipe", default="quickstart", show_default=True, help="What to curate.")
@click.option("--file", "file", default=None, type=click.Path(exists=True, dir_okay=False),
              help="A prefect.yaml of your own [default: the one that ships].")  # fmt: skip
@click.option("--out", default="out", show_default=True, type=click.Path(file_okay=False),
              help="Where the export, the model and the report go.")  # fmt: skip
def deploy(lake: str, as_json: bool, recipe: str, file: str | None, out: str) -> None:
    """Register the curate and review-pull flows with their schedules on a Prefect server."""
    from flows.console import print_json
    from flows.settings import prepare_prefect

    prepare_prefect()
    from flows.deploy import deploy_flows

    names = deploy_flows(recipe, lake, file, out)
    if as_json:
        print_json({"deployments": names})
    else:
        for name in names:
            click.echo(name)
        click.echo("start a worker for them: prefect worker start --pool assay")


@click.command(epilog=show_example("assay doctor"))
@command_options
def doctor(lake: str, as_json: bool) -> None:
    """Say what is missing on this machine, and the one command that mends each."""
    from engines.doctor import diagnose
    from flows.console import print_json

    findings = diagnose()
    bad = [finding for finding in findings if finding.required and not finding.ok]
    if as_json:
        print_json({"ok": not bad, "findings": [finding.to_json() for finding in findings]})
    else:
        for finding in findings:
            mark = "ok     " if finding.ok else ("MISSING" if finding.required else "absent ")
            mend = "" if finding.ok else f"  ->  {finding.mend}"
            click.echo(f"{mark}  {finding.name:<22} {finding.detail}{mend}")
    if bad:
        sys.exit(1)
