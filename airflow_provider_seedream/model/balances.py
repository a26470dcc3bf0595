"""A sentence about two balances of the wallet, for a request with an unknown outcome. Does no I/O.

The wallet is a hint, never a proof: this module never says that a request was surely paid or not.
"""

from decimal import Decimal, InvalidOperation


def what_follows(before: str | None, now: str | None, price_credits: int) -> str | None:
    """A sentence about the wallet before the request and now; None without a balance of before.

    It says "probably": the wallet belongs to the account, so other tasks, other programs and top-ups change
    it as well::

        what_follows("120", "120", 10)  # "120 before, 120 now: unchanged, so it was probably not paid."

    :param before: credits before the request, as the API wrote them.
    :param now: credits now; None if the wallet did not answer.
    :param price_credits: the calculated price of the request.
    """
    if before is None:
        return None
    if now is None:
        return f"{before} before; it cannot be read now."
    said = f"{before} before, {now} now"
    try:
        spent = Decimal(before) - Decimal(now)
    except InvalidOperation:  # one of them is not a number
        return f"{said}."
    if spent == 0:
        return f"{said}: unchanged, so it was probably not paid."
    if spent == price_credits:
        return f"{said}: {price_credits} less, so it was probably paid, unless others spent."
    return f"{said}: others spent or topped up, so this does not tell."
