"""The images: right size and type, alike for equal requests, never failing on what a prompt contains."""

from __future__ import annotations

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.emulator.facts import IMAGE_SIZES
from airflow_provider_seedream.emulator.lettering import fit
from airflow_provider_seedream.emulator.render import Subject, draw
from tests.emulator.client import Client, get, picture


@pytest.mark.parametrize("image_size", sorted(set(IMAGE_SIZES) - {"auto_3K"}))
def test_an_image_has_the_size_asked_for(client: Client, emulator: Emulator, image_size: str) -> None:
    emulator.configure(image_scale=1.0)
    image = picture(get(client.link(image_size=image_size)).content)
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", IMAGE_SIZES[image_size])


def test_equal_subjects_look_alike_and_others_do_not() -> None:
    subject = Subject(width=64, height=64, prompt="a fox", seed=1)
    assert draw(subject) == draw(Subject(width=64, height=64, prompt="a fox", seed=1))
    others = [
        Subject(width=64, height=64, prompt="an owl", seed=1),
        Subject(width=64, height=64, prompt="a fox", seed=2),
        Subject(width=64, height=64, prompt="a fox", seed=1, index=1),
    ]
    assert len({draw(subject), *(draw(other) for other in others)}) == 4


@pytest.mark.parametrize(
    "prompt",
    [
        "夜の東京、雨に濡れた路地",
        "Привет, мир! مرحبا 🎉",
        "x" * 20_000,
        "a\x00b\x1b[0m\r\n\n\nc",
        "\u200b\u202e",
        "word " * 3000,
    ],
)
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    assert picture(draw(Subject(width=256, height=160, prompt=prompt, caption=("one", prompt)))).size == (
        256,
        160,
    )


@pytest.mark.parametrize("size", [(16, 16), (16, 400), (400, 16), (128, 128)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    assert picture(draw(Subject(width=size[0], height=size[1], prompt="a fox"))).size == size


def test_text_is_wrapped_into_its_box() -> None:
    lettering = fit("a leather watch on a marble table " * 5, 200, 100, largest=40, smallest=6)
    assert len(lettering.lines) > 1
    assert lettering.height <= 100
    assert max(lettering.font.getlength(line) for line in lettering.lines) <= 200


def test_text_too_long_for_its_box_ends_in_an_ellipsis() -> None:
    assert fit("word " * 500, 100, 40, largest=20, smallest=10).lines[-1].endswith("…")


def test_the_sources_of_an_edit_are_shown() -> None:
    red = draw(Subject(width=32, height=32, prompt="source"))
    without, shown = (
        draw(Subject(width=256, height=256, prompt="a", sources=sources)) for sources in ((), (red,))
    )
    assert without != shown


def test_a_burst_of_requests_for_one_image_draws_it_once(client: Client, emulator: Emulator) -> None:
    links = [client.link("a fox", seed=1), client.link("a fox", seed=1)]
    assert get(links[0]).content == get(links[0]).content
    assert get(links[0]).content != get(links[1]).content  # their ids are written on them


def test_flat_images_are_tiny_and_equal(client: Client, emulator: Emulator) -> None:
    emulator.configure(flat_images=True)
    contents = {get(client.link(prompt)).content for prompt in ("a fox", "an owl")}
    assert len(contents) == 1
    assert picture(contents.pop()).size == (16, 16)


@pytest.mark.parametrize(("honoured", "different"), [(False, 2), (True, 1)])
def test_a_seed_repeats_an_image_only_if_told_so(
    client: Client, emulator: Emulator, honoured: bool, different: int
) -> None:
    # too small for letters, so no ids are written on it
    emulator.configure(honour_seed=honoured, image_scale=0.05)
    assert len({get(client.link("a fox", seed=7)).content for _ in range(2)}) == different
