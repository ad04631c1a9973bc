"""Claims about the memory of names: what it says is what the catalog would say, or nothing."""

from ppmproxy.cache.catalog_rows import UrlRow
from ppmproxy.cache.name_memory import MOST_NAMES, NamedFile, NameMemory

A, B = "a" * 64, "b" * 64
ME, OTHER = b"me", b"other"


def test_names_are_found_by_holder_and_url():
    memory = NameMemory()

    memory.learn(ME, "page", {"url": A}, 1.0)

    assert memory.get(ME, "url").naming.digest == A
    assert memory.get(OTHER, "url") is None
    assert memory.get(ME, "another") is None


def test_a_page_that_is_learnt_anew_names_no_more_than_it_says():
    memory = NameMemory()
    memory.learn(ME, "page", {"url": A, "gone": B}, 1.0)

    memory.learn(ME, "page", {"url": B}, 2.0)

    assert memory.get(ME, "url").naming.digest == B
    assert memory.get(ME, "gone") is None


def test_of_a_file_that_two_pages_name_differently_nothing_is_said():
    memory = NameMemory()
    memory.learn(ME, "one", {"url": A}, 1.0)
    memory.learn(ME, "two", {"url": B}, 1.0)

    memory.learn(ME, "one", {"url": A}, 2.0)

    assert memory.get(ME, "url") is None


def test_two_pages_that_agree_both_vouch():
    memory = NameMemory()
    memory.learn(ME, "one", {"url": A}, 1.0)

    memory.learn(ME, "two", {"url": A}, 1.0)

    assert memory.get(ME, "url").naming.pages == ("one", "two")


def test_a_page_that_is_confirmed_vouches_from_then_on():
    memory = NameMemory()
    memory.learn(ME, "page", {"url": A}, 1.0)
    memory.learn(OTHER, "page", {"url": A}, 1.0)

    memory.prove_page(ME, "page", 5.0)
    memory.prove_page(ME, "a page that names nothing here", 9.0)

    assert memory.get(ME, "url").naming.proved_at == 5.0
    assert memory.get(OTHER, "url").naming.proved_at == 1.0


def test_a_page_that_is_learnt_anew_vouches_from_then_on_whatever_the_clock_said_before():
    memory = NameMemory()
    memory.learn(ME, "page", {"url": A}, 1.0)
    memory.prove_page(ME, "page", 9.0)

    memory.learn(ME, "page", {"url": A}, 5.0)

    assert memory.get(ME, "url").naming.proved_at == 5.0


def test_what_is_forgotten_is_not_known():
    memory = NameMemory()
    for holder in (ME, OTHER):
        memory.learn(holder, "page", {"url": A}, 1.0)
        memory.learn(holder, "second", {"more": A}, 1.0)

    memory.forget_page(ME, "page")
    memory.forget_holder(OTHER)

    assert memory.get(ME, "url") is None
    assert memory.get(ME, "more") is not None
    assert memory.get(OTHER, "more") is None


def test_a_row_is_taken_over_where_its_hash_is_the_one_that_is_named():
    memory = NameMemory()
    memory.learn(ME, "page", {"url": A}, 1.0)

    memory.put_row(UrlRow(ME, "url", "", B, {}, 1.0))
    other = memory.get(ME, "url")
    memory.put_row(UrlRow(ME, "url", "", A, {}, 1.0))

    assert other == NamedFile(other.naming)
    assert memory.get(ME, "url").is_row_known


def test_it_does_not_grow_without_end():
    memory = NameMemory()
    for page in range(30):
        memory.learn(ME, f"page {page}", {f"{page}/{number}": A for number in range(1000)}, 1.0)

    assert len(memory._files) <= MOST_NAMES
    assert memory.get(ME, "29/999") is not None
    assert sum(map(len, memory._named.values())) <= MOST_NAMES
    for page in range(30):
        memory.forget_page(ME, f"page {page}")
    assert (memory._files, memory._named) == ({}, {})
