"""``@task.seedream``, ``@task.seedream_edit``, ``@task.seedream_batch``: a function returns the request, the
operator sends it.

The returned text is sent as it stands, without Jinja. A deferral stores it, so a resumed task sends the same
request.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import (
    Context,
    DecoratedOperator,
    TaskDecorator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

# its only address; every decorator's
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.source_texts import source_list
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.tasks.fields import CheckedFields

# of the request that a deferral stores in Airflow's database: prompts and URIs fit, images do not
MAX_KEPT_CHARACTERS = 16 * 1024
_KEPT = "returned"
_STILL_SENDING = ("resume_submission", "resume_waves", "resume_answered")


class _FunctionOperator(DecoratedOperator, CheckedFields):
    """The common part of the decorated operators: call the function once, check its request, keep it
    through deferrals.
    """

    custom_operator_name: str
    # show the fields as they were sent, not as they stood before the function was called
    overwrite_rtif_after_execution = True

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        if inspect.iscoroutinefunction(python_callable):
            raise SeedreamInputError(
                f"{self.custom_operator_name} takes a plain function, not a coroutine function."
            )
        super().__init__(python_callable=python_callable, **kwargs)
        self._returned: dict[str, Any] = {}

    def execute(self, context: Context) -> Any:
        """Call the function, then do what the operator does with the request that it returned."""
        self._take(self._ask(context))
        return super().execute(context)

    def defer(self, *, kwargs: dict[str, Any] | None = None, **how: Any) -> Any:
        """Store the request with the deferral, unless it is longer than 16 KiB: the database is no place
        for images.
        """
        kept = self._returned if len(json.dumps(self._returned, default=str)) <= MAX_KEPT_CHARACTERS else None
        super().defer(kwargs={**(kwargs or {}), _KEPT: kept}, **how)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue with the stored request. If it was too large to store, call the function again, but
        only before a POST.
        """
        kwargs = dict(next_kwargs or {})
        kept = kwargs.pop(_KEPT, None)
        if kept is None and next_method in _STILL_SENDING:
            kept = self._ask(context)
        self._take(kept or {})
        return super().resume_execution(next_method, kwargs, context)

    def resume_unheard(self, context: Context) -> Any:
        """Continue a wait whose trigger sent no event. Airflow has dropped the stored request, so the
        function is called again.
        """
        self._take(self._ask(context))
        # of the operator that this is mixed into
        return super().resume_unheard(context)  # type: ignore[misc]

    def _ask(self, context: Context) -> dict[str, Any]:
        """Call the user's function with the arguments that it takes, as Airflow's own decorators do."""
        context_merge(context, self.op_kwargs)
        kwargs: Mapping[str, Any] = determine_kwargs(self.python_callable, self.op_args, context)
        return self._fields_of(self.python_callable(*self.op_args, **kwargs))

    def _fields_of(self, returned: Any) -> dict[str, Any]:
        """The returned value as fields of the operator.

        :raises SeedreamInputError: the value has another form than the operator takes.
        """
        raise NotImplementedError

    def _take(self, fields: dict[str, Any]) -> None:
        """Set the returned fields. They are sent as they stand, so braces in them are no templates."""
        # Literal, as a returned "{{ ds }}" is meant as it stands: it would be refused as a template that was
        # not rendered.
        self._returned = fields
        self._literal_fields = (*self._literal_fields, *fields)
        for field, value in fields.items():
            setattr(self, field, value)

    def _refuse(self, what: str, returned: Any) -> SeedreamInputError:
        """The error of a value that the operator cannot use. It quotes 80 characters: a value may be an
        image.
        """
        return SeedreamInputError(
            f"The function of {self.custom_operator_name} must return {what}; got {str(returned)[:80]!r}."
        )


