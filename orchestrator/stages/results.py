"""RESULTS.md from the records of cells: written by the commands that make cells, never by hand.

Reads reproductions, groups and records; writes the page. Trains nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from orchestrator.artifacts.storage import write_bytes
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment
from orchestrator.config.reproduction import (
    LEAST_EPOCHS,
    LEAST_SEEDS,
    SCALES,
    Column,
    Group,
    Reproduction,
    Row,
    Scale,
    group_experiment,
    load_group,
    load_reproductions,
)
from orchestrator.reporting import results_page
from orchestrator.reporting.cell_record import CellRecord, CellRecords, Measured, measured
from orchestrator.stages import evidence
from orchestrator.stages.recorded import identity

RESULTS = "results"  # the folder of records, below that of the reproductions
EVIDENCE_SHEET = Path("jobs/experiments/evidence.yaml")
HEADER = f"""# Results

Written by `orchestrator reproduce` and `orchestrator evidence` from the records of finished cells
(`reproductions/results/`), never by hand. A cell is one arm on one seed. It counts with at least the {LEAST_EPOCHS}
epochs of the embedded recipe, {LEAST_SEEDS} seeds and an interval (95 %, Student's t over the seeds); any other stands
in parentheses, or is empty, and the last column says why. A finding *reappears* where the interval of the paired
difference excludes zero on the paper's side. The small twins ask whether the papers' contrasts hold in another world;
their numbers are no attempt at the papers' numbers.
"""


@dataclass
class Results:
    """What is known of all cells.

    Attributes:
        folder: of the reproductions.
    """

    folder: Path
    _groups: dict[tuple[Scale, str], tuple[Group, Experiment]] = field(default_factory=dict)

    @cached_property
    def records(self) -> CellRecords:
        """The records of finished cells."""
        return CellRecords(self.folder / RESULTS)

    def group(self, scale: Scale, name: str) -> tuple[Group, Experiment]:
        """A group and its experiment."""
        if (scale, name) not in self._groups:
            group = load_group(self.folder, scale, name)
            self._groups[scale, name] = group, group_experiment(group, scale, name)
        return self._groups[scale, name]

    def look(self, scale: Scale, row: Row, column: Column) -> Measured:
        """What there is of one column of one row."""
        name = f"{row.group}{column.suffix}"
        _, experiment = self.group(scale, name)
        return measured(self.records.read(scale, name, row.arm), column, identity(experiment, row.arm), scale)

    def section(self, reproduction: Reproduction, scale: Scale) -> str:
        """A target at one scale, as Markdown."""
        groups = {group for group, _ in reproduction.cells(scale)}
        about = {name: self.group(scale, name)[0].differs for name in groups}
        return results_page.section(reproduction, lambda row, column: self.look(scale, row, column), scale, about)

    def verdicts(self, reproduction: Reproduction, scale: Scale) -> list[results_page.Verdict]:
        """What our cells say of a target's findings."""
        return results_page.verdicts(reproduction, lambda row, column: self.look(scale, row, column), scale)

    def has(self, reproduction: Reproduction, scale: Scale) -> bool:
        """Whether a scale has any cell of a target."""
        return bool(reproduction.cells(scale))


def write(folder: Path, page: Path) -> None:
    """Write the page of all reproductions below `folder`."""
    results, targets = Results(folder), load_reproductions(folder, ["all"])
    kept = results.records.all()
    scales = [scale for scale in SCALES if scale == "small" or any(record.scale == scale for record in kept)]
    parts = [HEADER, "## Which findings reappear\n"]
    for scale in scales:
        wanted = [one for one in targets if results.has(one, scale)]
        found = {one.target: results.verdicts(one, scale) for one in wanted if one.findings}
        parts += [f"At scale `{scale}`: {_counts(found)}.\n", results_page.summary(found) + "\n"]
    parts += ["## Evidence on paired seeds\n", _evidence(results.records) + "\n"]
    for scale in scales:
        parts.append(f"## Tables and figures at scale `{scale}`\n")
        parts += [results.section(one, scale) + "\n" for one in targets if results.has(one, scale)]
    parts.append("## When, on what and how\n")
    parts.append(results_page.provenance(kept) if kept else "No cell has been run.")
    write_bytes(page, ("\n".join(parts).rstrip() + "\n").encode())


def _counts(found: Mapping[str, Sequence[results_page.Verdict]]) -> str:
    words = [one.word for each in found.values() for one in each]
    kinds = (results_page.REAPPEARS, results_page.OPPOSITE, results_page.UNCLEAR, results_page.NOT_RUN)
    return ", ".join(f"{words.count(kind)} {kind}" for kind in kinds)


def _evidence(records: CellRecords) -> str:
    """The table of `make evidence`, of the arms and seeds that there are."""
    not_run = "`make evidence` has not been run: no cell of it is recorded."
    if not EVIDENCE_SHEET.is_file():
        return not_run
    experiment = load_experiment(EVIDENCE_SHEET)
    found: dict[str, dict[int, CellRecord]] = {}
    for arm in experiment.arms:
        now = identity(experiment, arm)
        mine = records.read("small", experiment.name, arm)
        found[arm] = {record.seed: record for record in mine if record.experiment == now}
    baseline = next(iter(experiment.arms))
    arms = [arm for arm in experiment.arms if len(found[arm]) >= LEAST_SEEDS]
    missing = [f"{arm} ({len(found[arm])} seeds)" for arm in experiment.arms if arm not in arms]
    if baseline not in arms or len(arms) == 1:
        return not_run if not any(found.values()) else f"Too few cells of `make evidence` yet: {', '.join(missing)}."
    seeds = sorted(set.intersection(*(set(found[arm]) for arm in arms)))
    if len(seeds) < LEAST_SEEDS:
        return f"The arms of `make evidence` have {len(seeds)} seeds in common yet."
    results = {(arm, seed): found[arm][seed].values for arm in arms for seed in seeds}
    told = evidence.render(results, arms, seeds, evidence.controls(experiment, arms))
    return told + (f"\nNot counted yet: {', '.join(missing)}.\n" if missing else "") + "\n`make evidence`"
