"""A plan: the difference between a table of requests and its destination. Which rows would be paid, and which
are paid already.

The value alone, with the limits that it is made under: reads no table and no ledger, and imports no storage.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from airflow_provider_seedream.model import contract

# pay          would be sent and paid
# pay_again    would be paid: its earlier generation failed and was refunded
# over_budget  would be paid, but max_credits or max_credits_per_run is spent by then
# repeat       equals an earlier row: shares its generation, at no cost
# landed       paid, and the images are in the destination
# in_flight    paid at most 10 minutes ago; a run waits for it
# not_landed   paid; a run lands it for free, as long as the API keeps its images
# lost         paid, and the API has deleted the images, or the generation failed without a refund
# unknown      an earlier POST may have been paid: to be resolved by a person
# name_taken   its name belongs to another request in this destination: a run refuses it
# invalid      the row is against the rules: a run refuses it
Status = Literal[
    "pay",
    "pay_again",
    "over_budget",
    "repeat",
    "landed",
    "in_flight",
    "not_landed",
    "lost",
    "unknown",
    "name_taken",
    "invalid",
]


@dataclass(slots=True, kw_only=True)
class Plan:
    """The plan of a table. The counts of all statuses add up to the rows::

        plan = plan_table(table, request_of=request_of, ledger=Ledger("s3://my_conn@bucket/campaign"))
        plan.credits, plan.count["landed"]  # (1200, 880): 120 rows to pay, 880 are there

    :param count: rows by status; the table above explains them.
    :param requests: POSTs that a run would send.
    :param images: that they would make, at most.
    :param credits: that they would cost, at most.
    :param credits_at_risk: of the rows whose POST had an unknown outcome: perhaps paid.
    :param within_caps: ``requests`` and ``credits`` for which the connection's ``caps`` leave room now; None
        without caps.
    :param minutes: that the POSTs take at the rate limit.
    :param land_before: when the API deletes the first images of the rows ``not_landed`` (ISO 8601 UTC); None
        without such rows.
    :param other_requests: records in this ledger that belong to no row: of an earlier table, or of other
        tasks.
    :param notes: the first rows that a person has to look at, e.g. ``line 7 of requests.csv: unknown, record
        s3://...``.
    """

    rows: int = 0
    count: dict[Status, int] = field(default_factory=lambda: dict.fromkeys(get_args(Status), 0))
    requests: int = 0
    images: int = 0
    credits: int = 0
    credits_at_risk: int = 0
    within_caps: dict[str, Any] | None = None
    minutes: float = 0.0
    land_before: str | None = None
    other_requests: int = 0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON, for the XCom of a dry run and for ``airflow seedream plan --output
        json``.
        """
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """The limits of the run that is planned::

        PlanLimits(credits_per_image=10, requests_per_minute=60, max_credits=5000)

    :param credits_per_image: the price; 10 [doc].
    :param requests_per_minute: of the key; 3 [doc].
    :param max_credits: as the operator's, in credits; None for no limit.
    :param max_credits_per_run: likewise.
    :param pays_unknown: True with ``on_unknown_submit="resubmit"``.
    """

    credits_per_image: int = contract.CREDITS_PER_IMAGE
    requests_per_minute: float = contract.DEFAULT_REQUESTS_PER_MINUTE
    max_credits: int | None = None
    max_credits_per_run: int | None = None
    pays_unknown: bool = False
