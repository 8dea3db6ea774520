"""What no file of the project may hold: paths and hosts of one machine, and calls that run code from data.

Reads every text file of the project. The calls are found in the syntax tree, so that words in texts are free.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SKIPPED_FOLDERS = {".git", ".venv", "runs", "mlruns", "build", "dist", "node_modules", "__pycache__", "weights"}
TEXT_SUFFIXES = {"", ".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".j2", ".html", ".css", ".js", ".sh"}
FORBIDDEN_TEXT = {
    "path of one machine": re.compile(r"(?<![\w.~-])/(?:work|root|home/[a-z]\w*|Users/\w+)/"),
    "host of a registry": re.compile(r"py" + r"pi\.org|pythonhosted" + r"\.org", re.IGNORECASE),
}
SAFE_YAML_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}


def _files(project: Path) -> Iterator[Path]:
    for path in sorted(project.iterdir()):
        if path.name in SKIPPED_FOLDERS:  # in a worktree .git is a file that names the checkout
            continue
        if path.is_dir() and not path.name.endswith((".egg-info", "_cache")):
            yield from _files(path)
        elif path.is_file() and path.suffix in TEXT_SUFFIXES:
            yield path


def _imported_names(tree: ast.AST) -> dict[str, str]:
    """Local name -> full dotted name, for `import a.b as c` and `from a import b as c`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _full_name(node: ast.expr | None, names: dict[str, str]) -> str:
    """The dotted name that an expression stands for, '' when it is no plain name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def unsafe_calls(source: str) -> list[str]:
    """Calls in Python source that could run code from data, as 'line: what'."""
    tree = ast.parse(source)
    names = _imported_names(tree)
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _full_name(node.func, names)
        given = {k.arg: k.value for k in node.keywords}
        is_true = {name for name, value in given.items() if isinstance(value, ast.Constant) and value.value is True}
        argument = node.args[0] if node.args else None
        if called == "pickle.loads" and isinstance(argument, ast.Call):
            if _full_name(argument.func, names) != "pickle.dumps":  # a round trip reads only what it wrote
                found.append(f"{node.lineno}: {called} runs code from the data")
        elif called in {"pickle.load", "pickle.loads", "pickle.Unpickler", "pandas.read_pickle", "joblib.load"}:
            found.append(f"{node.lineno}: {called} runs code from the file")
        elif called == "torch.load" and "weights_only" not in is_true:
            found.append(f"{node.lineno}: torch.load without weights_only=True")
        elif called in {"yaml.load", "yaml.load_all"}:
            loader = given.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
            if _full_name(loader, names) not in SAFE_YAML_LOADERS:
                found.append(f"{node.lineno}: {called} without a safe loader")
        elif called in {"yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "eval", "exec"}:
            found.append(f"{node.lineno}: {called}")
        found += [
            f"{node.lineno}: {option}=True"
            for option in ("shell", "allow_pickle", "trust_remote_code")
            if option in is_true
        ]
    return found


def test_no_file_names_a_machine_or_a_registry(project: Path) -> None:
    found = []
    for path in _files(project):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            found += [
                f"{path.relative_to(project)}:{number}: {what}" for what, p in FORBIDDEN_TEXT.items() if p.search(line)
            ]
    assert found == []


def test_no_code_runs_code_from_data(project: Path) -> None:
    found = [
        f"{path.relative_to(project)}:{call}"
        for path in _files(project)
        if path.suffix == ".py"
        for call in unsafe_calls(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "from pickle import loads as read\nread(b)",
        "import pickle\npickle.loads(f.read())",
        "import torch as t\nt.load(p)",
        "import torch\ntorch.load(p, weights_only=False)",
        "import yaml\nyaml.load(t, Loader=yaml.Loader)",
        "import yaml\nyaml.load(t)",
        "import subprocess\nsubprocess.run(c, shell=True)",
        "import numpy as np\nnp.load(p, allow_pickle=True)",
    ],
)
def test_a_planted_unsafe_call_is_found(source: str) -> None:
    assert len(unsafe_calls(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(p, weights_only=True)",
        "import yaml\nyaml.safe_load(t)",
        "import yaml\nyaml.load(t, Loader=yaml.CSafeLoader)",
        "model.eval()",
        "import pickle\npickle.loads(pickle.dumps(x))",
        "import subprocess\nsubprocess.run([c], shell=False)",
    ],
)
def test_safe_calls_are_let_through(source: str) -> None:
    assert unsafe_calls(source) == []


def test_a_planted_machine_path_is_found_and_an_object_store_path_is_not() -> None:
    pattern = FORBIDDEN_TEXT["path of one machine"]
    assert pattern.search("open('/" + "work/data/x.txt')")
    assert pattern.search("cd /" + "home/ann/project")
    assert not pattern.search("s3://bucket/work/x and framework/root/y")
