"""The gallery as a person meets it: in Chromium, within Airflow's page, over images of real runs.

Set SEEDREAM_SCREENSHOTS to a folder to get a picture of each page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.gallery.browsing import (
    AGAIN,
    DAGS,
    NIGHT,
    SAMPLED,
    Site,
    Visit,
    below_a_path,
    launch,
    running_site,
    start_again,
    start_night,
    start_sampled,
    visiting,
    wait_for_question,
)
from tools.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("gallery-site")) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # the tests of the default run do without it

    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def night(site: Site) -> str:
    """The id of a run that waits for a person's choice."""
    return start_night(site)


@pytest.fixture(scope="module")
def sampled(site: Site) -> tuple[str, int]:
    """The id of a run whose batch waits for a person, and the POSTs before it."""
    posts = site.emulator.books.posts_received
    return start_sampled(site), posts


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Visit]:
    with visiting(browser, site) as visit:
        yield visit


class TestTheFirstPage:
    def test_it_shows_the_newest_images_in_the_menus_page_without_an_error(self, visit: Visit) -> None:
        frame = visit.open()
        assert visit.wait_for_images() >= 5
        assert "a leather watch on a wet stone" in frame.locator(".prompt").first.inner_text()
        visit.picture("gallery")
        assert visit.problems == []

    def test_images_below_the_fold_are_not_fetched_before_they_come_near(self, visit: Visit) -> None:
        # a long page: the browser fetches 1,250 px ahead
        visit.page.set_viewport_size({"width": 640, "height": 400})
        frame = visit.open()
        visit.wait_for_images()
        drawn = frame.locator("img").evaluate_all(
            "all => all.filter(image => image.complete && image.naturalWidth > 0).length"
        )
        assert drawn < frame.locator("img").count()
        last = frame.locator("img").last
        last.scroll_into_view_if_needed()
        is_drawn = "image => image.complete && image.naturalWidth > 0"
        wait_until(lambda: last.evaluate(is_drawn), what="the last image drawn", timeout_seconds=120)
        assert visit.problems == []

    def test_all_200_images_are_reached_page_by_page(self, visit: Visit) -> None:
        frame = visit.open("plugin/seedream/seedream/?run=night")
        seen: set[str] = set()
        while True:
            seen |= set(
                frame.locator(".pictures img").evaluate_all(
                    "all => all.map(image => image.getAttribute('src'))"
                )
            )
            visit.wait_for_images()
            if not frame.locator("a[rel=next]").count():
                break
            first = frame.locator(".pictures a").first.get_attribute("href")
            frame.locator("a[rel=next]").click()
            frame.locator(f'.pictures a[href="{first}"]').wait_for(state="detached", timeout=120_000)
            frame.locator("html.framed .pictures a").first.wait_for(timeout=120_000)
        assert len(seen) == 200
        assert visit.problems == []

    def test_a_search_by_prompt_finds_and_says_how_far_it_looked(self, visit: Visit) -> None:
        frame = visit.open()
        frame.get_by_label("Prompt").fill("lighthouse")
        frame.get_by_role("button", name="Filter").click()
        frame.get_by_role("status").wait_for()
        assert frame.locator(".card").count() == 7
        visit.wait_for_images()
        visit.picture("search")
        assert "There are none older" in frame.get_by_role("status").inner_text()


