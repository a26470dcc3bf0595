"""The verdicts: the capital words that every error begins with, and where the documentation explains them.

One list for the code and for the documentation: each verdict is a heading of ``docs/troubleshooting.md``, and
a test compares the two. Imports nothing.
"""

HELP_PAGE = "troubleshooting.md"

# verdict                  what happened, for a person who has ten seconds
VERDICTS: dict[str, str] = {
    "WRONG INPUT": "a parameter, a row of a table or a source image breaks a rule; nothing was sent",
    "CONNECTION MISSING": "Airflow has no connection of this id",
    "KEY MISSING": "the connection holds no API key",
    "KEY REFUSED": "the API refuses the key of the connection",
    "WRONG HOST": "the host of the connection is not the base URL of the API",
    "EXTRA MISSING": "a Python package is not installed on this worker",
    "BUCKET MISSING": "the bucket of the destination does not exist",
    "STORAGE UNSUITABLE": "the storage cannot keep two workers from paying twice",
    "STORAGE FAILED": "the storage did not read or write a record",
    "BUDGET REACHED": "the request costs more than the rest of its budget",
    "CAP REACHED": "a cap of the connection leaves no room in this UTC day or month",
    "REQUEST REFUSED": "the API refuses this request for good",
    "EMPTY WALLET": "the wallet holds too few credits",
    "NOT FOUND": "the API does not know this generation",
    "RATE LIMIT": "too many requests, or no turn came in time",
    "API FAILED": "the API answered a free call with an error of its own",
    "API NOT REACHED": "the request did not reach the API",
    "UNKNOWN OUTCOME": "a request left and no answer came: it may be paid",
    "BAD ANSWER": "the API's answer breaks its contract",
    "GENERATION FAILED": "the API accepted the request and then made no image",
    "REFUSED BY MODERATION": "the safety checker refused the prompt or the images",
    "RESULTS EXPIRED": "the API has deleted the images after 24 h",
    "NOT READY IN TIME": "the images were not ready within the time limit",
    "API UNAVAILABLE": "the API did not answer for too long while a task waited",
    "IMAGES NOT LANDED": "images are paid and not in your storage yet",
    "FEWER IMAGES": "the API made fewer images than were asked for",
    "ROWS NOT LANDED": "rows of a batch have no images",
    "TOO MANY FAILURES": "too many rows of a batch did not land, so it sent no more",
    "TABLE NOT WRITTEN": "the images of a batch have landed, and the database did not take the results",
    "NO ANSWER IN TIME": "nobody said yes to the rest of a batch within the time limit",
    "NO TOP-UP IN TIME": "the wallet was not topped up within the time limit",
    "UNEXPECTED ERROR": "an error that is not one of this provider",
}


def anchor(verdict: str) -> str:
    """The place where the documentation explains a verdict: ``troubleshooting.md#unknown-outcome``. Lasting,
    as people bookmark it.

    :param verdict: one of ``VERDICTS``.
    """
    return f"{HELP_PAGE}#{verdict.lower().replace(' ', '-')}"
