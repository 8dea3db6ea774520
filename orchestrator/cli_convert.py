"""The command for weights of other codes: `orchestrator convert-mae`.

Parses arguments. torch and timm are imported only when the command runs.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_options import DebugOption, DryRunOption, LastLineOption, ToldPlainly, last_line


def add_convert_command(app: typer.Typer, told_plainly: ToldPlainly) -> None:
    """Add the command; `told_plainly` turns errors into lines and exit codes."""

    @app.command()
    def convert_mae(
        checkpoint: Annotated[Path, typer.Argument(help="a torch file of the MAE or LiVT code", show_default=False)],
        output: Annotated[Path, typer.Argument(help="FILE.safetensors, for student.checkpoint", show_default=False)],
        model: Annotated[str, typer.Option(help="timm's name of the ViT")] = "vit_base_patch16_224",
        pooling: Annotated[
            str, typer.Option(help="avg (LiVT's fine-tuning) or token; the student's global_pool")
        ] = "avg",
        image_size: Annotated[
            int | None, typer.Option(help="side of the pre-training's images (default: timm's)")
        ] = None,
        dry_run: DryRunOption = False,
        as_json: LastLineOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Make a masked autoencoder's pre-trained encoder a checkpoint that a timm student starts from."""
        with last_line("convert-mae", as_json) as told, told_plainly(debug):
            from orchestrator.errors import ConfigError
            from orchestrator.students.networks.mae_checkpoint import convert_mae as convert

            if pooling not in ("avg", "token"):
                raise ConfigError(f"--pooling {pooling}", expected="avg or token")
            made = convert(
                checkpoint, output, model=model, pooling="avg" if pooling == "avg" else "token", image_size=image_size,
                dry_run=dry_run,
            )  # fmt: skip
            fresh = f", {', '.join(made.fresh)} afresh" if made.fresh else ""
            would = "would be " if dry_run else ""
            left = len(made.left_out)
            typer.echo(f"{output}: {would}{len(made.written)} tensors of {model}{fresh}; {left} left out")
            told |= {"file": str(output), "dry_run": dry_run, **asdict(made)}