class _GenerateDecoratedOperator(_FunctionOperator, SeedreamGenerateOperator):
    """A :class:`SeedreamGenerateOperator` whose request comes from a function.

    :param python_callable: returns the prompt, or a dict of the operator's templated fields, ``prompt`` among
        them.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *SeedreamGenerateOperator.template_fields,
    )
    custom_operator_name = "@task.seedream"
    returnable: Sequence[str] = tuple(
        field for field in SeedreamGenerateOperator.template_fields if field != "seedream_conn_id"
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(prompt=SET_DURING_EXECUTION, **kwargs)

    def _fields_of(self, returned: Any) -> dict[str, Any]:
        """A text is the prompt; a dict holds the operator's fields. :raises SeedreamInputError: anything
        else.
        """
        request = {"prompt": returned} if isinstance(returned, str) else returned
        if not isinstance(request, dict) or "prompt" not in request:
            raise self._refuse("a prompt (str) or a request (dict with a prompt)", returned)
        if unknown := [field for field in request if field not in self.returnable]:
            raise SeedreamInputError(
                f"A request may hold {', '.join(self.returnable)}; got {', '.join(map(repr, unknown))}."
            )
        return request


class _EditDecoratedOperator(_GenerateDecoratedOperator, SeedreamEditOperator):
    """The same for :class:`SeedreamEditOperator`. ``images`` are given to the decorator or returned with
    the prompt.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *SeedreamEditOperator.template_fields,
    )
    custom_operator_name = "@task.seedream_edit"
    returnable: Sequence[str] = (*_GenerateDecoratedOperator.returnable, "images", "pick")

    def __init__(self, *, images: Any = SET_DURING_EXECUTION, **kwargs: Any) -> None:
        super().__init__(images=images, **kwargs)

    def _fields_of(self, returned: Any) -> dict[str, Any]:
        """The same, with the images. They become a list of texts, in a form that a deferral can store.

        :raises SeedreamInputError: neither the function nor the decorator gives images.
        """
        request = super()._fields_of(returned)
        if self.images is SET_DURING_EXECUTION and "images" not in request:
            raise SeedreamInputError(
                "images are missing: give them to the decorator, or return them with the prompt."
            )
        if "images" in request:  # a wait keeps them: in a form that can be stored, whatever they came as
            request = {**request, "images": source_list(request["images"], counted=False)}
        return request


class _BatchDecoratedOperator(_FunctionOperator, SeedreamBatchOperator):
    """A :class:`SeedreamBatchOperator` whose table comes from a function: a list of dicts, or the URI of
    one.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *SeedreamBatchOperator.template_fields,
    )
    custom_operator_name = "@task.seedream_batch"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(requests=SET_DURING_EXECUTION, **kwargs)

    def _fields_of(self, returned: Any) -> dict[str, Any]:
        """A list of dicts, or the URI of a table. :raises SeedreamInputError: anything else."""
        if not isinstance(returned, list | str):
            raise self._refuse("requests (a list of dicts) or the URI of a table of them", returned)
        return {"requests": returned}


def seedream_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """``@task.seedream``: the function returns the prompt, or a dict of the operator's fields::

        @task.seedream(num_images=2)
        def poster(city: str) -> str:
            return f"a travel poster of {city}"

    :param kwargs: every other parameter of the
        :class:`~airflow_provider_seedream.operators.seedream.SeedreamGenerateOperator`.
    """
    return _decorator(_GenerateDecoratedOperator, python_callable, kwargs)


def seedream_edit_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """``@task.seedream_edit``: the same for edits; the ``images`` are given here or returned::

        @task.seedream_edit(images=["s3://my_conn@bucket/watch.png"])
        def at_night() -> str:
            return "make it night"

    :param kwargs: every other parameter of the
        :class:`~airflow_provider_seedream.operators.seedream.SeedreamEditOperator`.
    """
    return _decorator(_EditDecoratedOperator, python_callable, kwargs)


def seedream_batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """``@task.seedream_batch``: the function returns the requests (a list of dicts), or the URI of a table of
    them::

        @task.seedream_batch(max_credits=500)
        def posters(cities: list[str]) -> list[dict]:
            return [{"prompt": f"a travel poster of {city}", "name": city} for city in cities]

    :param kwargs: every other parameter of the
        :class:`~airflow_provider_seedream.operators.batch.SeedreamBatchOperator`.
    """
    return _decorator(_BatchDecoratedOperator, python_callable, kwargs)


def _decorator(
    cls: type[DecoratedOperator], python_callable: Callable[..., Any] | None, kwargs: dict[str, Any]
) -> TaskDecorator:
    """The result stays one XCom, whatever return type the function names: that is of the request, not of
    the task.
    """
    return task_decorator_factory(
        python_callable, multiple_outputs=False, decorated_operator_class=cls, **kwargs
    )
