"""What may be sent, what makes a request the same one, and the bytes of its body."""

from __future__ import annotations

import base64
import json
import unicodedata
from dataclasses import replace
from typing import Any, get_args

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.resending import SubmissionBody
from airflow_provider_seedream.model.contract import ImageSize
from airflow_provider_seedream.model.field_checks import is_template
from airflow_provider_seedream.model.names import check_name
from airflow_provider_seedream.model.source_texts import check_source_count
from airflow_provider_seedream.model.submissions import check_source, sha256_json
from tests.unit.values import edit, png, submission

REFUSED: list[tuple[str, Any, str]] = [
    ("prompt", "", "must not be blank"),
    ("prompt", " \n\t", "must not be blank"),
    ("prompt", "None", "must not be blank"),
    ("prompt", " nan ", "must not be blank"),
    ("prompt", "<NA>", "must not be blank"),
    ("prompt", "NULL", "must not be blank"),
    ("prompt", None, "must be a string"),
    ("prompt", ["a fox"], "must be a string"),
    ("prompt", 7, "must be a string"),
    ("image_size", "AUTO_2K", "must be one of"),
    ("image_size", "auto_2k", "must be one of"),
    ("image_size", "4K", "must be one of"),
    ("image_size", None, "must be one of"),
    ("image_size", ["square"], "must be one of"),
    ("num_images", 0, "an integer from 1 to 6"),
    ("num_images", 7, "an integer from 1 to 6"),
    ("num_images", -1, "an integer from 1 to 6"),
    ("num_images", True, "an integer from 1 to 6"),
    ("num_images", "2x", "an integer from 1 to 6"),
    ("num_images", "", "an integer from 1 to 6"),
    ("num_images", 2.0, "an integer from 1 to 6"),
    ("num_images", None, "an integer from 1 to 6"),
    ("num_images", [2], "an integer from 1 to 6"),
    ("seed", -1, "an integer of at least 0"),
    ("seed", "-1", "an integer of at least 0"),
    ("seed", 1.5, "an integer of at least 0"),
    ("seed", False, "an integer of at least 0"),
    ("seed", "random", "an integer of at least 0"),
    ("enable_safety_checker", "yes", "must be true or false"),
    ("enable_safety_checker", 1, "must be true or false"),
    ("enable_safety_checker", None, "must be true or false"),
    ("take", 0, "an integer of at least 1"),
    ("take", True, "an integer of at least 1"),
    ("take", None, "an integer of at least 1"),
]
TAKEN: list[tuple[str, Any, Any]] = [
    ("prompt", "  a fox  ", "  a fox  "),
    ("prompt", "Nan", "Nan"),  # a grandmother
    ("num_images", "3", 3),
    ("num_images", " 6 ", 6),
    ("seed", 0, 0),
    ("seed", "0", 0),
    ("seed", "None", None),
    ("seed", "", None),
    ("seed", 2**40, 2**40),
    ("enable_safety_checker", "False", False),
    ("enable_safety_checker", " true ", True),
    ("take", "2", 2),
]


