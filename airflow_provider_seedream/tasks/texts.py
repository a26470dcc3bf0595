"""Renders text fields to text, also in a DAG that renders native objects.

Jinja's native rendering reads every result as Python, even text without a template: ``'a fox' 'in snow'``
becomes one word. Both ways of rendering print a missing value as "None", which would be paid as a prompt.
Airflow is not imported when a DAG is parsed.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airflow_provider_seedream.model.field_checks import is_template

TEXT_COLUMNS = frozenset(("prompt", "name"))  # of requests that are given as dicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A rendered text::

        # None: a prompt with a hole is not paid
        Rendered(text="a fox in None", prints_nothing=True, was_template=True).value

    :param prints_nothing: a part of the text came from None, NaN or a name without a value.
    :param was_template: the text was rendered from a template, so that a blank one counts as no value.
    """

    text: str
    prints_nothing: bool
    was_template: bool

    @property
    def is_blank(self) -> bool:
        return not self.text.strip() and not self.prints_nothing

    @property
    def value(self) -> str | None:
        """The text; None where its template gave nothing."""
        return None if self.prints_nothing or (self.was_template and is_nothing(self.text)) else self.text

    @property
    def column(self) -> str:
        """The text as a column of a request: "None" where its template gave nothing, which the check of
        the row refuses.
        """
        return "None" if self.value is None else self.value


class TextRenderer:
    """Renders the text fields of one task::

        TextRenderer(jinja_env, context, endings=(".txt",)).render("a fox on {{ ds }}").value

    :param environment: the DAG's Jinja environment, native or not.
    :param context: the task's.
    :param endings: ``template_ext`` of the task: text that ends so names a file that holds the template.
    """

    def __init__(self, environment: Any, context: Any, *, endings: tuple[str, ...]) -> None:
        self._environment = environment
        self._context = context
        self._endings = endings
        self._nothings = 0

    def render(self, template: str) -> Rendered:
        """:raises jinja2.TemplateError: as Airflow's rendering does."""
        from airflow.sdk.definitions.context import render_template_to_string

        self._nothings = 0
        names_file = template.endswith(self._endings) if self._endings else False
        found = self._printing.get_template(template) if names_file else self._printing.from_string(template)
        text = render_template_to_string(found, self._context)
        return Rendered(
            text=text, prints_nothing=self._nothings > 0, was_template=names_file or is_template(template)
        )

    @cached_property
    def _printing(self) -> Any:
        return self._environment.overlay(finalize=self._print)

    def _print(self, value: Any) -> str:
        """Called by Jinja for each value that a template prints, not for the text around it. Counts the
        missing ones.
        """
        from jinja2 import Undefined  # a DAG with a lenient ``template_undefined`` prints it as blank text

        self._nothings += (
            value is None or isinstance(value, Undefined) or (isinstance(value, float) and math.isnan(value))
        )
        return str(value)


def is_nothing(value: Any) -> bool:
    """True if a rendered value is None, as object or as text, or blank."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None"))