class TestLooks:
    def test_dark_is_dark_and_follows_a_change_at_once(self, browser: Any, site: Site) -> None:
        with visiting(browser, site, theme="dark") as visit:
            frame = visit.open()
            visit.wait_for_images()
            wait_until(
                lambda: brightness(visit, ".prompt") > 200,
                what="letters for a dark page",
                timeout_seconds=120,
            )
            visit.picture("dark")
            visit.page.evaluate("document.documentElement.style.colorScheme = 'light'")
            wait_until(
                lambda: brightness(visit, ".prompt") < 60,
                what="letters for a light page",
                timeout_seconds=120,
            )
            frame.locator(".pictures a").first.click()
            frame.locator("figure").wait_for()
            assert visit.problems == []

    def test_right_to_left_begins_at_the_right(self, browser: Any, site: Site) -> None:
        with visiting(browser, site, i18nextLng="ar") as visit:
            frame = visit.open()
            visit.wait_for_images()
            frame.locator("html[dir=rtl]").wait_for()  # Airflow loads its Arabic first, and the frame follows
            # Both in one look: between two the page may move.
            left = "cards => cards.slice(0, 2).map(card => card.getBoundingClientRect().left)"
            first, second = frame.locator(".card").evaluate_all(left)
            assert first > second
            visit.picture("rtl")

    @pytest.mark.parametrize("path", ["seedream/", "seedream/image"])
    def test_nothing_sticks_out_of_a_narrow_window(self, browser: Any, site: Site, path: str) -> None:
        with visiting(browser, site, size=(390, 844)) as visit:
            frame = visit.open()
            if path.endswith("image"):
                frame.locator(".pictures a").first.click()
                frame.locator("figure").wait_for()
            visit.wait_for_images()
            assert frame.locator("html").evaluate("page => page.scrollWidth <= page.clientWidth")
            visit.picture("narrow" if path.endswith("/") else "narrow-image")

    def test_every_image_has_words_for_those_who_do_not_see_it(self, visit: Visit) -> None:
        words = visit.open().locator("img").evaluate_all("all => all.map(image => image.alt)")
        assert all(word.startswith("Image ") and ": " in word for word in words)


class TestKeys:
    def test_arrows_turn_the_images_and_escape_leads_up(self, visit: Visit) -> None:
        frame = visit.open()
        frames: list[str] = []
        visit.page.on(
            "framenavigated", lambda moved: frames.append(moved.url) if moved.parent_frame else None
        )
        frame.locator(".pictures a").first.click()
        frame.locator("figure").wait_for()
        visit.wait_for_images()
        visit.page.wait_for_load_state("networkidle")
        assert len(frames) == 1  # the frame loads a page once
        visit.picture("image")
        start = title(visit)
        press(visit, "ArrowRight")
        wait_until(lambda: title(visit) != start, what="the next image", timeout_seconds=120)
        press(visit, "ArrowLeft")
        wait_until(lambda: title(visit) == start, what="the first image again", timeout_seconds=120)
        press(visit, "Escape")
        frame.locator("form").wait_for()
        assert visit.problems == []

    def test_the_focus_is_seen_and_reaches_every_image(self, visit: Visit) -> None:
        frame = visit.open()
        frame.locator("button").focus()
        visit.page.keyboard.press("Tab")
        focused = frame.locator(".pictures a:focus")
        assert focused.count() == 1
        assert focused.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
        visit.page.keyboard.press("Enter")
        frame.locator("figure").wait_for()


class TestWithinAirflow:
    def test_a_link_to_a_task_opens_airflows_own_page_without_loading_it_anew(self, visit: Visit) -> None:
        frame = visit.open()
        visit.page.evaluate("window.still = 'here'")
        frame.locator("a.app").first.click()
        visit.page.wait_for_url("**/dags/*/runs/*/tasks/land*")
        assert visit.page.evaluate("window.still") == "here"

    def test_the_button_of_a_task_leads_to_its_images(self, visit: Visit, site: Site) -> None:
        land = f"dags/{DAGS[1]}/dagRuns/{quote(site.approval)}/taskInstances/land/links"
        address = site.airflow.api("GET", land)["extra_links"]["Images"]
        frame = visit.open(address)
        assert visit.wait_for_images() == 3
        assert "/plugin/seedream/" in visit.page.url
        assert frame.locator(".card").count() == 1

    def test_nobody_is_asked_to_log_in(self, browser: Any, site: Site) -> None:
        with visiting(browser, site, user=None) as visit:
            visit.page.goto(f"{site.base_url}/seedream/")
            visit.page.wait_for_url("**/auth/login*")

    def test_a_download_is_the_file(self, visit: Visit, site: Site) -> None:
        frame = visit.open()
        frame.locator(".pictures a").first.click()
        with visit.page.expect_download() as download:
            frame.get_by_role("link", name="Download").click()
        name = download.value.suggested_filename
        assert Path(download.value.path()).read_bytes() == (site.output / name).read_bytes()


