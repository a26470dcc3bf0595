"""The template fields of a task: rendered with their types kept, and checked as early as possible.

Static values are checked when the DAG is parsed, templated ones after rendering and before the request is
sent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

from airflow.providers.common.compat.sdk import Context, literal

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.field_checks import is_static, is_template
from airflow_provider_seedream.tasks.reporting import ReportingTask
from airflow_provider_seedream.tasks.texts import TEXT_COLUMNS, TextRenderer, is_nothing

T = TypeVar("T")
_LITERAL = type(literal(""))  # the class in which airflow.sdk.literal() wraps values
_SHOWN_CHARACTERS = 200  # of a template that an error quotes


class CheckedFields(ReportingTask):
    """A task whose template fields have rules. Fields that a user's subclass adds are not checked::

        checks: ClassVar = {"prompt": check_prompt, "num_images": check_num_images}

    :cvar checks: for each of our fields a function that raises SeedreamInputError.
    :cvar text_fields: fields that are text. They are rendered to text in every DAG, also in one that renders
        native objects (``render_template_as_native_obj``), which would read the prompt ``"Summer sale"`` as a
        Python string and drop the quotes.
    :cvar given_fields: fields whose template must give a value. None or blank text is an error: the prompt
        "None" would be paid, or an empty budget would mean "no limit".
    :cvar may_be_blank: those of them whose template may give blank text, which means the default.
    """

    checks: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    text_fields: ClassVar[tuple[str, ...]] = ("destination", "name", "seedream_conn_id")
    given_fields: ClassVar[tuple[str, ...]] = text_fields
    may_be_blank: ClassVar[tuple[str, ...]] = ()
    _literal_fields: tuple[str, ...] = ()
    # field -> the template that gave None or blank text
    _gave_nothing: Mapping[str, str] = MappingProxyType({})
    _texts: TextRenderer | None = None  # while fields are rendered
    _rendering: str = ""  # the field that is rendered
    _wrong: tuple[str, ...] = ()  # errors of the arguments, while the constructor runs

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task, as Airflow does, with its static template fields checked when the DAG is
        parsed.

        Airflow itself checks the names of arguments there and leaves the values to the worker, which makes
        the tasks.

        :raises SeedreamInputError: as :meth:`check_static_fields`.
        """
        wrong: list[str] = []
        for field, check in cls.checks.items():
            value = kwargs.get(field)
            if value is not None and is_static(value) and cls._is_our_argument(field):
                try:
                    check(value)
                except SeedreamInputError as error:
                    wrong.append(error.message)
        if wrong:
            refusal = _wrong_arguments(kwargs.get("task_id"), wrong)
            refusal.is_at_parse = True
            raise refusal
        return super().partial(**kwargs)

    @classmethod
    def _is_our_argument(cls, name: str) -> bool:
        """True if the constructor that takes the argument is ours: a user's subclass may mean something
        else by it.
        """
        takes = (
            one for one in cls.__mro__ if name in signature(vars(one).get("__init__", object)).parameters
        )
        return next(takes, cls).__module__.startswith(f"{__name__.partition('.')[0]}.")

    def checked(self, check: Callable[..., T], *given: Any) -> T:
        """The checked value of an argument that is not templated. A wrong one is noted, so that one error
        names all of them::

            self.timeout = self.checked(as_seconds, "timeout", timeout)

        :returns: a stand-in for a wrong value, which is not used: :meth:`check_static_fields` raises at the
            end of the constructor.
        """
        try:
            return check(*given)
        except SeedreamInputError as error:
            self._wrong = (*self._wrong, error.message)
            return cast(T, 1.0)  # Airflow's own constructor of a sensor wants numbers

    def check_static_fields(self) -> None:
        """Check the static fields, at the end of a constructor. The constructor of a subclass has not
        finished by then.

        :raises SeedreamInputError: names the task, and each of its wrong arguments with its rule.
        """
        for field, check in self.checks.items():
            if hasattr(self, field) and is_static(getattr(self, field)):
                self.checked(check, getattr(self, field))
        if wrong := list(dict.fromkeys(self._wrong)):
            error = _wrong_arguments(self.task_id, wrong)
            error.is_at_parse = not self._is_unmapped
            if self._is_unmapped:
                # a worker makes the task from a mapped one, before it can fail in `execute`
                self.report_failure(error)
            raise error

    @property
    def _is_unmapped(self) -> bool:
        """True for a task that a worker makes from a mapped one: its constructor runs when the task does."""
        return bool(getattr(self, "_BaseOperator__from_mapped", False))

    def check_rendered_fields(self) -> None:
        """Check the rendered fields, before the request is sent.

        :raises SeedreamInputError: a template gave no value, or was not rendered, so the template text itself
            would be paid.
        """
        for field, template in self._gave_nothing.items():
            raise SeedreamInputError(
                f"{field} must not be blank: its template gave nothing (None, or blank text): "
                f"`{template[:_SHOWN_CHARACTERS]}`. "
                "Check the XCom, param or variable that it reads, or give a default: {{ ... or 'a default' "
                "}}."
            )
        for field in (*self.checks, "seedream_conn_id"):
            if is_template(getattr(self, field, None)) and field not in self._literal_fields:
                raise SeedreamInputError(
                    f"{field} still holds a template after rendering. If the braces are meant, wrap it in "
                    "airflow.sdk.literal()."
                )

    def render_template(
        self, content: Any, context: Context, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        """Render as Airflow does, but fields and columns that are text become text, and text without a
        template stays text.

        :param content: the value of a field, or a part of it: Airflow calls this for each item of a list or
            dict.
        :param seen_oids: ids of the objects that are being rendered, so that a list that holds itself ends.
        """
        texts = self._texts
        if texts is None or id(content) in (seen_oids or ()):
            return super().render_template(content, context, jinja_env, seen_oids)
        if isinstance(content, str) and (self._rendering in self.text_fields or not is_template(content)):
            rendered = texts.render(content)
            return (
                rendered.text
                if rendered.is_blank and self._rendering in self.may_be_blank
                else rendered.value
            )
        if type(content) is dict and self._rendering in self.checks and not TEXT_COLUMNS.isdisjoint(content):
            given = [name for name in TEXT_COLUMNS if isinstance(content.get(name), str)]
            columns = {name: texts.render(content[name]).column for name in given}
            others = {name: value for name, value in content.items() if name not in columns}
            rendered = super().render_template(others, context, jinja_env, seen_oids)
            return {name: columns[name] if name in columns else rendered[name] for name in content}
        return super().render_template(content, context, jinja_env, seen_oids)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Any,
        seen_oids: set[int],
    ) -> None:
        """Airflow's own hook for rendering, called for plain and for mapped tasks (3.1 to 3.3).

        Fields are rendered one by one, so that each is known to be a text or not, and that a template without
        a value is noted under its field.
        """
        if parent is not self:
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
            return
        before = {field: getattr(self, field, None) for field in template_fields}
        self._literal_fields = tuple(field for field, value in before.items() if isinstance(value, _LITERAL))
        self._texts = TextRenderer(jinja_env, context, endings=tuple(self.template_ext))
        self._gave_nothing = {}
        try:
            for field, value in before.items():
                self._rendering = field
                super()._do_render_template_fields(self, [field], context, jinja_env, seen_oids)
                # Note a template or an XCom that gave nothing.
                after = getattr(self, field, None)
                if (
                    field in self.text_fields
                    and isinstance(after, int | float)
                    and not isinstance(after, bool)
                ):
                    setattr(self, field, str(after))
                is_optional = field not in self.given_fields or (after == "" and field in self.may_be_blank)
                if not is_optional and not is_static(value) and is_nothing(after):
                    self._gave_nothing = {**self._gave_nothing, field: str(value)}
                    setattr(self, field, None)
        finally:
            self._texts, self._rendering = None, ""


