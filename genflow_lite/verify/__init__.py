"""The ledger: every numbered claim of the book is checked where it stands.

A check compares a claim with an independent truth and shows that the same comparison
refuses the classic mistakes::

    verify.symbolic(label, claim, truth, *, rejects, what="")
    verify.close(label, claim, truth, *, rtol, rejects, atol=0.0, inputs=None, ...)
    verify.sampled(label, claim, truth, *, rejects, z=4.0, inputs=None, ...)
    verify.order(label, claim, truth, *, steps, rejects, tol=0.1, what="")

`label` is the equation's label, `what` says in a sentence what is compared with what.
Each prints one line and, in a notebook, shows a card; a failed check raises
`CheckFailed`. `mean` and `variance` turn samples into an `Estimate` with its standard
error. `exercise` tries a reader's function on the questions that `cases` makes.
"""

from genflow_lite.verify.algebra import symbolic
from genflow_lite.verify.card import CheckFailed
from genflow_lite.verify.convergence import order
from genflow_lite.verify.estimate import Estimate, mean, variance
from genflow_lite.verify.exercises import Cases, cases, exercise
from genflow_lite.verify.numerical import close, sampled

__all__ = [
    "Cases",
    "CheckFailed",
    "Estimate",
    "cases",
    "close",
    "exercise",
    "mean",
    "order",
    "sampled",
    "symbolic",
    "variance",
]