class TestBelowAPath:
    def test_pages_images_and_the_approvals_pictures_work_there(self, browser: Any, site: Site) -> None:
        with below_a_path(site) as below, visiting(browser, below) as visit:
            frame = visit.open("plugin/seedream")
            assert visit.wait_for_images() >= 5
            frame.locator(".pictures a").first.click()
            frame.locator("figure").wait_for()
            assert visit.wait_for_images() >= 1
            visit.page.goto(f"{below.base_url}/{approval_page(site)}")
            assert visit.wait_for_images(pictures(visit)) == 3
            assert visit.problems == []


class TestMissingStorage:
    def test_cards_say_what_is_not_there_and_the_page_goes_on(self, visit: Visit, site: Site) -> None:
        hidden = site.output.with_name("hidden")
        (site.output / "night").rename(hidden)
        try:
            frame = visit.open("plugin/seedream/seedream/?run=night")
            assert frame.get_by_text("not in the storage any more").count() == 24
            visit.picture("missing")
            assert visit.problems == []
        finally:
            hidden.rename(site.output / "night")


class TestTheApproval:
    """Runs last: it answers the one run that waits."""

    def test_the_images_are_above_the_buttons_and_approving_publishes_them(
        self, visit: Visit, site: Site
    ) -> None:
        visit.page.goto(f"{site.base_url}/{approval_page(site)}")
        assert visit.wait_for_images(pictures(visit)) == 3
        visit.picture("approval")
        assert not (site.output / "public").exists()
        visit.page.get_by_role("button", name="Approve").click()
        site.airflow.wait(
            "the run ends", lambda: site.airflow.dag_run_ended(DAGS[1], site.approval), timeout_seconds=600
        )
        assert site.airflow.dag_run_ended(DAGS[1], site.approval) == "success"
        assert len(list((site.output / "public").iterdir())) == 3
        assert visit.problems == []


class TestTheNight:
    """Its runs begin here, as the pages above count what is there."""

    @pytest.mark.parametrize(
        ("name", "size", "theme"),
        [("night-narrow", (820, 1180), "light"), ("night-dark", (1280, 1360), "dark")],
    )
    def test_the_contact_sheet_is_readable(
        self, name: str, size: tuple[int, int], theme: str, browser: Any, site: Site, night: str
    ) -> None:
        with visiting(browser, site, size=size, theme=theme) as visit:
            open_sheet(visit, night)
            visit.picture(name)
            assert visit.problems == []

    def test_two_of_six_pictures_are_chosen_and_exactly_these_are_published(
        self, visit: Visit, site: Site, night: str
    ) -> None:
        visit.page.set_viewport_size({"width": 1280, "height": 1360})
        assert open_sheet(visit, night) == 6
        visit.picture("night")
        choose(visit, "1.2 · W-100", "4 · T-400")
        visit.picture("night-chosen")
        visit.page.get_by_role("button", name="Respond").click()
        site.airflow.wait(
            "the night ends", lambda: site.airflow.dag_run_ended(NIGHT, night), timeout_seconds=600
        )
        assert site.airflow.dag_run_ended(NIGHT, night) == "success"
        assert published(site, night) == [("W-100", 1), ("T-400", 1)]
        assert visit.problems == []


