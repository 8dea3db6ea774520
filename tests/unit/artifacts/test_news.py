"""What came into a store since the plan was made is found in other runs' parts and in new segments."""

import os
from pathlib import Path

import pytest

from orchestrator.artifacts.compaction import compact
from orchestrator.artifacts.folder import Folder
from orchestrator.artifacts.news import StoreNews
from orchestrator.artifacts.teacher_store import TeacherStore, digest_keys
from tests.stores import commit, keys, record, refusals, refuse, rows

MINE, OTHER = "mine-0123", "other-0123"


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    made = TeacherStore(tmp_path / "store")
    commit(made, [0, 1], run=OTHER)
    return made


def known(store: TeacherStore) -> list[str]:
    return [name for _, name in store.files()]


def test_only_what_came_after_the_plan_is_news(store: TeacherStore) -> None:
    news = StoreNews(store, MINE, known(store))
    assert news.settled(keys([0, 1, 2]), "x") == set()
    commit(store, [2, 3], run=OTHER)
    assert news.settled(keys([1, 2, 3, 4]), "x") == set(keys([2, 3]))
    commit(store, [4], run=OTHER)
    assert news.settled(keys([1, 2, 3, 4]), "x") == set(keys([2, 3, 4]))


def test_parts_of_the_same_run_are_looked_at_for_the_same_micro_batch_only(store: TeacherStore) -> None:
    news = StoreNews(store, MINE, known(store))
    store.commit(rows([5, 6]), record(2, run=MINE), micro_batch=digest_keys(keys([5, 6, 7])))
    assert news.settled(keys([5, 6, 7]), digest_keys(keys([5, 6, 7]))) == set(keys([5, 6]))
    assert news.settled(keys([8, 9]), digest_keys(keys([8, 9]))) == set()


def test_refusals_are_news_unless_another_attempt_may_succeed(store: TeacherStore) -> None:
    news = StoreNews(store, MINE, known(store))
    store.commit(refusals([10]), record(0, 1, run=OTHER))
    store.commit(refusals([11], transient=True), record(0, 1, run=OTHER))
    assert news.settled(keys([10, 11]), "x") == set(keys([10]))


def test_folders_are_changed_before_they_are_listed_so_that_no_nfs_client_answers_from_memory(
    store: TeacherStore,
) -> None:
    assert store.part_files.local is not None
    os.utime(store.part_files.local, (0, 0))
    StoreNews(store, MINE, ()).settled(keys([0]), "x")  # there are no segments yet
    assert store.part_files.local.stat().st_mtime > 0


def test_a_merge_while_the_segments_are_listed_hides_no_row(store: TeacherStore) -> None:
    for number in range(3):
        commit(store, [100 + number])
        compact(store)

    class Paged(Folder):
        """A listing in two pages: between them the segments are merged."""

        has_listed = False

        def names(self) -> list[str]:
            before = super().names()
            if Paged.has_listed:
                return before
            Paged.has_listed = True
            compact(TeacherStore(store.folder), everything=True)
            return [name for name in before if name in super(Paged, self).names()]

    looked_at = TeacherStore(store.folder)
    looked_at.segment_files = Paged(store.segment_files.uri)
    wanted = keys(range(100, 103))
    assert StoreNews(looked_at, "run", ()).settled(wanted, "root") == set(wanted)


def test_what_compaction_has_moved_is_still_found_and_nothing_is_held_twice(store: TeacherStore) -> None:
    news = StoreNews(store, MINE, known(store))
    for number in range(20, 40):
        commit(store, [number], run=OTHER)
        refuse(store, [100 + number])
        compact(store, everything=number % 3 == 0)
        assert news.settled(keys(range(20, 42)), "x") == set(keys(range(20, number + 1)))
    assert set(news._segments) <= set(store.segment_files.names())
    assert news._parts == {}


def test_an_empty_store_has_no_news(tmp_path: Path) -> None:
    assert StoreNews(TeacherStore(tmp_path / "none"), MINE, []).settled(keys([1]), "x") == set()