def _wrong_arguments(task_id: Any, wrong: Sequence[str]) -> SeedreamInputError:
    one = f"Task {task_id!r}: {wrong[0]}"
    # Airflow shows it as it is
    many = "\n  ".join([f"Task {task_id!r} has {len(wrong)} wrong arguments.", *wrong])
    return SeedreamInputError(one if len(wrong) == 1 else many)


def one_of(field: str, value: Any, *choices: str) -> str:
    """The value as text.

    :param field: the argument's name, for the error.
    :raises SeedreamInputError: unless the value is one of the choices; the text suggests the nearest of them.
    """
    if value not in choices:
        from airflow_provider_seedream.model.close_matches import did_you_mean

        meant = did_you_mean(value, choices)
        raise SeedreamInputError(f"{field} must be {' or '.join(map(repr, choices))}; got {value!r}.{meant}")
    return str(value)


def check_budget(field: str, value: Any) -> int | None:
    """Credits, or None for no limit.

    :raises SeedreamInputError: for anything but an integer of at least 0.
    :param field: the argument's name, for the error.
    :param value: an integer, or its decimal digits as a template renders them; None for no limit.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SeedreamInputError(
            f"{field} must be an integer of credits, at least 0, or None for no limit; got {value!r}."
        )
    return value


def check_callbacks(value: Any) -> list[Callable[[Any], Any]]:
    """The callbacks of ``on_budget_warning`` as a list, as Airflow takes ``on_failure_callback``.

    :raises SeedreamInputError: something in it cannot be called.
    """
    given = [] if value is None else value
    callbacks = list(given) if isinstance(given, list | tuple) else [given]
    if not all(map(callable, callbacks)):
        raise SeedreamInputError(
            "on_budget_warning must be a function of the context, a notifier of Airflow's, or a list of "
            f"them; got {value!r:.80}."
        )
    return callbacks