class TestTheSample:
    """A batch asks in the middle of its own task: its question looks and works like that of Airflow's
    ApprovalOperator.
    """

    @pytest.mark.parametrize(("name", "theme"), [("sample", "light"), ("sample-dark", "dark")])
    def test_the_pictures_and_the_price_of_a_yes_stand_above_the_buttons(
        self, name: str, theme: str, browser: Any, site: Site, sampled: tuple[str, int]
    ) -> None:
        with visiting(browser, site, size=(1280, 1700), theme=theme) as visit:
            shown = open_sample(visit, sampled[0])
            assert visit.wait_for_images(shown) == 7
            text = visit.page.inner_text("body")
            assert (
                "A yes sends 32 requests for 32 images: up to 320 credits, about 3 s at 600 requests a "
                "minute." in text
            )
            assert "Row 5: moderated" in text
            assert visit.page.get_by_role("button", name="Reject").is_enabled()
            visit.picture(name)
            assert visit.problems == []

    def test_it_is_among_the_required_actions_of_all_dags_and_the_gallery_shows_the_sample(
        self, visit: Visit, sampled: tuple[str, int]
    ) -> None:
        visit.page.goto(f"{visit.site.base_url}/required_actions")
        visit.page.get_by_text("Send the other 32 rows of images?").first.wait_for(timeout=120_000)
        visit.picture("sample-required-actions")
        frame = visit.open(f"plugin/seedream/seedream/task/{SAMPLED}/{quote(sampled[0])}/images/-1")
        visit.wait_for_images()
        assert frame.locator("img").count() >= 7
        visit.picture("sample-gallery")
        assert visit.problems == []

    def test_a_click_on_approve_sends_the_rest(
        self, visit: Visit, site: Site, sampled: tuple[str, int]
    ) -> None:
        run, before = sampled
        assert site.emulator.books.posts_received - before == 8
        open_sample(visit, run)
        visit.page.get_by_role("button", name="Approve").click()
        site.airflow.wait(
            "the batch ends", lambda: site.airflow.dag_run_ended(SAMPLED, run), timeout_seconds=600
        )
        assert site.airflow.dag_run_ended(SAMPLED, run) == "success"
        assert site.emulator.books.posts_received - before == 40
        count = site.airflow.xcom(SAMPLED, run, "images")["count"]
        assert (count["landed"], count["moderated"], count["skipped"]) == (39, 1, 0)

    def test_a_click_on_reject_skips_the_task_and_the_sample_is_all_that_was_paid(
        self, visit: Visit, site: Site, sampled: tuple[str, int]
    ) -> None:
        before = site.emulator.books.posts_received
        run = start_sampled(site)
        open_sample(visit, run)
        visit.page.get_by_role("button", name="Reject").click()
        site.airflow.wait(
            "the batch ends", lambda: site.airflow.dag_run_ended(SAMPLED, run), timeout_seconds=600
        )
        task = site.airflow.api("GET", f"dags/{SAMPLED}/dagRuns/{quote(run)}/taskInstances/images")
        assert task["state"] == "skipped"
        assert site.emulator.books.posts_received - before == 8


class TestRejectedAndMadeAgain:
    """A person rejects and changes the prompt: the first pictures are never seen again, wherever it is
    asked anew.
    """

    def test_no_old_picture_is_seen_and_a_new_run_asks_with_the_new_ones(
        self, visit: Visit, site: Site
    ) -> None:
        airflow, old, new = site.airflow, "a red teapot on a blue table", "a green bicycle in the rain"
        airflow.api("POST", "variables", {"key": "wanted", "value": old})
        run = start_again(site)
        wait_for_question(site, run, words=old)
        first = see_question(visit, run, words=old)
        visit.picture("approval-first")
        visit.page.get_by_role("button", name="Reject").click()
        airflow.wait("the rejected run ends", lambda: airflow.dag_run_ended(AGAIN, run), timeout_seconds=600)
        assert airflow.task_states(AGAIN, run, "publish") == ["skipped"]
        assert visit.problems == []

        airflow.api("PATCH", "variables/wanted", {"key": "wanted", "value": new})
        clear = {"dag_run_id": run, "dry_run": False, "only_failed": False, "reset_dag_runs": True}
        airflow.api("POST", f"dags/{AGAIN}/clearTaskInstances", clear)
        airflow.wait("the question comes again", lambda: tries(site, run, "approve") > 1, timeout_seconds=600)
        asked = waiting_text(site, run)
        if old in asked:
            # Airflow keeps the first text of a question: findings/airflow-approval-keeps-its-text.sh
            assert see_question(visit, run, words=old) == first
            visit.picture("approval-cleared")
            assert all(gone(visit, address) for address in first)
        else:
            assert not set(see_question(visit, run, words=new)) & set(first)
        visit.problems.clear()  # the 404s of the first pictures

        again = start_again(site)
        wait_for_question(site, again, words=new)
        second = see_question(visit, again, words=new)
        visit.picture("approval-made-again")
        assert old not in visit.page.inner_text("body")
        assert len(first) == len(second) == 2
        assert not set(first) & set(second)
        visit.page.get_by_role("button", name="Approve").click()
        airflow.wait(
            "the approved run ends", lambda: airflow.dag_run_ended(AGAIN, again), timeout_seconds=600
        )
        assert [address.rpartition("/")[2] for address in second] == airflow.xcom(AGAIN, again, "publish")

        frame = visit.open(f"plugin/seedream/seedream/dag/{AGAIN}")
        visit.wait_for_images()
        assert frame.locator(".prompt").all_inner_texts() == [new, new]
        visit.picture("gallery-made-again")
        assert visit.problems == []


