"""The limits of an endpoint in closed form: no clock runs here."""

import pytest

from orchestrator.captioners.endpoint.limits import Budget, Expected, RateLimit


def test_no_limit_never_waits() -> None:
    limit = RateLimit(None)
    assert [limit.reserve(1e9, now_s=0.0) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_one_request_a_second_is_let_through_second_by_second() -> None:
    limit = RateLimit(60)
    assert [limit.reserve(1, now_s=5.0) for _ in range(4)] == pytest.approx([0, 1, 2, 3])
    assert limit.reserve(1, now_s=6.0) == pytest.approx(3)


def test_an_idle_minute_saves_up_no_more_than_a_seconds_worth() -> None:
    limit = RateLimit(600)
    assert limit.reserve(10, now_s=0.0) == 0
    assert [limit.reserve(1, now_s=60.0) for _ in range(12)] == pytest.approx([0.0] * 10 + [0.1, 0.2])


def test_no_minute_holds_more_than_its_limit_and_one_burst() -> None:
    limit = RateLimit(90)
    starts = sorted(now + limit.reserve(1, now) for now in [0.0] * 40 + [30.5] * 100 + [200.0] * 60)
    counts = [sum(start <= other < start + 60 for other in starts) for start in starts]
    assert max(counts) <= 90 + 1.5 + 1


def test_an_amount_beyond_the_bucket_passes_and_the_next_one_pays_for_it() -> None:
    limit = RateLimit(6000)
    assert limit.reserve(1000, now_s=0.0) == 0
    assert limit.reserve(100, now_s=0.0) == pytest.approx(10)


def test_what_was_reserved_too_much_is_given_back_and_too_little_is_owed() -> None:
    limit = RateLimit(6000)
    assert limit.reserve(100, now_s=0.0) == 0
    limit.correct(reserved=100, used=50)
    assert limit.reserve(100, now_s=0.0) == pytest.approx(0.5)
    limit.correct(reserved=100, used=300)
    assert limit.reserve(100, now_s=0.0) == pytest.approx(0.5 + 1 + 2)


def test_the_expected_tokens_are_a_guess_and_then_the_mean() -> None:
    expected = Expected(first=1000)
    assert expected.tokens == 1000
    expected.add(30)
    expected.add(50)
    assert expected.tokens == 40


def test_a_budget_that_five_requests_use_up_exactly_lets_five_through_one_by_one() -> None:
    budget = Budget(max_cost_usd=0.3)
    begun = 0
    while budget.begin():
        begun += 1
        budget.end(0.06)
    assert begun == 5
    assert budget.spent_usd == pytest.approx(0.3)


def test_requests_in_flight_are_counted_at_the_dearest_price_so_far() -> None:
    budget = Budget(max_cost_usd=1.0)
    assert budget.begin()
    budget.end(0.4)
    assert budget.begin()
    assert not budget.begin()
    budget.end(0.0)
    assert budget.begin()


def test_no_budget_lets_everything_through_and_still_counts() -> None:
    budget = Budget(None)
    for _ in range(3):
        assert budget.begin()
        budget.end(2.5)
    assert budget.spent_usd == 7.5
