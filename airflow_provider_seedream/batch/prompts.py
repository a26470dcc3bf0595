"""A prompt for each row, from one Jinja template.

Row values are data, so braces in them are not rendered. Pure; imports no Airflow, its context comes in as a
mapping. Jinja is imported when a template is made, as a batch without one needs no Jinja.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError

# Airflow's own, which its templates have everywhere: `{{ dag_run.run_after | ds }}`.
_FILTERS: dict[str, Callable[[datetime], str]] = {
    "ds": lambda moment: moment.strftime("%Y-%m-%d"),
    "ds_nodash": lambda moment: moment.strftime("%Y%m%d"),
    "ts": lambda moment: moment.isoformat(),
    "ts_nodash": lambda moment: moment.strftime("%Y%m%dT%H%M%S"),
}


class PromptTemplate:
    """A compiled template. A variable that is missing in both the row and the context is an error, not an
    empty string::

        PromptTemplate("a {{ colour }} watch").render({"colour": "red"})  # "a red watch"

    Templates run in Jinja's sandbox. The filters ``ds``, ``ds_nodash``, ``ts`` and ``ts_nodash`` are there as
    in Airflow.

    :param text: the operator's ``template``.
    :param context: values for every row; a row's column of the same name takes precedence.
    :raises SeedreamInputError: the text is not a template.
    """

    def __init__(self, text: Any, context: Mapping[str, Any] | None = None) -> None:
        from jinja2 import StrictUndefined, TemplateSyntaxError
        from jinja2.sandbox import SandboxedEnvironment

        if not isinstance(text, str) or not text.strip():
            raise SeedreamInputError(f"template must be a Jinja template for the prompt; got {text!r:.80}.")
        # The prompt goes to the API, not into a page: there is nothing to escape.
        environment = SandboxedEnvironment(
            undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=_given
        )
        environment.filters.update(_FILTERS)
        self._context = dict(context or {})
        try:
            self._template = environment.from_string(text)
        except TemplateSyntaxError as error:
            raise SeedreamInputError(
                f"template is no Jinja template: {error.message} (line {error.lineno})."
            ) from None

    def render(self, columns: Mapping[str, Any]) -> str:
        """The prompt of a row.

        :param columns: of the row, free columns among them.
        :raises SeedreamInputError: a column is missing, or the template cannot be applied to this row.
        """
        from jinja2 import TemplateError, UndefinedError

        try:
            return self._template.render({**self._context, **columns})
        except SeedreamInputError:
            raise
        except UndefinedError as error:
            raise SeedreamInputError(f"template: {error.message}.") from None
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise SeedreamInputError(
                f"template cannot be applied ({type(error).__name__}: {error})."
            ) from None


def _given(value: Any) -> str:
    """A value that the template prints.

    :raises SeedreamInputError: when it is missing: the prompt would say "None".
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise SeedreamInputError(
            "template prints a value that is missing (None). Give it a default: {{ ... or 'a default' }}."
        )
    return str(value)
