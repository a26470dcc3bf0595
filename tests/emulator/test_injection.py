"""Which requests an injected fault strikes, how often, and what it may say; and how magic words are read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_seedream.emulator import Emulator, Fault
from airflow_provider_seedream.emulator.magic import magic_faults
from tests.emulator.client import Client, data_uri, get


class TestWhichRequests:
    def test_a_fault_strikes_only_so_many_times(self, client: Client, emulator: Emulator) -> None:
        emulator.inject("refuse", status=503, times=2)
        assert [client.post({"prompt": "a"}).status_code for _ in range(3)] == [503, 503, 200]

    def test_a_fault_strikes_only_until_an_instant(self, client: Client, emulator: Emulator) -> None:
        task_id = client.submit()
        emulator.inject("refuse", endpoint="status", until_epoch=emulator.clock.now() + 300)
        assert client.status(task_id).status_code == 503
        emulator.clock.advance(300)
        assert client.status(task_id).status_code == 200

    def test_a_fault_strikes_only_prompts_with_a_word(self, client: Client, emulator: Emulator) -> None:
        emulator.inject("refuse", prompt_contains="fox")
        assert [client.post({"prompt": prompt}).status_code for prompt in ("a fox", "an owl")] == [503, 200]

    def test_a_fault_strikes_only_one_kind_of_submission(self, client: Client, emulator: Emulator) -> None:
        emulator.inject("refuse", endpoint="edit")
        body = {"prompt": "a", "image_urls": [data_uri()]}
        assert client.post(body, "edit").status_code == 503
        client.submit()

    def test_a_fault_strikes_only_the_wallet(self, client: Client, emulator: Emulator) -> None:
        emulator.inject("refuse", endpoint="wallet", status=500, shape="html")
        assert client.wallet().status_code == 500
        client.submit()

    def test_a_fault_strikes_only_one_task_even_an_unknown_one(
        self, client: Client, emulator: Emulator
    ) -> None:
        task_id = client.submit()
        emulator.inject("refuse", endpoint="status", seedream_task_id="no-such-task")
        assert client.status("no-such-task").status_code == 503
        assert client.status(task_id).status_code == 200

    def test_a_fault_strikes_only_one_image(self, client: Client, emulator: Emulator) -> None:
        emulator.inject("refuse", endpoint="download", status=403, image_index=1)
        links = [result["asset"] for result in client.finished(num_images=3)["results"]]
        assert [get(link).status_code for link in links] == [200, 403, 200]

    def test_which_image_stays_null_can_be_chosen(self, client: Client, emulator: Emulator) -> None:
        emulator.inject("one-null", image_index=0)
        assert [bool(result["asset"]) for result in client.finished(num_images=2)["results"]] == [False, True]

    def test_the_course_of_a_running_generation_can_be_changed(
        self, client: Client, emulator: Emulator
    ) -> None:
        task_id = client.submit()
        emulator.inject("fail", seedream_task_id=task_id, message="out of luck")
        emulator.clock.advance(1000)
        assert client.status(task_id).json()["failure_reason"] == "out of luck"
        assert emulator.books.credits_refunded == 10

    def test_clearing_ends_them_all(self, client: Client, emulator: Emulator) -> None:
        emulator.inject(Fault("refuse"))
        emulator.faults.clear()
        client.submit()


class TestWhatTheySay:
    def test_a_refusal_can_be_worded(self, client: Client, emulator: Emulator) -> None:
        emulator.inject("refuse", status=402, code="no_money", message="broke", shape="code_detail")
        assert client.post({"prompt": "a"}).json() == {"code": "no_money", "detail": "broke"}

    @pytest.mark.parametrize(("form", "length"), [("seconds", 2), ("date", 29)])
    def test_retry_after_can_be_given(
        self, client: Client, emulator: Emulator, form: str, length: int
    ) -> None:
        emulator.inject("refuse", status=503, retry_after_seconds=30, retry_after_form=form)
        assert len(client.post({"prompt": "a"}).headers["Retry-After"]) == length

    def test_a_plain_refusal_says_nothing_of_retrying(self, client: Client, emulator: Emulator) -> None:
        emulator.inject("refuse", status=429)
        assert "Retry-After" not in client.post({"prompt": "a"}).headers

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no such fault: 'explode'"):
            Fault("explode")

    def test_an_unknown_endpoint_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no such endpoint"):
            Fault("refuse", endpoint="list")  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", [{}, {"kind": "fail", "when": "now"}])
    def test_json_that_is_no_fault_is_refused(self, value: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"kind|when"):
            Fault.from_dict(value)

    def test_a_fault_survives_json(self) -> None:
        fault = Fault("refuse", endpoint="status", status=500, times=3, prompt_contains="fox")
        assert Fault.from_dict(fault.to_dict()) == fault


class TestMagicWords:
    @pytest.mark.parametrize(
        ("prompt", "fault"),
        [
            ("a [fail] b", Fault("fail")),
            ("[status/refuse:500*3]", Fault("refuse", endpoint="status", status=500, times=3)),
            ("[late-assets:1.5]", Fault("late-assets", seconds=1.5)),
            ("[redirect:http://h:1/x?a=b]", Fault("redirect", url="http://h:1/x?a=b")),
        ],
    )
    def test_a_word_is_a_fault_for_that_very_prompt(self, prompt: str, fault: Fault) -> None:
        assert magic_faults(prompt) == (replace(fault, prompt=prompt),)

    def test_several_words_are_several_faults(self) -> None:
        assert [fault.kind for fault in magic_faults("[takes:2] a fox [partial:1][truncated*1]")] == [
            "takes",
            "partial",
            "truncated",
        ]

    @pytest.mark.parametrize(
        "prompt", ["[a bracket] [bold] [1] []", "[FAIL]", "fail", "[nowhere/fail]", "[fail"]
    )
    def test_other_brackets_are_just_a_prompt(self, prompt: str) -> None:
        assert magic_faults(prompt) == ()

    def test_other_prompts_are_spared(self, client: Client) -> None:
        assert client.post({"prompt": "[refuse:503]"}).status_code == 503
        client.submit("a fox")

    def test_counts_are_kept_per_prompt(self, client: Client) -> None:
        for prompt in ("[refuse:503*1] one", "[refuse:503*1] two"):
            assert [client.post({"prompt": prompt}).status_code for _ in range(2)] == [503, 200]