class TestWhatIsTaken:
    @pytest.mark.parametrize(("field", "value", "rule"), REFUSED)
    def test_a_value_against_the_rules_is_refused_naming_the_field_and_the_rule(
        self, field: str, value: Any, rule: str
    ) -> None:
        with pytest.raises(SeedreamInputError, match=rule) as refused:
            submission(**{field: value})
        assert refused.value.message.startswith(field)
        assert refused.value.paid == "no"

    @pytest.mark.parametrize(("field", "value", "read_as"), TAKEN)
    def test_what_a_template_renders_to_is_read_as_the_api_wants_it(
        self, field: str, value: Any, read_as: Any
    ) -> None:
        assert getattr(submission(**{field: value}), field) == read_as

    @pytest.mark.parametrize("size", get_args(ImageSize))
    def test_every_size_of_the_contract_is_taken(self, size: str) -> None:
        assert submission(image_size=size).parameters()["image_size"] == size

    def test_a_long_prompt_is_not_repeated_in_the_refusal_of_another_field(self) -> None:
        with pytest.raises(SeedreamInputError) as refused:
            submission(image_size="x" * 10_000)
        assert len(str(refused.value)) < 400

    @pytest.mark.parametrize("count", [0, 11])
    def test_an_edit_takes_one_to_ten_sources(self, count: int) -> None:
        with pytest.raises(SeedreamInputError, match="1 to 10"):
            edit(*[png()] * count)

    @pytest.mark.parametrize("text", ["abc", b"abc"])
    def test_a_bare_string_is_no_list_of_sources(self, text: str | bytes) -> None:
        with pytest.raises(SeedreamInputError, match="list"):
            check_source_count(text)

    @pytest.mark.parametrize(
        "name",
        [
            "ป้ายที่หนึ่ง",
            "हिन्दी",
            "क्षत्रिय",
            "বাংলা",
            "தமிழ்",
            "ظَبْيٌ",
            "שָׁלוֹם",
            "ត្រី",
            "می\u200cشد",
            "র\u200d্যাব",
            "Ẹ̀kọ́",
            "q\u0323 2",
        ],
    )
    def test_marks_belong_to_the_letter_before_them(self, name: str) -> None:
        assert check_name(name) == name

    @pytest.mark.parametrize(
        "name", ["Gro\u0308ße", "Vie\u0302\u0323t", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "\u212b"]
    )
    def test_a_name_in_decomposed_letters_is_the_composed_one(self, name: str) -> None:
        assert check_name(name) == unicodedata.normalize("NFC", name) != name

    @pytest.mark.parametrize(
        "name",
        [
            "\u0301a",
            "1\u0301",
            "a \u0301",
            "a\u200c",
            "\u200da",
            "a\u200c\u200da",
            "a\u200b",
            "a\u202eb",
            "1\u20e3",
            "a\u2028",
            "☕",
        ],
    )
    def test_marks_and_joiners_without_a_letter_are_refused(self, name: str) -> None:
        with pytest.raises(SeedreamInputError, match="name must be a bare file name"):
            check_name(name)

    @pytest.mark.parametrize("name", ["hero", "a b", "Größe_1", "x" * 150, "2026-02-25", "v1.2"])
    def test_a_bare_file_name_is_taken(self, name: str) -> None:
        assert check_name(name) == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".hidden",
            "_seedream",
            "a/b",
            "..",
            "a\\b",
            "x" * 151,
            "a\n",
            "a ",
            7,
            "a\x00b",
            "-x",
            "{{ ds }}",
        ],
    )
    def test_a_name_that_could_leave_the_folder_is_refused(self, name: Any) -> None:
        with pytest.raises(SeedreamInputError, match="name must be a bare file name"):
            check_name(name)

    @pytest.mark.parametrize(
        ("value", "is_one"),
        [("a {{ ds }}", True), ("{% if x %}", True), ("{# x #}", True), ("a { b }", False), (3, False)],
    )
    def test_a_template_is_told_from_plain_text(self, value: Any, is_one: bool) -> None:
        assert is_template(value) is is_one


class TestSources:
    def test_a_source_is_known_by_its_bytes(self) -> None:
        source = check_source("s3://in/fox.jpg", png())
        assert (source.media_type, len(source.sha256)) == ("image/png", 64)

    @pytest.mark.parametrize(
        "data", [b"plain text", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WAVE", b"\xff\xd8\xff"]
    )
    def test_what_is_no_image_is_refused_by_name(self, data: bytes) -> None:
        with pytest.raises(SeedreamInputError, match=r"s3://in/fox.png is not a JPEG"):
            check_source("s3://in/fox.png", data)

    def test_a_source_above_ten_megabytes_is_refused(self) -> None:
        limit = 10 * 1024 * 1024
        data = png(padding_bytes=limit - len(png()) - 12)
        assert len(data) == limit
        check_source("x", data)
        with pytest.raises(SeedreamInputError, match="has more than 10485760 bytes"):
            check_source("x", png(padding_bytes=limit))

    @pytest.mark.parametrize(
        ("width", "height", "says"),
        [
            (240, 15, None),
            (15, 240, None),
            (241, 15, "aspect must be 1:16 to 16:1"),
            (15, 241, "aspect must be 1:16 to 16:1"),
            (14, 14, "at least 15 pixels"),
            (6000, 6000, None),
            (6001, 6000, "36,006,000 pixels; at most 36,000,000"),
        ],
    )
    def test_its_size_must_be_as_the_models_owner_takes_it(
        self, width: int, height: int, says: str | None
    ) -> None:
        if says is None:
            check_source("x", png(width, height))
        else:
            with pytest.raises(SeedreamInputError, match=f"x is {width}x{height}.*{says}"):
                check_source("x", png(width, height))

    @pytest.mark.parametrize("cut", [33, 60, -1])
    def test_a_cut_one_is_refused_before_it_is_paid_for(self, cut: int) -> None:
        with pytest.raises(SeedreamInputError, match=r"s3://in/fox\.png is not whole: .* Copy it again"):
            check_source("s3://in/fox.png", png()[:cut])

    def test_an_empty_one_is_called_empty(self) -> None:
        with pytest.raises(SeedreamInputError, match=r"s3://in/fox\.png is empty"):
            check_source("s3://in/fox.png", b"")

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
            (b"%PDF-1.7", "PDF"),
            (b"<svg/>", "SVG"),
            (b"II+\x00", "BigTIFF"),
        ],
    )
    def test_a_format_that_is_not_taken_is_named_with_what_to_convert_it_to(
        self, data: bytes, name: str
    ) -> None:
        with pytest.raises(
            SeedreamInputError, match=f"s3://in/fox is a file of type {name}.*convert it to PNG or JPEG"
        ):
            check_source("s3://in/fox", data)

    def test_a_description_holds_no_bytes(self) -> None:
        text = json.dumps(edit(png()).describe())
        assert "base64" not in text
        assert json.loads(text)["sources"][0]["uri"] == "file:///in/1.png"


