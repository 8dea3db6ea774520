"""The captions and embeddings of a sweep's variants: for each, what differs from the experiment's own is made, once.

Reads and commits to the teacher stores, which are keyed by content, so that only rows that nobody has asked
for before go through a model; writes views below `variants/`. Knows nothing of trials.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.load import with_overrides
from orchestrator.errors import ConfigError
from orchestrator.search.space import SearchSpace
from orchestrator.search.variants import variant_of, variant_values, variants
from orchestrator.stages import caption, describe, embed, tune
from orchestrator.stages.context import Context, Plan

MADE = ("describe", "caption", "embed")


@dataclass(frozen=True)
class Variant:
    """One variant before it is made.

    Attributes:
        values: dotted path -> value.
        context: of its experiment.
        plans: everything that students read; what does not differ from the experiment's own is the experiment's own.
        own: the stages of which it has artifacts of its own.
    """

    values: Mapping[str, Any]
    context: Context
    plans: dict[str, Plan]
    own: tuple[str, ...]

    def make(self) -> None:
        """Make or reuse its artifacts."""
        if "describe" in self.own:
            describe.make(self.context, self.plans["describe"])
        if "caption" in self.own:
            caption.make(self.context, self.plans["index"])
        if "embed" in self.own:
            embed.make(self.context, self.plans)


def plan(context: Context, parents: Mapping[str, Plan], space: SearchSpace) -> dict[str, Variant]:
    """Name -> variant of everything that the trials of a space may read.

    Args:
        parents: the plans of the experiment's own data.

    Raises:
        ConfigError: a variant would need an image teacher tuned anew.
    """
    return {name: _plan(context, parents, name, values) for name, values in variants(space).items()}


def _plan(context: Context, parents: Mapping[str, Plan], name: str, values: Mapping[str, Any]) -> Variant:
    inner = context.of_variant(with_overrides(context.experiment, values, f"variant {name}"), name)
    plans = {"index": parents["index"], "shard": parents["shard"]}
    own: list[str] = []

    def take(stage: str, planned: Plan | None) -> None:
        known = parents.get(stage)
        if planned is None:
            return
        same = known is not None and known.fingerprint == planned.fingerprint
        plans[stage] = known if same and known is not None else planned
        own.extend([] if same else [stage])

    take("describe", describe.plan(inner, plans["index"]))
    take("caption", caption.plan(inner, plans["index"]))
    take("tune", tune.plan(inner, plans))
    if "tune" in own:
        raise ConfigError(
            f"variant {name} ({shown(values)}) needs an image teacher tuned anew",
            expected="a sweep whose trials share a tuned teacher",
            remedy="sweep each teacher in an experiment of its own",
        )
    take("embed", embed.plan(inner, plans))
    return Variant(values, inner, plans, tuple(own))


def of_best(
    context: Context, parents: Mapping[str, Plan], best: Mapping[str, Any], space: SearchSpace
) -> tuple[Context, dict[str, Plan]]:
    """The context and the data of the final student: those of the best trial's variant, or the experiment's own."""
    name = variant_of(space, best)
    if not name:
        return context, dict(parents)
    found = _plan(context, parents, name, variant_values(best))
    return found.context, {**parents, **found.plans}


def shown(values: Mapping[str, Any]) -> str:
    """A variant's values in words."""
    return ", ".join(f"{path}={value}" for path, value in values.items())
