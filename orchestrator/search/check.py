"""Whether a search space fits an experiment, proven before anything starts: paths, values and models.

Reads and writes nothing. Knows nothing of how trials are run.
"""

import difflib
import random
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator import vocabulary as v
from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.config.arms import OF_AN_ARM, shared_by_trials
from orchestrator.config.composition import blueprint, problems_of, supplied
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import with_overrides
from orchestrator.config.measurable import unmeasurable_objectives
from orchestrator.errors import ConfigError
from orchestrator.search.domains import Choice, Integer, LogUniform, Uniform, Value
from orchestrator.search.schedulers import Pb2Settings, PbtSettings
from orchestrator.search.space import SearchSpace
from orchestrator.search.variants import wrong_variants

NUM_SAMPLES_CHECKED, NUM_PROBLEMS_TOLD = 20, 8


def check_space(space: SearchSpace, experiment: Experiment) -> None:
    """Prove before anything starts that every path exists and that its samples, points and extreme values build.

    Raises:
        ConfigError: every problem found, each once, with the nearest known path.
    """
    tree = experiment.model_dump(mode="json")
    problems = list(_unknown(space, tree)) + shared_by_trials((*space.parameters, *space.fixed), tree)
    problems += wrong_variants(space)
    if not problems:
        problems = list(dict.fromkeys(_unfit(space, experiment)))
    if not problems:
        return
    more = [f"  and {len(problems) - NUM_PROBLEMS_TOLD} more"] if len(problems) > NUM_PROBLEMS_TOLD else []
    lines = [f"  {problem}" for problem in problems[:NUM_PROBLEMS_TOLD]] + more
    raise ConfigError(
        "\n".join([f"search space {space.name} does not fit the experiment", *lines]),
        expected="dotted paths into the experiment's resolved tree (see --dry-run), and values that it takes",
    )


def trial_experiment(experiment: Experiment, space: SearchSpace, values: Mapping[str, Any]) -> Experiment:
    """The experiment of one trial: overrides only; a value of a whole setting comes before those of its parts."""
    overrides = {**space.fixed, **values}
    ordered = {path: overrides[path] for path in sorted(overrides, key=lambda path: path.count("."))}
    return with_overrides(experiment, ordered, f"search space {space.name}")


def _unknown(space: SearchSpace, tree: Mapping[str, Any]) -> Iterator[str]:
    """Paths that the experiment has not; those below a setting that the space itself gives are proven by building."""
    given = {*space.parameters, *space.fixed}
    known = list(_paths(tree))
    for path in sorted(given):
        above = {path[:place] for place, letter in enumerate(path) if letter == "."}
        if path in known or above & given:
            continue
        near = difflib.get_close_matches(path, known, n=1)
        yield f"the experiment has no {path}" + (f"; did you mean {near[0]}?" if near else "")


def _paths(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{name}.")


def _unfit(space: SearchSpace, experiment: Experiment) -> Iterator[str]:
    """Why values of the space cannot be trained."""
    shapes: dict[str, Any] = {}
    for values in (*space.points, *_samples(space)):
        try:
            trial = trial_experiment(experiment, space, values)
        except ConfigError as error:
            yield " ".join(line.strip() for line in str(error).splitlines()[1:])
            continue
        structure = _structure(trial)
        if structure in shapes:
            continue
        found = problems_of(trial) or _other_views(experiment, trial)
        found = [*unmeasurable_objectives(trial, space.objectives), *found]
        yield from found
        changes = isinstance(space.scheduler, PbtSettings | Pb2Settings) and not found
        shapes[structure] = _shapes(trial) if changes else None
    if len({fingerprint(shape) for shape in shapes.values() if shape is not None}) > 1:
        yield (
            f"scheduler {space.scheduler.kind} lets a trial go on from another one's weights, and trials of this space "
            "differ in the shapes of theirs; take asha, or leave out what changes the network"
        )


def _other_views(experiment: Experiment, trial: Experiment) -> list[str]:
    """Why a trial could not read the image teacher's kept rows: they are of the views that the experiment draws."""
    if not experiment.image_teacher_views or experiment.image_teacher is None or trial.image_teacher_mode != "cached":
        return []

    def drawn(one: Experiment) -> tuple[Any, ...]:
        return one.training.views, one.training.data_seed, one.image_size

    of_teacher = {v.TEACHER_IMAGE, v.TEACHER_LOGITS, v.TEACHER_FEATURE, v.TEACHER_MAP}
    if drawn(trial) == drawn(experiment) or not of_teacher & _read(trial):
        return []
    return [
        "training.views, training.data_seed, image_size: the image teacher's rows are of the experiment's own views; "
        "set them for the whole experiment, or image_teacher_views: 0"
    ]


def _read(experiment: Experiment) -> set[str]:
    """What losses and student read of a batch."""
    model = blueprint(experiment, supplied(experiment))
    return {*model.objective.required_inputs(), *model.objective.optional_inputs(), *model.student.reads}


def _samples(space: SearchSpace) -> Iterator[dict[str, Value]]:
    """Twenty draws, and for every extreme of every domain one that has it."""
    generator = random.Random(0)
    for _ in range(NUM_SAMPLES_CHECKED):
        yield space.sample(generator)
    for path, domain in space.parameters.items():
        match domain:
            case Choice():
                extremes = domain.values
            case Uniform() | LogUniform() | Integer():
                extremes = (domain.low, domain.high)
        for extreme in extremes:
            yield space.sample(generator, {**_reaching(space, path), path: extreme})


def _reaching(space: SearchSpace, path: str) -> dict[str, Value]:
    """Values with which a path is there."""
    found: dict[str, Value] = {}
    for other, allowed in space.parameters[path].when.items():
        found |= {**_reaching(space, other), other: allowed[0]}
    return found


def _structure(experiment: Experiment) -> str:
    """What of an experiment decides about its model: all that arms vary, whatever the numbers with a point are."""
    tree = experiment.model_dump(mode="json", include=set(OF_AN_ARM) - {"evaluation", "watch"})
    return fingerprint(_without_floats(tree))


def _without_floats(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _without_floats(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_without_floats(value) for value in node]
    return "float" if isinstance(node, float) else node


def _shapes(experiment: Experiment) -> dict[str, list[int]]:
    model = blueprint(experiment, supplied(experiment))
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
