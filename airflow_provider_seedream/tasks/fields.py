"""The fields of an operator, judged as early as they can be: static ones when the DAG is parsed, templated ones once rendered."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator, literal

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.submissions import is_static, is_template

_LITERAL = type(literal(""))  # what airflow.sdk.literal() wraps values in


class CheckedFields(BaseOperator):
    """An operator whose template fields have rules.

    :param checks: for each field a function that raises SeedreamInputError.
    """

    checks: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    _literal_fields: tuple[str, ...] = ()

    def check_static_fields(self) -> None:
        """Judge what needs no rendering; the last act of a constructor."""
        fields = {field: getattr(self, field) for field in self.template_fields}
        self._literal_fields = tuple(field for field, value in fields.items() if isinstance(value, _LITERAL))
        for field, check in self.checks.items():
            if field in fields and is_static(fields[field]):
                check(fields[field])

    def check_rendered_fields(self) -> None:
        """A template that was not rendered would be paid for as it stands."""
        for field in self.template_fields:
            if is_template(getattr(self, field)) and field not in self._literal_fields:
                raise SeedreamInputError(
                    f"{field} still holds a template after rendering. If the braces are meant, wrap it in airflow.sdk.literal()."
                )


def one_of(field: str, value: Any, *choices: str) -> str:
    """:raises SeedreamInputError: unless the value is one of the choices."""
    if value not in choices:
        raise SeedreamInputError(f"{field} must be {' or '.join(map(repr, choices))}; got {value!r}.")
    return str(value)
