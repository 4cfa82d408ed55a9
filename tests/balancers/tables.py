"""The conformance table: one row for every balancer, from the table of each family."""

from balancers.rows import Row
from balancers.table_gradients import TABLE as GRADIENTS
from balancers.table_gramian import TABLE as GRAMIAN
from balancers.table_losses import TABLE as LOSSES
from balancers.table_solvers import TABLE as SOLVERS

TABLE: dict[str, Row] = {**LOSSES, **GRAMIAN, **SOLVERS, **GRADIENTS}
