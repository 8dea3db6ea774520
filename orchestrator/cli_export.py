"""The commands on finished students: `orchestrator export` and `predict`.

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
    LastLineOption,
    OverrideExecutionOption,
    OverridesArgument,
    QuietOption,
    ToldPlainly,
    last_line,
)

if TYPE_CHECKING:
    from orchestrator.config.execution import Execution
    from orchestrator.executors.protocol import Executor


def add_export_commands(
    app: typer.Typer,
    told_plainly: ToldPlainly,
    open_executor: Callable[["Execution"], "Executor"],
) -> None:
    """Add the two commands; `told_plainly` turns errors into lines and exit codes."""

    @app.command()
    def export(
        experiment: Annotated[
            Path, typer.Argument(help="a sheet, an experiment's or arm's folder, or a student.safetensors")
        ],
        overrides: OverridesArgument = None,
        arm: Annotated[str | None, typer.Option(help="default: the best one on the selection split")] = None,
        output: Annotated[Path | None, typer.Option(help="default: EXPERIMENT/exports/ARM")] = None,
        onnx: Annotated[
            bool, typer.Option("--onnx", help="also student.onnx, compared with torch in onnxruntime")
        ] = False,
        opset: Annotated[int, typer.Option(min=18, help="of ONNX")] = 20,
        tolerance: Annotated[
            float, typer.Option(min=0, help="of ONNX outputs, relative to the greatest number")
        ] = 1e-3,
        int8: Annotated[str | None, typer.Option(help="static or dynamic: also student.int8.onnx")] = None,
        speed: Annotated[bool, typer.Option(help="measure latency and size on this machine")] = True,
        compiled: Annotated[bool, typer.Option("--compile", help="measure torch.compile too")] = False,
        threads: Annotated[int, typer.Option(min=1, help="of the measurements")] = 1,
        batch_sizes: Annotated[str, typer.Option(help="comma-separated, of the measurements")] = "1,64",
        licence: Annotated[list[str] | None, typer.Option(help="MODEL=LICENCE, for the card; may be repeated")] = None,
        register: Annotated[str | None, typer.Option(help="register it as an MLflow model of this name")] = None,
        alias: Annotated[str | None, typer.Option(help="give the registered version this alias, as best")] = None,
        execution: ExecutionOption = LAPTOP,
        settings: OverrideExecutionOption = None,
        dry_run: DryRunOption = False,
        quiet: QuietOption = False,
        as_json: LastLineOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Export a finished student: timm weights, snippet, ONNX, int8, latency, model card, MLflow model."""
        with last_line("export", as_json) as told, told_plainly(debug):
            from orchestrator.config.load import validate
            from orchestrator.stages.command import Request
            from orchestrator.stages.export import ExportSettings
            from orchestrator.stages.export_command import ExportRequest, export_command

            tree = {"onnx": onnx, "opset": opset, "tolerance": tolerance, "int8": int8, "speed": speed,
                    "compiled": compiled, "threads": threads, "batch_sizes": batch_sizes.split(",")}  # fmt: skip
            request = Request(
                experiment, overrides or [], execution, settings or [], open_executor, dry_run, quiet=quiet
            )  # fmt: skip
            wanted = validate(ExportSettings, tree, "export")
            told |= export_command(ExportRequest(request, arm, output, wanted, licence or [], register, alias))

    @app.command()
    def predict(
        student: Annotated[
            Path, typer.Argument(help="an export, an experiment's or arm's folder, or a student's file")
        ],
        folder: Annotated[Path, typer.Argument(help="a folder of images, which is read with all below it")],
        output: Annotated[Path, typer.Option(help="Parquet; bad images go beside it")] = Path("predictions.parquet"),
        arm: Annotated[str | None, typer.Option(help="default: the best one on the selection split")] = None,
        class_names: Annotated[
            Path | None, typer.Option(help="new classes, for embedding students: a name a line, or NAME<tab>TEXT")
        ] = None,
        sentences: Annotated[Path | None, typer.Option(help="a sentence for each line of --class-names")] = None,
        template: Annotated[str, typer.Option(help="of a new class's text")] = "a photo of a {}.",
        text_encoder: Annotated[
            str | None, typer.Option(help="KIND:MODEL of the class texts, as open_clip:PATH")
        ] = None,
        batch_size: Annotated[int, typer.Option(min=1)] = 64,
        dry_run: DryRunOption = False,
        quiet: QuietOption = False,
        as_json: LastLineOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Labels, scores and embeddings of a folder of images, to Parquet; the same command goes on after a kill."""
        with last_line("predict", as_json) as told, told_plainly(debug):
            from orchestrator.stages.predict import PredictRequest, predict_command

            request = PredictRequest(
                student, folder, output, arm, class_names, sentences, template, text_encoder, batch_size, dry_run, quiet
            )  # fmt: skip
            told |= predict_command(request)
