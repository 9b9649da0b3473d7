"""Puts the commands together."""

import typer

from flows.cli import demo, inputs, look, pages, runs, show, stack

HELP = """Trains generative models and generates content with them every night.

A first night:

`nightshift up`

`nightshift inputs put copy_examples texts.parquet`

`nightshift inputs put catalog products.parquet`

`nightshift nightly`

`nightshift show`

Exit status of all commands: 0 done, or nothing to do; 1 failed; 2 wrong usage, input or setting;
3 held back by a quality gate; 130 interrupted.
"""

app = typer.Typer(
    name="nightshift",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(stack.doctor)
app.add_typer(inputs.app, name="inputs")
app.command()(runs.train)
app.command()(runs.run)
app.command()(runs.nightly)
app.command()(runs.backfill)
app.command()(show.show)
app.command()(look.models)
app.command()(look.export)
app.command()(pages.reports)
app.command()(demo.demo)
