"""Passwords in storage URLs are never shown."""

from __future__ import annotations

import pytest

from search_spaces import InputError
from trials.files.storage_urls import require_encoded, without_password

SHOWN = {
    "postgresql://me:s3cret@db/name": "postgresql://me:***@db/name",
    "postgresql://me:a/b#c?d@db/x": "postgresql://me:***@db/x",
    "postgresql+psycopg://me:s%40t@db/x?sslmode=a": "postgresql+psycopg://me:***@db/x?sslmode=a",
    "postgresql://me@db/x?password=s3cret&sslmode=a": "postgresql://me@db/x?password=***&sslmode=a",
    "odd://me:s3cret@[db": "odd://me:***@[db",
    "postgresql://db/x": "postgresql://db/x",
    "sqlite:///a:b@c.db": "sqlite:///a:b@c.db",
    "nonsense:s3cret@": ":***@",
}


def test_a_password_is_hidden_also_in_a_malformed_url():
    assert {url: without_password(url) for url in SHOWN} == SHOWN


def test_a_password_can_be_left_out():
    assert without_password("mysql://me:s3@db:1/x", shown=False) == "mysql://me@db:1/x"


def test_a_url_with_two_at_signs_is_refused_without_its_password():
    with pytest.raises(InputError, match=r"postgresql://me:\*\*\*@db/x has more than one @"):
        require_encoded("postgresql://me:s3@cret@db/x")


def test_a_url_that_would_take_minutes_to_search_for_passwords_is_refused():
    with pytest.raises(InputError, match="at most 2000"):
        require_encoded("postgresql://h/x?" + "pass" * 100_000)
