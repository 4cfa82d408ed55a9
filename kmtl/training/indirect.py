"""Trunks trained apart, fused, and tuned together."""

from typing import Any

from kmtl._checks import Refusals, is_number, near, require, words
from kmtl._keras_private import layer_behind
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.sharing import CrossStitch, FeatureFusion, InputDropout, present_rows
from kmtl.training.combined import inputs_like
from kmtl.training.frozen_layers import FrozenLayers
from kmtl.training.recipe import Recipe, share
from kmtl.training.trunk_branches import TrunkBranch, branches_by_input, branches_by_task, by_name, input_names
from kmtl.training.work import Work

_FUSIONS = ("concat", "mean", "gated", "attention", "cross_stitch")


class Indirect(Recipe):
    """Single trunks first, then fused, then tuned: four stages, of which one is left out unless asked for.

    1. A trunk `g_k` a task (or an input) with a head of its own for the time, each trained alone.
    2. `z = fuse(g_1(x), ..., g_K(x))` and new heads on it; the trunks are frozen, weights and statistics.
    3. With `tune`, the trunks and the fusion on inputs alone.
    4. All of it at `rate` times the learning rates, batch normalisation in inference mode.

    The result is one model of K trunks; its normalisation layers stay frozen until `layer.trainable = True`. Stage 4
    is balanced as `build` was compiled, the others are not.

    With `by="input"` it is the way to learn from an image and a text of which some rows lack one: a row that has no
    such input is a row of zeros, and takes no part in that trunk. `build` makes a model in which each input has layers
    of its own up to one tensor; what put these tensors together there is replaced by the fusion.

    Rows S0-08, S0-17 and S2-10 to S2-14 of the articles, which leave open what "connect" is. Weights of trunks are never
    averaged: those of different starts have no common order of units.

    Cost: for K trunks `K * (alone + frozen / 3 + tuned)`, since frozen trunks only go forward. With `by="input"` the
    trunks together are one trunk of `build`: `alone + frozen / 3 + tuned`.

    Args:
        fusion: `"concat"`, `"mean"`, `"gated"`, `"attention"`: see `kmtl.sharing.FeatureFusion`; or `"cross_stitch"`,
            after which each task reads its own mix of the trunks: see `kmtl.sharing.CrossStitch`.
        by: What has a trunk: `"task"` or `"input"`.
        units: Width that each trunk's features are projected to before they are fused; None leaves them. Needed where
            inputs have features of unlike widths, but for `"concat"`.
        input_dropout: With `by="input"`, the probability that an input is left out of a row in stages 2 and 4, so that
            no trunk is relied upon alone.
        alone: Epochs of stage 1, as a multiple of the given epochs, for each trunk.
        frozen: Epochs of stage 2, the same.
        tuned: Epochs of stage 4, the same.
        rate: What the learning rates are multiplied by from stage 3 on.

    >>> Indirect("gated", tuned=1.0)
    Indirect(fusion='gated', tuned=1.0)
    """

    source = "Misra et al., Cross-Stitch Networks for Multi-Task Learning, CVPR 2016, for trunks first, then together"

    def __init__(
        self,
        fusion: str = "concat",
        *,
        by: str = "task",
        units: int | None = None,
        input_dropout: float = 0.0,
        alone: float = 1.0,
        frozen: float = 0.5,
        tuned: float = 0.5,
        rate: float = 0.1,
    ) -> None:
        self.fusion, self.by, self.units, self.input_dropout = fusion, by, units, input_dropout
        for argument, known in (("fusion", _FUSIONS), ("by", ("task", "input"))):
            value = getattr(self, argument)
            fix = near(str(value), known)
            require(value in known, "Indirect", argument, f"must be one of {list(known)}", value, fix)
        self.alone, self.frozen = share("Indirect", "alone", alone), share("Indirect", "frozen", frozen)
        self.tuned, self.rate = share("Indirect", "tuned", tuned), share("Indirect", "rate", rate)
        self._check_options()

    def _check_options(self) -> None:
        """Refuses what does not go together; layers check the rest."""
        stitched = self.fusion == "cross_stitch"
        with Refusals("Indirect") as refusals:
            if stitched and self.by == "input":
                fix = "Fuse inputs by 'concat', 'gated' or 'attention'."
                refusals.add("fusion", "must make one tensor with by='input'", self.fusion, fix)
            if stitched and self.units is not None:
                refusals.add("units", "must be left out with fusion='cross_stitch'", self.units)
            if not is_number(self.input_dropout) or not 0 <= self.input_dropout < 1:
                refusals.add("input_dropout", "must be a probability from 0 to below 1", self.input_dropout)
            elif self.input_dropout and self.by == "task":
                fix = "Trunks of tasks read the same inputs: give it with by='input'."
                refusals.add("input_dropout", "must be 0 with by='task'", self.input_dropout, fix)
        if not stitched:
            FeatureFusion(self.fusion, self.units)

    def check(self, refusals: Refusals, work: Work) -> None:
        """Refuses a single task, whose one trunk there is nothing to fuse with."""
        if self.by == "task" and len(work.tasks) < 2:
            fix = "For one task on several inputs, by='input'."
            refusals.add("tasks", "must be two or more with by='task'", words(f"{work.names}"), fix)

    def run(self, work: Work) -> Any:
        """Trains the stages."""
        joint = work.model()
        branches = branches_by_task(work, joint) if self.by == "task" else branches_by_input(work, joint)
        fused, trunks = self._fused(work, joint, branches)
        # All that a compile refuses comes before anything is trained.
        self._compiled(fused, joint, tuned=True)
        for branch in branches:
            options = {"epochs": self.alone, "passes": branch.passes, "validation": branch.validation}
            work.fit(f"{branch.name} alone", branch.model, branch.data, **options)
        passes = sum(branch.passes for branch in branches)
        frozen = FrozenLayers(trunks)
        self._compiled(fused, joint)
        work.fit("frozen", fused, epochs=self.frozen, passes=passes / 3)
        frozen.release()
        self._compiled(fused, joint, tuned=True)
        work.fit("tuned", fused, epochs=self.tuned, passes=passes)
        return fused

    def _compiled(self, fused: Any, joint: Any, *, tuned: bool = False) -> None:
        """Compiles the fused model as `build` did; a balancer has nothing to weigh while the trunks are frozen."""
        if tuned:
            own = joint.balancer
            compile_like(fused, joint, balancer=type(own).from_config(own.get_config()), rate=self.rate)
        else:
            compile_like(fused, joint)

    def _fused(self, work: Work, joint: Any, branches: list[TrunkBranch]) -> tuple[Any, list[Any]]:
        """One model of all trunks, with new heads; and the trunks as they stand in it."""
        with joint.distribute_strategy.scope():
            inputs = inputs_like(joint)
            if self.by == "task":
                ends = {branch.name: branch.features(inputs) for branch in branches}
                present = None
            else:
                named = by_name(inputs)
                ends = {branch.name: branch.features(named[branch.name]) for branch in branches}
                present = {name: present_rows(named[name]) for name in input_names(work.owner, joint)}
            features = self._fuse(ends, present)
            model = MultiTaskModel.from_features(inputs, features, list(joint.tasks.values()))
        return model, [layer_behind(end) for end in ends.values()]

    def _fuse(self, ends: dict[str, Any], present: dict[str, Any] | None) -> Any:
        """The features that the heads read: one tensor, or one a task."""
        if self.fusion == "cross_stitch":
            return CrossStitch()(ends)
        if present is not None and self.input_dropout:
            present = InputDropout(self.input_dropout)(present)
        return FeatureFusion(self.fusion, self.units)(ends, present=present)