class TestTheSameRequest:
    """A changed fingerprint would find no record of what was paid before, and pay again. These values must
    never change.
    """

    def test_the_fingerprint_of_a_plain_request_is_pinned(self) -> None:
        assert submission().fingerprint == "1cda8e56576cf16b3079f59e6c059540249fbd555b7d60c36243b9f7fcd755bf"

    def test_one_prompt_in_two_unicode_forms_is_one_request_and_is_sent_as_written(self) -> None:
        written, typed = submission(prompt="Gru\u0308n"), submission(prompt="Gr\u00fcn")
        assert (
            written.fingerprint
            == typed.fingerprint
            == typed.fingerprint_as_written
            != written.fingerprint_as_written
        )
        assert json.loads(b"".join(written.body()))["prompt"] == written.describe()["prompt"] == "Gru\u0308n"

    def test_the_fingerprint_of_a_request_with_everything_is_pinned(self) -> None:
        sources = tuple(replace(edit(png()).sources[0], sha256=digit * 64) for digit in "12")
        full = submission(
            kind="edit",
            sources=sources,
            prompt="Größe 🦊",
            image_size="portrait_16_9",
            num_images=6,
            seed=42,
            enable_safety_checker=False,
            take=3,
        )
        assert full.fingerprint == "84e1788e3a8498617ecc5de1b73e207fe767d4c3d7b4e8179f13b729a0953c2d"

    def test_canonical_json_is_pinned(self) -> None:
        assert (
            sha256_json({"b": [1, None, True], "a": "ü"})
            == "0bcbd63cdf25e003acb140d06eeb4780ca3731f6b3650da4ad3452e1846e2a62"
        )

    def test_text_that_renders_to_the_same_values_is_the_same_request(self) -> None:
        rendered = submission(num_images="1", seed="None", enable_safety_checker="True", take="1")
        assert rendered.fingerprint == submission().fingerprint

    @pytest.mark.parametrize(
        "change",
        [
            {"prompt": "a leather watch "},
            {"image_size": "auto_3K"},
            {"num_images": 2},
            {"seed": 0},
            {"seed": 1},
            {"enable_safety_checker": False},
            {"take": 2},
        ],
    )
    def test_every_parameter_makes_another_request(self, change: dict[str, Any]) -> None:
        assert submission(**change).fingerprint != submission().fingerprint

    def test_the_kind_the_bytes_and_the_order_of_sources_make_another_request(self) -> None:
        first, second = png(20, 15), png(15, 20)
        prints = {
            edit(*images).fingerprint for images in [(first,), (second,), (first, second), (second, first)]
        }
        assert len(prints | {submission().fingerprint}) == 5

    def test_where_a_source_was_read_from_does_not_matter(self) -> None:
        one = edit(png())
        moved = replace(
            one, sources=tuple(replace(source, origin="s3://elsewhere") for source in one.sources)
        )
        assert moved.fingerprint == one.fingerprint


class TestTheBody:
    @pytest.mark.parametrize(
        "sent",
        [
            submission(),
            submission(seed=0, num_images=6, enable_safety_checker=False),
            submission(prompt='"quotes" \\ \n\t\x00 Größe 🦊 \u2028 </script>'),
            edit(png()),
            edit(png(), png(40, 30), png(17, 17, padding_bytes=900_001), prompt='a "b"'),
        ],
    )
    def test_it_is_exactly_the_json_of_the_fields(self, sent: Any) -> None:
        expected = sent.parameters()
        if sent.sources:
            expected["image_urls"] = [
                f"data:image/png;base64,{base64.b64encode(source.data).decode()}" for source in sent.sources
            ]
        assert b"".join(sent.body()) == json.dumps(expected).encode()

    @pytest.mark.parametrize(
        "sent",
        [submission(prompt="🦊"), *(edit(png(), png(padding_bytes=800_000 + rest)) for rest in range(3))],
    )
    def test_the_declared_length_of_a_body_is_its_length(self, sent: Any) -> None:
        assert len(SubmissionBody(sent)) == len(b"".join(sent.body()))

    def test_it_can_be_read_again_for_another_attempt(self) -> None:
        body = SubmissionBody(edit(png()))
        assert list(body) == list(body)

    def test_no_seed_means_no_field(self) -> None:
        assert "seed" not in submission().parameters()
        assert submission(seed=0).parameters()["seed"] == 0

    def test_only_fields_of_the_contract_are_sent(self) -> None:
        allowed = {"prompt", "image_size", "num_images", "seed", "enable_safety_checker", "image_urls"}
        assert json.loads(b"".join(edit(png(), seed=1, take=4).body())).keys() == allowed

    def test_the_pieces_are_small(self) -> None:
        assert max(map(len, edit(png(padding_bytes=5_000_000)).body())) <= 1024 * 1024
