"""The conformance table: one row for every balancer, from the table of each family."""

import pytest
from balancers.rows import Row
from balancers.table_gradients import TABLE as GRADIENTS
from balancers.table_gramian import TABLE as GRAMIAN
from balancers.table_losses import TABLE as LOSSES
from balancers.table_solvers import TABLE as SOLVERS

TABLE: dict[str, Row] = {**LOSSES, **GRAMIAN, **SOLVERS, **GRADIENTS}

#: One of each way to come to weights: none, learned by gradient, by a second look, by memory of epochs, of losses or of
#: gradients, by projection, by each kind of solver, by chance, by a mask.
SHOWN = [
    *(
        "equal",
        "uncertainty",
        "famo",
        "dwa",
        "imtl_l",
        "rlw",
        "pcgrad",
        "mgda",
        "upgrad",
        "nash",
        "aligned",
        "gradnorm",
    ),
    *("graddrop", "moco", "db_mtl"),
]


def rows(others, table=TABLE):
    """Names of a table as parameters: those of `SHOWN` run by default, the others in another set.

    Args:
        others: `"long"` where each method goes its own way to the property, `"slow"` where the base class makes it.
        table: Names of balancers.
    """
    mark = getattr(pytest.mark, others)
    return [name if name in SHOWN else pytest.param(name, marks=mark) for name in table]
