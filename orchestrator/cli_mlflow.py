"""The commands about MLflow: `orchestrator ui` shows an experiment, `orchestrator mlflow-server` keeps everybody's.

Parses arguments. MLflow is imported only when a command runs.
"""

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_options import LAPTOP, DebugOption, DryRunOption, OverrideExecutionOption, ToldPlainly

HostOption = Annotated[str, typer.Option(help="the address to listen at; other machines reach all but loopback")]
PortOption = Annotated[int, typer.Option(min=1, max=65535)]


def add_mlflow_commands(app: typer.Typer, told_plainly: ToldPlainly) -> None:
    """Add the two commands; `told_plainly` turns errors into lines and exit codes."""

    @app.command()
    def ui(
        experiment: Annotated[
            str | None,
            typer.Argument(help="an experiment's name or sheet (default: the last)", show_default=False),
        ] = None,
        kind: Annotated[str | None, typer.Option(help="trial, arm, sweep, teacher or run")] = None,
        sweep: Annotated[str | None, typer.Option(help="only the trials of this sweep")] = None,
        where: Annotated[str, typer.Option(help="a further condition in MLflow's filter language")] = "",
        table: Annotated[bool, typer.Option("--table", help="a table instead of charts")] = False,
        execution: Annotated[Path, typer.Option("--execution", "-x", help="whose MLflow store")] = LAPTOP,
        settings: OverrideExecutionOption = None,
        host: HostOption = "127.0.0.1",
        port: PortOption = 5000,
        browser: Annotated[bool, typer.Option(help="open the page in a browser")] = True,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="print the address and end")] = False,
        debug: DebugOption = False,
    ) -> None:
        """Open MLflow's UI at an experiment: its trials, the best first, as charts. Ctrl-C ends it."""
        with told_plainly(debug):
            from orchestrator.config.load import load_execution, read_yaml
            from orchestrator.errors import ConfigError
            from orchestrator.tracking import resolve_uri
            from orchestrator.tracking.ui import KINDS, find_experiment, served, view_of

            if kind is not None and kind not in KINDS:
                raise ConfigError(f"--kind {kind}", expected=f"one of {', '.join(KINDS)}")
            sheet = load_execution(execution, settings or [])
            uri = resolve_uri(sheet.tracking, sheet.work_folder)
            name = experiment
            if experiment is not None and experiment.endswith((".yaml", ".yml")):
                name = str(read_yaml(Path(experiment)).get("name"))
            number, name, has_trials = find_experiment(uri, sheet.tracking.experiment_name or name)
            view = view_of(kind, sweep, where, has_trials=has_trials, charts=not table)
            if dry_run:
                server = f"http://{host}:{port}" if uri.startswith("sqlite:") else uri
                typer.echo(view.address(server, number))
                return
            _warn_of(host)
            with served(uri, host, port) as server:
                address = view.address(server, number)
                typer.echo(f"{name}: {view.filter}\n{address}")
                if browser:
                    typer.launch(address)
                if uri.startswith("sqlite:"):
                    typer.echo("Ctrl-C ends the UI")
                    _wait()

    @app.command("mlflow-server")
    def mlflow_server(
        folder: Annotated[Path, typer.Option(help="database, artifacts and secrets")] = Path("runs/mlflow-server"),
        host: HostOption = "127.0.0.1",
        port: PortOption = 5000,
        allowed_host: Annotated[
            list[str] | None, typer.Option(help="a name under which it is reached, NAME or NAME:PORT; may be repeated")
        ] = None,
        workers: Annotated[int, typer.Option(min=1, help="processes that answer")] = 2,
        password_file: Annotated[
            Path | None,
            typer.Option(help="the first password (default: MLFLOW_AUTH_ADMIN_PASSWORD, or drawn)"),
        ] = None,
        dry_run: DryRunOption = False,
        debug: DebugOption = False,
    ) -> None:
        """Run an MLflow tracking server with PostgreSQL, artifact storage and passwords. Ctrl-C ends it."""
        with told_plainly(debug):
            from orchestrator.tracking.server import ADMIN, MlflowServer, ServerSettings, admin_password_from

            wanted = ServerSettings(folder, host, port, tuple(allowed_host or ()), workers, password_file)
            _warn_of(host)
            if dry_run:
                typer.echo(
                    f"MLflow would answer at {wanted.url} to {wanted.all_hosts()}; {admin_password_from(wanted)}"
                )
                typer.echo(f"database, artifacts and logs: {wanted.folder.resolve()}")
                return
            with MlflowServer(wanted):
                typer.echo(f"MLflow answers at {wanted.url} to {wanted.all_hosts()}")
                typer.echo("for our commands, on each machine that reports:")
                typer.echo(f"  export MLFLOW_TRACKING_URI={wanted.url} MLFLOW_TRACKING_USERNAME={ADMIN}")
                typer.echo(f"  export MLFLOW_TRACKING_PASSWORD_FILE={wanted.admin_file}")
                typer.echo(f"logs: {folder}/mlflow.log and postgres.log; Ctrl-C ends the server")
                _wait()


def _wait() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's way to say Ctrl-C
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        typer.echo("ended")


def _warn_of(host: str) -> None:
    if host not in ("127.0.0.1", "localhost", "::1"):
        text = f"warning: at {host} other machines reach it, and http carries passwords and results in plain text:"
        typer.secho(f"{text} put a TLS proxy or a tunnel before it", err=True, fg=typer.colors.YELLOW)
