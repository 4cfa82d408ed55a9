"""The rows of `benchmarks/forms.py`: recipes by name."""

from kmtl import training


def full_labels(problem, wide):
    """Rows where every row of the data carries its labels."""
    number = len(problem.tasks)
    return {
        "separate": training.Separate(),
        "joint": training.Joint(),
        "joint, equal cost": training.Joint(epochs=float(number)),
        "joint, equal weights": training.Joint(build=wide),
        "joint, equal weights and cost": training.Joint(epochs=float(number), build=wide),
    }


def few_labels(problem, wide):
    """Rows where most labels are missing."""
    return {
        "separate": training.Separate(),
        "joint": training.Joint(),
        "joint, equal weights": training.Joint(build=wide),
    }