def tries(site: Site, run: str, task_id: str) -> int:
    """The number of the try that waits for a person; 0 while none does."""
    found = site.airflow.api("GET", f"dags/{AGAIN}/dagRuns/{quote(run)}/taskInstances/{task_id}")
    return int(found["try_number"]) if found["state"] in ("awaiting_input", "deferred") else 0


def waiting_text(site: Site, run: str) -> str:
    details = site.airflow.api("GET", f"dags/{AGAIN}/dagRuns/{quote(run)}/hitlDetails")["hitl_details"]
    return str(details[0]["body"])


def see_question(visit: Visit, run: str, *, words: str) -> list[str]:
    """The page of the question with its pictures drawn under the words; the addresses of the pictures."""
    visit.page.goto(f"{visit.site.base_url}/dags/{AGAIN}/runs/{quote(run)}/tasks/approve/required_actions")
    shown = pictures(visit)
    visit.page.get_by_text(words).first.wait_for(timeout=120_000)
    visit.wait_for_images(shown)
    return [
        str(address) for address in shown.locator("img").evaluate_all("all => all.map(image => image.src)")
    ]


def gone(visit: Visit, address: str) -> bool:
    """True if the server itself, not the browser's store, no longer has a picture."""
    return bool(
        visit.page.evaluate("async at => (await fetch(at, {cache: 'no-store'})).status", address) == 404
    )


def open_sample(visit: Visit, run: str) -> Any:
    """The page of a batch's question; the links around its pictures."""
    visit.page.goto(f"{visit.site.base_url}/dags/{SAMPLED}/runs/{quote(run)}/tasks/images/required_actions")
    return pictures(visit)


def open_sheet(visit: Visit, night: str) -> int:
    """The page of the question, until its pictures are drawn; how many there are."""
    visit.page.goto(
        f"{visit.site.base_url}/dags/{NIGHT}/runs/{quote(night)}/tasks/choose/mapped/0/required_actions"
    )
    visit.page.locator("a[href*='seedream/image']").first.wait_for(timeout=120_000)
    return visit.wait_for_images(visit.page.locator("a[href*='seedream/image']"))


def choose(visit: Visit, *options: str) -> None:
    """Choose in the field of the form, as a person does: a part of the option's words, then Enter."""
    for option in options:
        field = visit.page.locator("input[role=combobox]").first
        field.fill(option)
        field.press("Enter")


def published(site: Site, night: str) -> list[tuple[str, int]]:
    """The published rows and how many images of each; each file is there."""
    rows = site.airflow.xcom(NIGHT, night, "publish")
    names = [uri.rpartition("/")[2] for row in rows for uri in row["images"]]
    assert all((site.output / "public" / name).exists() for name in names)
    return [(row["sku"], len(row["images"])) for row in rows]


def approval_page(site: Site) -> str:
    return f"dags/{DAGS[1]}/runs/{quote(site.approval)}/tasks/approve/required_actions"


def pictures(visit: Visit) -> Any:
    visit.page.get_by_role("button", name="Approve").wait_for(timeout=120_000)
    return visit.page.locator("a[href*='seedream/image']")


def press(visit: Visit, key: str) -> None:
    visit.frame.locator("html.framed").wait_for()  # the page's script is there
    visit.frame.locator("html").press(key)


def title(visit: Visit) -> str:
    return visit.frame.locator("nav a[aria-current]").inner_text()


def brightness(visit: Visit, what: str) -> int:
    colour = visit.frame.locator(what).first.evaluate("element => getComputedStyle(element).color")
    return int(colour.removeprefix("rgb(").split(",")[0])
