"""Whether an MLflow store answers, and what to do where it does not.

Contacts a server or opens a SQLite file. Imports mlflow inside functions.
"""

from orchestrator.secrecy import redacted
from orchestrator.tracking.mlflow_store import open_client, sqlite_path


def reach(uri: str) -> tuple[str, str]:
    """(what was found, what to do about it; "" where all is well) of the store at `uri`."""
    database, shown = sqlite_path(uri), redacted(uri)
    if database is not None and not database.exists():
        return f"{shown}: will be made by the first command", ""
    from mlflow.exceptions import MlflowException

    try:
        count = len(open_client(uri).search_experiments(max_results=1000))
    except MlflowException as error:
        text = redacted(str(error))
        if "out-of-date database schema" in text:
            return f"{shown}: its schema is of another MLflow", f"back it up, then: mlflow db upgrade {shown}"
        if "401" in text or "403" in text:
            return (
                f"{shown} refuses us",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or its allowed hosts",
            )
        first = text.splitlines()[0][:160]
        return (
            f"{shown} does not answer: {first}",
            "start it, or correct MLFLOW_TRACKING_URI; metrics wait in the spool",
        )
    return f"{shown}: answers, {count} experiments", ""
