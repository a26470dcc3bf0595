"""The statuses of a row in the table of results: how it ended."""

from typing import Literal, get_args

# landed         every image is in the destination
# partial        fewer images came than were asked for; those are in the destination
# failed         the generation failed, or its images could not be landed
# moderated      refused by the safety checker
# expired        paid, but the API deleted the results before they were landed
# unknown        the POST may have been accepted and paid: counted as spent
# skipped_budget not sent: max_credits was reached
# skipped        not sent: the batch was stopped before its turn
# invalid        not sent: the row is against the rules
Status = Literal[
    "landed", "partial", "failed", "moderated", "expired", "unknown", "skipped_budget", "skipped", "invalid"
]


def no_results() -> dict[Status, int]:
    """A count of zero for each status."""
    return dict.fromkeys(get_args(Status), 0)
