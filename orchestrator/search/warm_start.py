"""The trials of finished sweeps that a new one may learn from before its first trial.

Reads the folders of other sweeps; writes nothing.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.errors import ArtifactError
from orchestrator.search.space import SearchSpace
from orchestrator.search.sweep_folder import SweepFolder
from orchestrator.search.trial import TrialResult


@dataclass(frozen=True)
class WarmStart:
    """What was found.

    Attributes:
        trials: those that fit the space, in the order of the folders and of their numbers there.
        skipped: how many do not: other settings, values outside the domains, objectives not reported, or failed.
        fingerprints: folder -> the finished sweep's.
    """

    trials: tuple[TrialResult, ...]
    skipped: int
    fingerprints: dict[str, str]


def read_warm_start(space: SearchSpace) -> WarmStart:
    """The ended trials of the sweeps that the space names.

    Raises:
        ArtifactError: a folder holds no finished sweep, or none of its trials fits.
    """
    trials: list[TrialResult] = []
    skipped, fingerprints = 0, {}
    for name in space.warm_start:
        manifest = read_manifest(Path(name))
        if manifest is None or manifest.stage != "sweep":
            raise ArtifactError(
                f"warm_start: {name} holds no finished sweep",
                expected="the folder of one, ROOT/EXPERIMENT/sweeps/SPACE",
            )
        ended = list(SweepFolder(Path(name)).ended().values())
        fitting = [result for result in ended if _fits(result, space)]
        if not fitting:
            raise ArtifactError(
                f"warm_start: none of the {len(ended)} trials of {name} fits this space",
                expected=f"values for {', '.join(space.parameters)} in their domains, {', '.join(space.objectives)}",
            )
        trials += fitting
        skipped += len(ended) - len(fitting)
        fingerprints[name] = manifest.fingerprint
    return WarmStart(tuple(replace(one, number=at) for at, one in enumerate(trials)), skipped, fingerprints)


def _fits(result: TrialResult, space: SearchSpace) -> bool:
    told = result.status != "failed" and all(name in result.metrics for name in space.objectives)
    return told and space.contains(result.values)
