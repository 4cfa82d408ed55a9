"""The rows of `benchmarks/forms.py`: recipes by name."""

from kmtl import training


def joint_rows(problem, wide):
    """The rows that every form is held against."""
    number = float(len(problem.tasks))
    return {
        "separate": training.Separate(),
        "joint": training.Joint(),
        "joint, equal cost": training.Joint(epochs=number),
        "joint, equal weights": training.Joint(build=wide),
        "joint, equal weights and cost": training.Joint(epochs=number, build=wide),
    }


def full_labels(problem, wide):
    """Rows where every row of the data carries its labels."""
    return joint_rows(problem, wide) | {
        "alternating": training.Alternating(optimizer="own"),
        "message passing": training.MessagePassing(),
        "message passing, one trunk": training.MessagePassing(every=1, trunk="mean"),
        "indirect": training.Indirect(),
        "fine-tuned": training.FineTuned(),
        "fine-tuned heads": training.FineTuned(how="head"),
        "adapters": training.FineTuned(how="adapters", rate=1.0, fold=False),
        "distilled": training.Distilled(),
        "label fusion": training.LabelFusion(),
        "output sum": training.OutputSum(),
        "stacking": training.Stacking(folds=3),
        "bagging": training.Bagging(members=3),
        "boosting": training.Boosting(members=3),
        "random forests, gated": training.Heterogeneous(problem.forests(), folds=3),
    }


def few_labels(problem, wide):
    """Rows where most labels are missing."""
    del problem, wide
    return {
        "separate": training.Separate(),
        "joint": training.Joint(),
        "fixmatch": training.SemiSupervised("fixmatch"),
        "mean teacher": training.SemiSupervised("mean_teacher"),
        "fine-tuned": training.FineTuned(),
        "distilled": training.Distilled(),
    }
