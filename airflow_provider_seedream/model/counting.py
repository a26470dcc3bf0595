"""Numbers of things in sentences: ``1 row is``, ``2 rows are``. Does no I/O."""


def counted(number: float, one: str, verb: str = "", *, grouped: bool = False) -> str:
    """A number and its things, in the singular for one::

        counted(1, "row")  # 1 row
        counted(2500, "image")  # 2500 images
        counted(1, "row", "are")  # 1 row is

    :param number: an integer; of a rate, a fraction keeps as many digits as it needs.
    :param one: the word for one thing; its plural ends in ``s``.
    :param verb: ``are``, ``were``, ``have`` or ``repeat``, as it follows the number.
    :param grouped: ``2,500 images``, for a person who decides.
    """
    plain = f"{number:g}" if isinstance(number, float) else str(number)
    shown = f"{number:,}" if grouped else plain
    thing = one if number == 1 else f"{one}s"
    return f"{shown} {thing} {verb_for(number, verb)}" if verb else f"{shown} {thing}"


def verb_for(number: float, verb: str) -> str:
    """``is`` or ``was`` for one thing, else ``are`` or ``were`` as given: of ``1 of 4 rows``, the first
    number decides.
    """
    return {"are": "is", "were": "was", "have": "has", "repeat": "repeats"}[verb] if number == 1 else verb
