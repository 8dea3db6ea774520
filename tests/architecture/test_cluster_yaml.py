"""`cluster.yaml` is what `ray up` accepts, closed to the outside, and made of files that exist."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Ray's own schema of a cluster file, read without importing Ray."""
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    path = Path(ray.origin).parent / "autoscaler" / "ray-schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cluster(project: Path) -> dict[str, Any]:
    return yaml.safe_load((project / "cluster.yaml").read_text(encoding="utf-8"))


def test_ray_accepts_the_cluster_file(schema: dict[str, Any], cluster: dict[str, Any]) -> None:
    jsonschema.validate(cluster, schema)


def test_rays_schema_refuses_a_misspelt_key(schema: dict[str, Any], cluster: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuets"):
        jsonschema.validate(cluster | {"idle_timeout_minuets": 5}, schema)


def test_the_head_type_exists_and_the_node_limits_fit_together(cluster: dict[str, Any]) -> None:
    kinds = dict(cluster["available_node_types"])
    del kinds[cluster["head_node_type"]]
    assert all(kind["min_workers"] <= kind["max_workers"] for kind in kinds.values())
    assert sum(kind["min_workers"] for kind in kinds.values()) <= cluster["max_workers"]
    assert sum(kind["max_workers"] for kind in kinds.values()) == cluster["max_workers"]


def test_every_mounted_file_of_the_project_exists(cluster: dict[str, Any], project: Path) -> None:
    local = [Path(path) for path in cluster["file_mounts"].values() if not path.startswith("~")]
    assert local, "the environment's files are mounted from the project"
    assert [str(path) for path in local if not (project / path).exists()] == []


def test_the_image_holds_the_ray_that_is_pinned(cluster: dict[str, Any], project: Path) -> None:
    pins = (project / "constraints.txt").read_text(encoding="utf-8").split()
    (ray,) = [pin for pin in pins if pin.startswith("ray==")]
    assert cluster["docker"]["image"] == f"rayproject/ray:{ray.removeprefix('ray==')}-py311-gpu"


def test_the_dashboard_listens_on_loopback_and_tokens_are_on(cluster: dict[str, Any]) -> None:
    start = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
