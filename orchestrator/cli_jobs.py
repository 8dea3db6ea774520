"""The commands for jobs on a cluster: `orchestrator submit`, `jobs`, `logs`, `stop`.

Parses arguments. Ray is imported only when a command runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_options import DebugOption, DryRunOption, JsonOption, ToldPlainly

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", help="the dashboard, http://HOST:PORT (default: RAY_API_SERVER_ADDRESS, else this machine)"
    ),
]
WaitSecondsOption = Annotated[
    float, typer.Option("--wait-s", min=0, help="patience with a cluster that does not answer")
]
JobIdArgument = Annotated[str, typer.Argument(help="the id that submit and jobs tell", show_default=False)]


def add_job_commands(app: typer.Typer, told_plainly: ToldPlainly) -> None:
    """Add the four commands; `told_plainly` turns errors into lines and exit codes."""

    @app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
    def submit(
        job: Annotated[str, typer.Argument(help="a job of jobs/: run, caption, train, ...", show_default=False)],
        arguments: Annotated[
            list[str] | None, typer.Argument(help="its arguments, as for python -m jobs.JOB", show_default=False)
        ] = None,
        address: AddressOption = None,
        name: Annotated[
            str | None, typer.Option("--id", help="submission id (default: of job, arguments and sheets)")
        ] = None,
        working_dir: Annotated[
            Path, typer.Option(help="the project's directory, of which code and sheets are sent")
        ] = Path(),
        python: Annotated[str, typer.Option(help="the interpreter on the cluster")] = "python",
        num_cpus: Annotated[float, typer.Option(min=0, help="CPUs that the driver itself occupies")] = 0,
        env: Annotated[
            list[str] | None, typer.Option("--env", help="a variable of this shell that the job gets; never a secret")
        ] = None,
        install: Annotated[
            bool, typer.Option("--install", help="install the pins of constraints.txt for the job")
        ] = False,
        no_wait: Annotated[bool, typer.Option("--no-wait", help="send it and end")] = False,
        again: Annotated[bool, typer.Option("--again", help="run it again although it has succeeded")] = False,
        dry_run: DryRunOption = False,
        wait_s: WaitSecondsOption = 90,
        debug: DebugOption = False,
    ) -> None:
        """Run a job on a cluster and follow it. Options stand before JOB; all behind it is the job's.

        Exit codes: the driver's own; 80 stopped, 81 cluster or job gone, 130 interrupted here (the job goes on).
        The last line is JSON. The same command finds the job that runs already.
        """
        with told_plainly(debug):
            from orchestrator.on_ray.jobs.command import SubmitRequest
            from orchestrator.on_ray.jobs.command import submit as send

            request = SubmitRequest(
                job, tuple(arguments or ()), address, name, working_dir, python, num_cpus, tuple(env or ()), install,
                not no_wait, again, dry_run, wait_s,
            )  # fmt: skip
            raise typer.Exit(send(request))

    @app.command()
    def jobs(
        address: AddressOption = None,
        as_json: JsonOption = False,
        wait_s: WaitSecondsOption = 10,
        debug: DebugOption = False,
    ) -> None:
        """List the jobs of a cluster."""
        with told_plainly(debug):
            from orchestrator.on_ray.jobs.command import show_jobs

            raise typer.Exit(show_jobs(address, as_json=as_json, wait_s=wait_s))

    @app.command()
    def logs(
        job_id: JobIdArgument,
        follow: Annotated[
            bool, typer.Option("--follow", "-f", help="to the job's end; its exit code is returned")
        ] = False,
        address: AddressOption = None,
        wait_s: WaitSecondsOption = 10,
        debug: DebugOption = False,
    ) -> None:
        """Print what a job has printed."""
        with told_plainly(debug):
            from orchestrator.on_ray.jobs.command import show_logs

            raise typer.Exit(show_logs(address, job_id, follow=follow, wait_s=wait_s))

    @app.command()
    def stop(
        job_id: JobIdArgument,
        address: AddressOption = None,
        dry_run: DryRunOption = False,
        wait_s: WaitSecondsOption = 10,
        debug: DebugOption = False,
    ) -> None:
        """Stop a job and wait until it has ended."""
        with told_plainly(debug):
            from orchestrator.on_ray.jobs.command import stop_job

            raise typer.Exit(stop_job(address, job_id, dry_run=dry_run, wait_s=wait_s))
