"""The commands that train cells on paired seeds: `orchestrator reproduce` and `orchestrator evidence`.

Parses arguments. What is heavy is imported only when a command runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli_options import (
    LAPTOP,
    DebugOption,
    DryRunOption,
    ExecutionOption,
    ExperimentArgument,
    LastLineOption,
    OverrideExecutionOption,
    OverridesArgument,
    QuietOption,
    RebuildOption,
    ToldPlainly,
    VerboseOption,
    last_line,
)

if TYPE_CHECKING:
    from orchestrator.config.execution import Execution
    from orchestrator.executors.protocol import Executor
    from orchestrator.stages.context import Context
    from orchestrator.stages.evidence import Cell

SeedsOption = Annotated[str, typer.Option(help="comma-separated seeds; the same ones for every arm")]
FolderOption = Annotated[Path, typer.Option(help="of the reproductions: tables, groups, records of cells")]
PageOption = Annotated[Path, typer.Option(help="the page that is written from the records")]


def add_reproduce_commands(
    app: typer.Typer,
    told_plainly: ToldPlainly,
    open_executor: Callable[["Execution"], "Executor"],
) -> None:
    """Add the two commands; `told_plainly` turns errors into lines and exit codes."""

    @app.command()
    def reproduce(
        targets: Annotated[
            list[str] | None,
            typer.Argument(help="vlmkd:table1, ood:main, nyu:fig1, ..., or all; none: only write the page"),
        ] = None,
        scale: Annotated[
            str, typer.Option(help="small: twins on the embedded world; full: the papers' own, on a cluster")
        ] = "small",
        data: Annotated[
            Path | None, typer.Option(help="images of your own in the list format, in place of --scale")
        ] = None,
        seeds: SeedsOption = "0,1,2",
        cells: Annotated[str, typer.Option(help="comma-separated patterns of GROUP/ARM, such as 'ood/*'")] = "",
        measure: Annotated[
            bool, typer.Option("--measure", help="train two epochs of each cell and keep what they took")
        ] = False,
        folder: FolderOption = Path("reproductions"),
        page: PageOption = Path("RESULTS.md"),
        execution: ExecutionOption = LAPTOP,
        settings: OverrideExecutionOption = None,
        dry_run: DryRunOption = False,
        rebuild: RebuildOption = None,
        quiet: QuietOption = False,
        verbose: VerboseOption = False,
        as_json: LastLineOption = False,
        debug: DebugOption = False,
    ) -> None:
        """The papers' tables: paper, ours, interval over seeds, and why a cell was not run. Resumes cell by cell."""
        with last_line("reproduce", as_json) as told, told_plainly(debug):
            from orchestrator.errors import ConfigError
            from orchestrator.stages import reproduce, results

            if scale not in ("small", "full"):
                raise ConfigError(f"--scale {scale}", expected="small or full")
            if data is not None and not data.is_dir():
                raise ConfigError(f"--data {data}: no such folder", expected="the folder of the lists")
            if not targets:
                results.write(folder, page)
                typer.echo(f"{page} is written from the records in {folder / results.RESULTS}")
                told["page"] = str(page)
                return
            request = reproduce.ReproduceRequest(
                targets=targets, scale="data" if data is not None else "full" if scale == "full" else "small",
                seeds=_numbers(seeds), execution=execution, execution_overrides=settings or [],
                open_executor=open_executor, data=None if data is None else data.resolve(),
                cells=[pattern.strip() for pattern in cells.split(",") if pattern.strip()], folder=folder, page=page,
                rebuild=frozenset(rebuild or []), quiet=quiet, verbose=verbose,
            )  # fmt: skip
            if dry_run:
                told |= reproduce.tell(request)
            elif measure:
                told |= reproduce.measure(request)
            else:
                told |= reproduce.run(request)

    @app.command()
    def evidence(
        experiment: ExperimentArgument,
        overrides: OverridesArgument = None,
        seeds: SeedsOption = "0,1,2,3",
        arms: Annotated[str, typer.Option(help="comma-separated arms, the baseline first (default: all)")] = "",
        records: Annotated[
            Path | None, typer.Option(help="keep the cells among the records of this folder, and write the page")
        ] = None,
        page: PageOption = Path("RESULTS.md"),
        execution: ExecutionOption = LAPTOP,
        settings: OverrideExecutionOption = None,
        dry_run: DryRunOption = False,
        rebuild: RebuildOption = None,
        quiet: QuietOption = False,
        verbose: VerboseOption = False,
        as_json: LastLineOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Every arm on several paired seeds: differences to the baseline with 95 % intervals. Resumes cell by cell."""
        with last_line("evidence", as_json) as ended, told_plainly(debug):
            from orchestrator.reporting.cell_record import CellRecords
            from orchestrator.stages import results
            from orchestrator.stages.command import Request, evidence_command
            from orchestrator.stages.recorded import record

            request = Request(
                experiment, overrides or [], execution, settings or [], open_executor, dry_run,
                frozenset(rebuild or []), quiet, verbose=verbose,
            )  # fmt: skip
            told = f"orchestrator evidence {experiment} --seeds {seeds}" + (f" --arms {arms}" if arms else "")

            def on_made(context: "Context", cell: "Cell") -> None:
                if records is None:
                    return
                kept, epochs = CellRecords(records / results.RESULTS), cell.experiment.training.epochs
                name = context.experiment.name
                kept.write(record(context, "small", name, cell.arm, cell.seed, cell.plan.folder, epochs, told))

            names = [name.strip() for name in arms.split(",") if name.strip()]
            try:
                ended |= evidence_command(request, names, _numbers(seeds), on_made)
            finally:
                if records is not None and not dry_run:
                    results.write(records, page)


def _numbers(seeds: str) -> list[int]:
    from orchestrator.errors import ConfigError

    if not all(seed.strip().isdigit() for seed in seeds.split(",")):
        raise ConfigError(f"--seeds {seeds}", expected="whole numbers from 0, for example 0,1,2,3")
    return [int(seed) for seed in seeds.split(",")]
