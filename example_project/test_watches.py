"""`pytest example_project` runs it: no key, no network, no scheduler."""

from watches import watches


def test_a_run_pays_for_each_image_once(seedream_emulator, tmp_path):
    run = watches.test(logical_date=None)

    assert run.state == "success"
    books = seedream_emulator.books
    assert books.posts == 1  # submissions that were accepted, and paid for
    assert books.credits_charged == 20
    assert books.violations == ()  # nothing that the API's contract forbids
    assert {path.name for path in tmp_path.glob("hero_?.png")} == {"hero_1.png", "hero_2.png"}


def test_a_request_whose_answer_got_lost_is_not_sent_again(seedream_emulator):
    seedream_emulator.inject("drop-after-accept")
    run = watches.test(logical_date=None)

    assert run.state == "failed"
    assert seedream_emulator.books.posts_received == 1


def test_an_empty_wallet_costs_nothing(seedream_emulator):
    seedream_emulator.configure(balance_credits=5)
    run = watches.test(logical_date=None)

    assert run.state == "failed"
    assert seedream_emulator.books.credits_charged == 0
