"""The command line. Exit status: 0 done, 1 a failure that names its cause, 2 wrong usage."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
from importlib.metadata import version

import click

from flows.commands import (
    data,
    decontaminating,
    looping,
    measuring,
    people,
    pools,
    rubric,
    run,
    services,
    shipping,
    sources,
    stages,
)


class InOrder(click.Group):
    """Lists the commands in the order in which a pair travels, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nStart here:\n  assay doctor\n  assay run quickstart",
)
@click.version_option(version("assay"), message="assay %(version)s")
def assay() -> None:
    """Preference data a reward model can trust: from prompts to a published, examined data set."""


for command in (
    run.run, data.import_, pools.clean, *stages.COMMANDS, looping.loop,
    decontaminating.decontaminate,
    measuring.reliability, measuring.bias, rubric.rubric, people.review, measuring.prototypes,
    shipping.publish, shipping.versions, shipping.diff, shipping.explain, shipping.export,
    shipping.train, shipping.exam, sources.sources, shipping.report, services.up, services.down,
    services.status, services.deploy, services.doctor,
):  # fmt: skip
    assay.add_command(command)


def main() -> None:
    """Run the command line; what people can mend becomes one message and exit status 1."""
    from schemas.errors import AssayError

    gc.set_threshold(100_000, 50, 100)  # imports and rows are many objects and no cycles
    atexit.register(gc.freeze)  # else leaving takes a second of collecting what ends anyway
    for name in ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    try:
        status = assay.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except AssayError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.exceptions.Abort:
        click.echo("stopped; what was committed is kept, the same command goes on", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("stopped; what was committed is kept, the same command goes on", err=True)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        click.echo(
            f"error: {where}the disk is full ({error.strerror}); what was committed is safe. Free "
            "some space and run the same command again",
            err=True,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
