"""The outcomes of a paid request: what each permits when the same request is submitted again, and their
order. Never imports HTTP, storage or Airflow.
"""

from typing import Literal

# outcome      paid for?            the same request submitted again ...
# intent       unknown              waits as long as its POST may take, by the store's clock, then is unknown
# unknown      unknown              fails, naming the record; on_unknown_submit="resubmit": the next attempt
# submitted    yes                  attaches to the generation
# landed       yes                  attaches
# partial      yes                  attaches
# failed       refunded if refunded opens the next attempt when refunded, else attaches
# expired      yes                  attaches
# not_paid     no                   takes the place of the record: its file counts as missing
Outcome = Literal["intent", "unknown", "submitted", "landed", "partial", "failed", "expired"]
Freed = Literal["not_paid"]
ORDER: dict[Outcome | Freed, int] = {
    "intent": 0,
    "unknown": 1,
    "not_paid": 1,
    "submitted": 2,
    "failed": 3,
    "expired": 3,
    "partial": 4,
    "landed": 5,
}
