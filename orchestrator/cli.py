"""The command line: `orchestrator STAGE EXPERIMENT.yaml [a.b=value ...]`.

Parses arguments, prints results, and turns errors into one to three lines and a true exit code. Knows nothing of how
stages work; what is heavy is imported only when a command runs.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator import __version__
from orchestrator.cli_compare import add_compare_command
from orchestrator.cli_convert import add_convert_command
from orchestrator.cli_errors import tell_unforeseen, told_plainly
from orchestrator.cli_export import add_export_commands
from orchestrator.cli_help import GroupedCommands, help_of
from orchestrator.cli_init import add_init_command
from orchestrator.cli_jobs import add_job_commands
from orchestrator.cli_leaks import add_leaks_command
from orchestrator.cli_look import add_look_commands
from orchestrator.cli_mlflow import add_mlflow_commands
from orchestrator.cli_options import (
    LAPTOP,
    DebugOption,
    DryRunOption,
    ExecutionOption,
    ExperimentArgument,
    JsonOption,
    LastLineOption,
    OverrideExecutionOption,
    OverridesArgument,
    QuietOption,
    RebuildOption,
    VerboseOption,
    last_line,
)
from orchestrator.cli_reproduce import add_reproduce_commands
from orchestrator.cli_store import add_store_commands
from orchestrator.engine import open_executor

app = typer.Typer(
    name="orchestrator",
    cls=GroupedCommands,
    help="From images to small students that know what a large vision-language model knows, compared in MLflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestrator {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


RehashOption = Annotated[bool, typer.Option("--rehash", help="hash the images again instead of trusting their stamp")]


def _stage_command(stage: str, text: str) -> None:
    def command(
        experiment: ExperimentArgument,
        overrides: OverridesArgument = None,
        execution: ExecutionOption = LAPTOP,
        settings: OverrideExecutionOption = None,
        dry_run: DryRunOption = False,
        rebuild: RebuildOption = None,
        rehash: RehashOption = False,
        quiet: QuietOption = False,
        verbose: VerboseOption = False,
        as_json: LastLineOption = False,
        debug: DebugOption = False,
    ) -> None:
        with last_line(stage, as_json) as told, told_plainly(debug):
            if stage == "evaluate" and experiment.is_dir():
                from orchestrator.stages.evaluate_export import evaluate_export_command

                told |= evaluate_export_command(experiment, quiet=quiet)
                return
            from orchestrator.stages.command import Request, run_command

            request = Request(
                experiment, overrides or [], execution, settings or [], open_executor, dry_run,
                frozenset(rebuild or []), quiet, rehash, verbose,
            )  # fmt: skip
            told |= run_command("report" if stage == "run" else stage, request)

    app.command(stage, help=text)(command)


for _name, _text in {
    "run": "The line: index, describe, caption, tune, embed, quality, shard, sweep, train, evaluate, report. "
    "Reuses what is made.",
    "index": "List, hash and check the images; quarantine the bad ones.",
    "describe": "Let a language model describe the classes, where a text source asks for it.",
    "caption": "Caption the images with the VLM; only what the store lacks is computed.",
    "tune": "Make the image teacher a classifier of the data set, where the experiment has teacher_tuning.",
    "embed": "Embed captions and images with the frozen encoders.",
    "quality": "Measure the captions: length, repeats, duplicates, naming of the class, CLIP score.",
    "sweep": "Search loss weights, temperatures and adaptor depth for one arm.",
    "train": "Train the student of each arm.",
    "evaluate": "Evaluate the students on the report split, or one exported student (its folder in the sheet's place).",
    "report": "Write the report of an experiment.",
}.items():
    _stage_command(_name, _text)


@app.command()
def plan(
    experiment: ExperimentArgument,
    overrides: OverridesArgument = None,
    execution: ExecutionOption = LAPTOP,
    settings: OverrideExecutionOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    as_json: LastLineOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what captions and embeddings will cost: a probe of a few micro-batches, whose rows are kept."""
    with last_line("plan", as_json) as told, told_plainly(debug):
        from orchestrator.stages.command import Request, plan_command

        request = Request(experiment, overrides or [], execution, settings or [], open_executor, dry_run, quiet=quiet)
        told |= plan_command(request)


