"""The result of one task: a value or the error it raised."""

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lurker.errors import LurkerError

MAX_RETRIES = 2
"""How often a task whose process or node died is started again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task."""

    value: Any = None
    """What the function returned; None if it failed."""
    error: Exception | None = None
    """What the function raised, or a LurkerError if its process or node died; None if it succeeded."""

    def result(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


def call(function: Callable[..., Any], task: dict[str, Any]) -> Outcome:
    """Call `function(**task)` and catch what it raises, except Ctrl-C."""
    try:
        return Outcome(function(**task))
    except Exception as error:  # noqa: BLE001 - the caller decides what an error of a task means
        return Outcome(error=error)


def portable(outcome: Outcome) -> bytes:
    """Pickle an outcome so that it can be read in another process.

    An error keeps its traceback as a note. A value or error that cannot be pickled becomes an error that says so.
    """
    error = outcome.error
    if error is not None and not isinstance(error, LurkerError):
        error.add_note("Traceback of the worker:\n" + "".join(traceback.format_exception(error)))
    try:
        pickled = pickle.dumps(outcome)
        if error is not None:
            pickle.loads(pickled)  # some errors can be written but not read
        return pickled
    except Exception as failure:  # noqa: BLE001 - pickling runs code of any class
        what = "".join(traceback.format_exception(error)) if error else f"a {type(outcome.value).__name__}"
        return pickle.dumps(Outcome(error=RuntimeError(f"The task's result cannot be pickled ({failure}): {what}")))
