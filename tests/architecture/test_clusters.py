"""Every cluster file is what its tool accepts, closed to the outside, of files that exist, and fits its execution."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.config.execution import ActorPoolSettings, Execution
from orchestrator.config.load import load_execution

RAY_UP = ["cluster.yaml", "clusters/gcp.yaml", "clusters/on_premise.yaml"]
KUBERAY = ["clusters/kuberay_cluster.yaml", "clusters/kuberay_job.yaml"]
EXECUTION_OF = {
    "cluster.yaml": "cluster",
    "clusters/gcp.yaml": "gcp",
    "clusters/on_premise.yaml": "on_premise",
    "clusters/kuberay_cluster.yaml": "kubernetes",
}
Node = tuple[float, float]  # CPUs, GPUs


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Ray's own schema of a cluster file, read without importing Ray."""
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    path = Path(ray.origin).parent / "autoscaler" / "ray-schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


def read(project: Path, name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((project / name).read_text(encoding="utf-8")))


@pytest.fixture(params=RAY_UP)
def cluster(request: pytest.FixtureRequest, project: Path) -> dict[str, Any]:
    (tree,) = read(project, request.param)
    return tree


def check_kuberay(project: Path, tree: dict[str, Any]) -> None:
    schemas = yaml.safe_load((project / "tests/architecture/kuberay_schema.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(tree, {**schemas[tree["kind"]], "$defs": schemas["$defs"]})


def test_every_cluster_file_is_looked_at(project: Path) -> None:
    there = {f"clusters/{path.name}" for path in (project / "clusters").glob("*.yaml")} | {"cluster.yaml"}
    assert there == {*RAY_UP, *KUBERAY}


def test_ray_accepts_the_cluster_file(schema: dict[str, Any], cluster: dict[str, Any]) -> None:
    jsonschema.validate(cluster, schema)


def test_rays_schema_refuses_a_misspelt_key(schema: dict[str, Any], cluster: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuets"):
        jsonschema.validate(cluster | {"idle_timeout_minuets": 5}, schema)


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_accepts_its_files_and_refuses_a_misspelt_field(project: Path, name: str) -> None:
    trees = read(project, name)
    for tree in trees:
        check_kuberay(project, tree)
    trees[0]["spec"]["rayVersoin"] = "2"
    with pytest.raises(jsonschema.ValidationError, match="rayVersoin"):
        check_kuberay(project, trees[0])


def test_the_head_type_exists_and_the_node_limits_fit_together(cluster: dict[str, Any]) -> None:
    if cluster["provider"]["type"] == "local":
        assert cluster["max_workers"] == len(cluster["provider"]["worker_ips"])
        return
    kinds = dict(cluster["available_node_types"])
    del kinds[cluster["head_node_type"]]
    assert all(kind["min_workers"] <= kind["max_workers"] for kind in kinds.values())
    assert sum(kind["min_workers"] for kind in kinds.values()) <= cluster["max_workers"]
    assert sum(kind["max_workers"] for kind in kinds.values()) == cluster["max_workers"]


def test_every_mounted_file_of_the_project_exists(cluster: dict[str, Any], project: Path) -> None:
    local = [Path(path) for path in cluster["file_mounts"].values() if not path.startswith("~")]
    assert local, "the environment's files are mounted from the project"
    assert [str(path) for path in local if not (project / path).exists()] == []


def test_every_file_runs_the_ray_that_is_pinned(project: Path) -> None:
    pins = (project / "constraints.txt").read_text(encoding="utf-8").split()
    (version,) = [pin.removeprefix("ray==") for pin in pins if pin.startswith("ray==")]
    image = f"rayproject/ray:{version}-py311-gpu"
    assert {read(project, name)[0]["docker"]["image"] for name in RAY_UP[:2]} == {image}
    assert f"FROM {image}\n" in (project / "clusters/Dockerfile").read_text(encoding="utf-8")
    assert read(project, KUBERAY[0])[0]["spec"]["rayVersion"] == version


def test_the_dashboard_listens_on_loopback_and_tokens_are_on(cluster: dict[str, Any]) -> None:
    start, join = (" ".join(cluster[f"{who}_start_ray_commands"]) for who in ("head", "worker"))
    assert "--dashboard-host=127.0.0.1" in start
    said = " ".join(cluster.get("docker", {}).get("run_options", []))
    assert "--env RAY_AUTH_MODE=token" in said or all("RAY_AUTH_MODE=token" in line for line in (start, join))
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_on_kubernetes_tokens_are_on_and_only_the_operator_and_the_cluster_reach_the_pods(project: Path) -> None:
    cluster, policy = read(project, "clusters/kuberay_cluster.yaml")
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["podSelector"]["matchLabels"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert all("from" in rule for rule in policy["spec"]["ingress"])
    (job,) = read(project, "clusters/kuberay_job.yaml")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    named = [word for word in job["spec"]["entrypoint"].split() if word.endswith(".yaml")]
    assert [name for name in named if not (project / name).is_file()] == []


def test_pods_ask_for_what_ray_is_told_that_they_have(project: Path) -> None:
    for group in read(project, "clusters/kuberay_cluster.yaml")[0]["spec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        for kind in ("requests", "limits"):
            asked = container["resources"][kind]
            told = group["rayStartParams"]
            assert (asked["cpu"], asked["nvidia.com/gpu"]) == (told["num-cpus"], told["num-gpus"])


def nodes_of(project: Path, name: str) -> list[Node]:
    """CPUs and GPUs of every worker node that the cluster may have."""
    tree = read(project, name)[0]
    if tree.get("kind") == "RayCluster":
        return [
            (float(group["rayStartParams"]["num-cpus"]), float(group["rayStartParams"]["num-gpus"]))
            for group in tree["spec"]["workerGroupSpecs"]
            for _ in range(group["maxReplicas"])
        ]
    if tree["provider"]["type"] == "local":
        line = " ".join(tree["worker_start_ray_commands"])
        found = {what: float(value) for what, value in re.findall(r"--num-(cpus|gpus)=(\d+)", line)}
        return [(found["cpus"], found["gpus"])] * len(tree["provider"]["worker_ips"])
    return [
        (float(kind["resources"]["CPU"]), float(kind["resources"].get("GPU", 0)))
        for name, kind in tree["available_node_types"].items()
        if name != tree["head_node_type"]
        for _ in range(kind["max_workers"])
    ]


def parts(execution: Execution) -> Iterator[tuple[str, list[Node]]]:
    """What runs at once in each part of the line: CPUs and GPUs of each process."""

    def pool(actors: ActorPoolSettings) -> list[Node]:
        return [(actors.num_cpus_per_actor, actors.num_gpus_per_actor)] * actors.most_actors + [
            (1.0, 0.0)
        ] * actors.num_readers

    workers, trials = execution.training, execution.trials
    yield "captioning", pool(execution.captioning)
    yield "embedding", pool(execution.embedding)
    yield "training", [(workers.num_cpus_per_worker, workers.num_gpus_per_worker)] * workers.most_workers
    yield "trials", [(trials.num_cpus_per_worker, trials.num_gpus_per_worker)] * trials.processes


def left_over(nodes: list[Node], processes: list[Node]) -> list[Node]:
    """The processes that find no node, the greediest placed first."""
    free, homeless = list(nodes), []
    for cpus, gpus in sorted(processes, key=lambda node: (-node[1], -node[0])):
        homes = [n for n, (c, g) in enumerate(free) if c >= cpus and g >= gpus]
        if homes:
            home = min(homes, key=lambda n: (free[n][1], free[n][0])) if gpus else max(homes, key=lambda n: free[n][0])
            free[home] = (free[home][0] - cpus, free[home][1] - gpus)
        else:
            homeless.append((cpus, gpus))
    return homeless


@pytest.mark.parametrize(("name", "execution"), EXECUTION_OF.items())
def test_each_execution_fits_its_cluster(project: Path, name: str, execution: str) -> None:
    settings = load_execution(project / "jobs" / "executions" / f"{execution}.yaml")
    nodes = nodes_of(project, name)
    for part, processes in parts(settings):
        assert left_over(nodes, processes) == [], f"{part} does not fit {name}"
    used = max(sum(gpus for _, gpus in processes) for _, processes in parts(settings))
    assert used >= sum(gpus for _, gpus in nodes) / 2, "an execution that leaves half of its cluster idle"
    told = [(k.num_cpus, k.num_gpus) for k in settings.cluster.grows_to for _ in range(k.num_nodes)]
    assert sorted(told) == ([] if name == "clusters/on_premise.yaml" else sorted(nodes)), "what it grows to is told"
    assert settings.storage_root.startswith("/mnt/shared"), "a folder that all nodes mount"
    assert f"jobs/executions/{execution}.yaml" in (project / name).read_text(encoding="utf-8") + (
        project / "clusters/kuberay_job.yaml"
    ).read_text(encoding="utf-8")


def test_a_plan_that_does_not_fit_is_found() -> None:
    assert left_over([(8.0, 1.0)], [(2.0, 1.0), (2.0, 1.0)]) == [(2.0, 1.0)]
    assert left_over([(8.0, 1.0), (8.0, 1.0)], [(9.0, 0.0)]) == [(9.0, 0.0)]