@app.command("write-jobs")
def write_jobs(
    experiment: ExperimentArgument,
    folder: Annotated[Path, typer.Argument(help="where ARM.json goes for each arm", show_default=False)],
    overrides: OverridesArgument = None,
    execution: ExecutionOption = LAPTOP,
    settings: OverrideExecutionOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: LastLineOption = False,
    debug: DebugOption = False,
) -> None:
    """Make what the arms' trainings read, and write each as a file for `torchrun -m jobs.train_worker ARM.json`."""
    with last_line("write-jobs", as_json) as told, told_plainly(debug):
        from orchestrator.stages.command import Request, write_jobs_command

        request = Request(
            experiment, overrides or [], execution, settings or [], open_executor, dry_run, quiet=quiet, verbose=verbose
        )
        told |= write_jobs_command(request, folder)


@app.command()
def verify(
    folder: Annotated[
        str, typer.Argument(help="a storage root, an artifact's folder, or a store (folder or URI)", show_default=False)
    ],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="remove what is damaged, so that it is made again; no command may be at work there"
        ),
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Prove that artifacts and stores are whole: checksums, row counts, no empties, nothing paid twice."""
    with told_plainly(debug):
        from orchestrator.stages.verify import verify_folder

        problems, counts = verify_folder(folder, repair=repair)
    if as_json:
        typer.echo(json.dumps({"problems": problems, "counts": counts}))
    else:
        for problem in problems:
            typer.echo(problem)
        shown = ", ".join(f"{value:,.0f} {name.replace('_', ' ')}" for name, value in counts.items())
        typer.echo(f"{shown}, {len(problems)} problems")
    if problems and not repair:
        raise typer.Exit(1)


@app.command()
def doctor(
    execution: ExecutionOption = LAPTOP,
    settings: OverrideExecutionOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Look at what an execution needs: packages, storage, memory, GPUs, MLflow, Ray. Ends with 1 at a problem."""
    with told_plainly(debug):
        from orchestrator.config.load import load_execution
        from orchestrator.stages.doctor import checks, examine

        sheet = load_execution(execution, settings or [])
        wanted = checks(sheet, Path())
        if sheet.engine == "ray":
            from orchestrator.on_ray import doctor as ray_doctor

            wanted += [("token", ray_doctor.token), ("ray", lambda: ray_doctor.cluster(sheet))]
        problems, colours = 0, {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}
        for finding in examine(wanted):
            problems += finding.level == "problem"
            if as_json:
                typer.echo(json.dumps(vars(finding)))
                continue
            level = typer.style(f"{finding.level:8}", fg=colours[finding.level])
            typer.echo(f"{level} {finding.area:9} {finding.told}")
            if finding.remedy:
                typer.echo(f"{'':18} {finding.remedy}")
    if problems:
        raise typer.Exit(1)


add_store_commands(app, told_plainly)
add_job_commands(app, told_plainly)
add_export_commands(app, told_plainly, open_executor)
add_convert_command(app, told_plainly)
add_look_commands(app, told_plainly)
add_init_command(app, told_plainly)
add_compare_command(app, told_plainly)
add_mlflow_commands(app, told_plainly)
add_leaks_command(app, told_plainly)
add_reproduce_commands(app, told_plainly, open_executor)


def main() -> None:
    """The console script."""
    if sys.argv[1:] in ([], ["--help"]):
        typer.echo(help_of(app), nl=False)
    else:
        _called()


def _called(**given: Any) -> None:
    """Run the command line; what nobody foresaw is told in three lines, with --debug as it is."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' bars would fill a log
    try:
        app(**given)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        tell_unforeseen(error)


def run_stage(stage: str) -> None:
    """`python -m jobs.STAGE ...`: the same command without its name."""
    _called(args=[stage, *sys.argv[1:]], prog_name=f"python -m jobs.{stage}")
