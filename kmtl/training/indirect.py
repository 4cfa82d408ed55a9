"""Trunks trained apart, fused, and tuned together."""

from collections.abc import Mapping
from typing import Any

import keras

from kmtl._checks import Refusals, is_number, is_weight, near, require, words
from kmtl._keras_private import layer_behind
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.sharing import CrossStitch, FeatureFusion, InputDropout, present_rows
from kmtl.training.combined import inputs_like
from kmtl.training.frozen_layers import FrozenLayers
from kmtl.training.input_tuning import refuse_unreconstructed, tune_by_denoising, tune_by_views
from kmtl.training.recipe import Recipe, share
from kmtl.training.semi_supervised import SemiSupervised
from kmtl.training.trunk_branches import TrunkBranch, branches_by_input, branches_by_task, by_name, input_names
from kmtl.training.views import check_augment, check_form
from kmtl.training.work import Work

_FUSIONS = ("concat", "mean", "gated", "attention", "cross_stitch")
_TUNES = ("denoise", "views", "fixmatch", "mean_teacher")
_VIEW_WEIGHTS = {"agreement": 25.0, "variance": 25.0, "covariance": 1.0}


class Indirect(Recipe):
    """Single trunks first, then fused, then tuned: four stages, of which one is left out unless asked for.

    1. A trunk `g_k` a task (or an input) with a head of its own for the time, each trained alone.
    2. `z = fuse(g_1(x), ..., g_K(x))` and new heads on it; the trunks are frozen, weights and statistics.
    3. With `tune`, all of it on inputs that need no labels.
    4. All of it at `rate` times the learning rates, batch normalisation in inference mode.

    What `tune` may be:

    - `"denoise"`: a linear decoder, for the time, tells the weak view of the inputs from `z` of the strong one; with
      `augment=0.1` that is `x` from `z(x + noise)`. Mean squared error in units of the input's standard deviation,
      logged as `<input>_reconstruction_loss`.
    - `"views"`: `z` of two views is to be alike, with a spread in every feature and no two features alike, logged as
      `agreement`, `variance` and `covariance`: see `kmtl.training.view_losses`. Agreement alone, which row S0-09
      leaves open, collapses: constant features agree best.
    - `"fixmatch"`, `"mean_teacher"`, or a `SemiSupervised` with settings of its own: labels and unlabelled rows.

    The first two read no label: rows without any count as the others do. Heads stand still, and `augment` makes the
    views as in `SemiSupervised`.

    The result is one model of K trunks; its normalisation layers stay frozen until `layer.trainable = True`. Stage 4
    is balanced as `build` was compiled, the others are not.

    With `by="input"` it is the way to learn from an image and a text of which some rows lack one: a row that has no
    such input is a row of zeros, and takes no part in that trunk. `build` makes a model in which each input has layers
    of its own up to one tensor; what put these tensors together there is replaced by the fusion.

    Rows S0-08 to S0-10, S0-17 and S2-10 to S2-14 of the articles, which leave open what "connect" is. Weights are never
    averaged: trunks of different starts have no common order of units.

    Cost: for K trunks `K * (alone + frozen / 3 + tuned)`, since frozen trunks only go forward. With `by="input"` the
    trunks together are one trunk of `build`: `alone + frozen / 3 + tuned`. For each trunk stage 3 adds `tuning` to
    denoise, twice that for two views, and what `SemiSupervised` costs.

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
        rate: What the learning rates are multiplied by from stage 3 on, but for the decoder's.
        tune: None, or one of the above.
        tuning: Epochs of stage 3, as a multiple of the given epochs; a `SemiSupervised` has its own.
        augment: Of stage 3: None for images, a number, the standard deviation of noise on float inputs, or
            `(weak, strong)`.
        view_weights: Factors of `agreement`, `variance` and `covariance`; what is left out is 25, 25 and 1, as in the
            source.

    >>> Indirect("gated", tune="views", augment=0.1)
    Indirect(fusion='gated', tune='views', augment=0.1)
    """

    source = (
        "Misra et al., Cross-Stitch Networks, CVPR 2016, for trunks first; Bardes et al., VICReg, ICLR 2022; Vincent \
et al., Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008"
    )

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
        tune: Any = None,
        tuning: float = 0.5,
        augment: Any = None,
        view_weights: Mapping[str, float] | None = None,
    ) -> None:
        self.fusion, self.by, self.units, self.input_dropout = fusion, by, units, input_dropout
        for argument, known in (("fusion", _FUSIONS), ("by", ("task", "input"))):
            value = getattr(self, argument)
            fix = near(str(value), known)
            require(value in known, "Indirect", argument, f"must be one of {list(known)}", value, fix)
        self.alone, self.frozen = share("Indirect", "alone", alone), share("Indirect", "frozen", frozen)
        self.tuned, self.rate = share("Indirect", "tuned", tuned), share("Indirect", "rate", rate)
        self.tune, self.tuning = tune, share("Indirect", "tuning", tuning)
        self.augment, self.view_weights = augment, view_weights
        self._check_options()
        self._check_tuning()

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

    def _check_tuning(self) -> None:
        """Refuses what stage 3 cannot be."""
        own = isinstance(self.tune, SemiSupervised)
        with Refusals("Indirect") as refusals:
            check_form(refusals, self.augment)
            if self.tune is not None and not own and self.tune not in _TUNES:
                fix = near(str(self.tune), _TUNES)
                refusals.add("tune", f"must be None, a SemiSupervised or one of {[*_TUNES]}", self.tune, fix)
            if self.augment is not None and (own or self.tune is None):
                fix = "Give it to that one." if own else "Say how to tune: tune='views'."
                refusals.add("augment", "must stand beside the name of a way to tune", self.augment, fix)
            given = self.view_weights or {}
            if not isinstance(given, Mapping) or not set(given) <= set(_VIEW_WEIGHTS):
                refusals.add("view_weights", f"must be a dict of {[*_VIEW_WEIGHTS]}", self.view_weights)
            elif not all(is_weight(value) for value in given.values()):
                refusals.add("view_weights", "must be finite numbers of at least 0", self.view_weights)
            elif given and self.tune != "views":
                refusals.add("view_weights", "must be left out unless tune='views'", self.view_weights)

    @property
    def _semi_supervised(self) -> Any:
        """What tunes on labels and unlabelled rows, or None."""
        if self.tune in ("fixmatch", "mean_teacher"):
            return SemiSupervised(self.tune, augment=self.augment, epochs=self.tuning)
        return self.tune if isinstance(self.tune, SemiSupervised) else None

    def check(self, refusals: Refusals, work: Work) -> None:
        """Refuses a single task, whose one trunk there is nothing to fuse with, and inputs that cannot be tuned on."""
        if self._semi_supervised is not None:
            self._semi_supervised.check(refusals, work)
        elif self.tune is not None:
            check_augment(refusals, self.augment, work.train.element_spec[0])
        if self.tune == "denoise":
            refuse_unreconstructed(refusals, work.train.element_spec[0])
        if self.by == "task" and len(work.tasks) < 2:
            fix = "For one task on several inputs, by='input'."
            refusals.add("tasks", "must be two or more with by='task'", words(f"{work.names}"), fix)
        wanted = {task.name: task.features for task in work.tasks if not task.product_of}
        if len(set(wanted.values())) > 1:
            fix = "Train the tasks of each kind of features in a run of their own."
            refusals.add("tasks", "must read one kind of features, which the fused trunks give", wanted, fix)

    def run(self, work: Work) -> Any:
        """Trains the stages."""
        joint = work.model()
        branches = branches_by_task(work, joint) if self.by == "task" else branches_by_input(work, joint)
        fused, ends, features = self._fused(work, joint, branches)
        # All that a compile refuses comes before anything is trained.
        self._compiled(fused, joint, tuned=True)
        for branch in branches:
            options = {"epochs": self.alone, "passes": branch.passes, "validation": branch.validation}
            work.fit(f"{branch.name} alone", branch.model, branch.data, **options)
        passes = sum(branch.passes for branch in branches)
        frozen = FrozenLayers([layer_behind(end) for end in ends])
        self._compiled(fused, joint)
        work.fit("frozen", fused, epochs=self.frozen, passes=passes / 3)
        frozen.release()
        if self.tune is not None:
            self._compiled(fused, joint, tuned=True)
            self._tune(work, joint, fused, features, passes)
        self._compiled(fused, joint, tuned=True)
        work.fit("tuned", fused, epochs=self.tuned, passes=passes)
        return fused

    def _tune(self, work: Work, joint: Any, fused: Any, features: Any, passes: float) -> None:
        """Stage 3."""
        if self._semi_supervised is not None:
            self._semi_supervised.train_model(work, fused, trunks=passes)
            return
        with joint.distribute_strategy.scope():
            encoder = keras.Model(fused.input, _vector(features))
        if self.tune == "views":
            stage = {"epochs": self.tuning, "passes": 2 * passes}
            weights = {**_VIEW_WEIGHTS, **(self.view_weights or {})}
            tune_by_views(work, fused, encoder, augment=self.augment, weights=weights, **stage)
        else:
            stage = {"epochs": self.tuning, "passes": passes}
            tune_by_denoising(work, joint, encoder, augment=self.augment, rate=self.rate, **stage)

    def _compiled(self, fused: Any, joint: Any, *, tuned: bool = False) -> None:
        """Compiles the fused model as `build` did; a balancer has nothing to weigh while the trunks are frozen."""
        options: dict[str, Any] = {}
        with joint.distribute_strategy.scope():
            if tuned:
                own = joint.balancer
                options["balancer"] = type(own).from_config(own.get_config())
                options["rates"] = dict.fromkeys(("shared", *fused.tasks), self.rate)
            compile_like(fused, joint, **options)

    def _fused(self, work: Work, joint: Any, branches: list[TrunkBranch]) -> tuple[Any, list[Any], Any]:
        """One model of all trunks, with new heads; what the trunks give there, and what the heads read."""
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
        return model, list(ends.values()), features

    def _fuse(self, ends: dict[str, Any], present: dict[str, Any] | None) -> Any:
        """The features that the heads read: one tensor, or one a task."""
        if self.fusion == "cross_stitch":
            return CrossStitch()(ends)
        if present is not None and self.input_dropout:
            present = InputDropout(self.input_dropout)(present)
        return FeatureFusion(self.fusion, self.units)(ends, present=present)


def _vector(features: Any) -> Any:
    """What heads read, one tensor or one a task, as `(batch, width)`; maps and sequences are averaged over places."""
    layers = {3: keras.layers.GlobalAveragePooling1D, 4: keras.layers.GlobalAveragePooling2D}
    tensors = list(features.values()) if isinstance(features, Mapping) else [features]
    flat = [layers[len(one.shape)]()(one) if len(one.shape) in layers else one for one in tensors]
    return keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
