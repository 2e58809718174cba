"""Numbers as people read them."""

from __future__ import annotations

import pytest

from routellm_batch.budget.pricing import NANO
from routellm_batch.reporting import text


@pytest.mark.parametrize(
    ("nano", "expected"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (1_000, "$0.000001"),
        (1_250, "$0.00000125"),
        (1_234, "$0.00000123"),
        (9_999_999, "$0.01"),
        (10_000_000, "$0.01"),
        (12_340_000, "$0.0123"),
        (123_450_000, "$0.123"),
        (123_500_000, "$0.124"),
        (470_999_999, "$0.471"),
        (300_000_000, "$0.30"),
        (999_499_999, "$0.999"),
        (999_500_000, "$1.00"),
        (1_800_000_000, "$1.80"),
        (9_995_000_000, "$10.0"),
        (18_520_000_000, "$18.5"),
        (152 * NANO + 370_000_000, "$152"),
        (9_999 * NANO, "$10,000"),
        (1_234_567 * NANO, "$1,230,000"),
        (-1_500_000_000, "−$1.50"),
    ],
)
def test_usd(nano: int, expected: str) -> None:
    """Dollars have three significant digits, from a millionth to millions."""
    assert text.usd(nano) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.26, "26%"),
        (3650 / 14042, "25.99%"),
        (1e-7, "under 0.01%"),
        (1 - 1e-7, "over 99.99%"),
        (1.5, "150%"),
    ],
)
def test_percent(share: float, expected: str) -> None:
    """A share that is not 0 or 1 never reads as 0% or 100%."""
    assert text.percent(share) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0 s"),
        (0.0004, "under 1 ms"),
        (0.0123, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.234, "1.23 s"),
        (59.9, "59.9 s"),
        (59.97, "1m00s"),
        (130, "2m10s"),
        (3720, "1h02m"),
        (273_600, "3d04h"),
    ],
)
def test_seconds(value: float, expected: str) -> None:
    """Times have three digits below a minute and two units above it."""
    assert text.seconds(value) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (250, "250"), (1500, "1.5k"), (2_000_000, "2M"), (3e9, "3B"), (0.25, "0.25")],
)
def test_compact(number: float, expected: str) -> None:
    """Axis numbers are short."""
    assert text.compact(number) == expected


@pytest.mark.parametrize(
    ("dollars", "step", "expected"),
    [
        (0, 0.5, "$0"),
        (0.5, 0.5, "$0.50"),
        (1, 0.5, "$1.00"),
        (0.002, 0.001, "$0.002"),
        (2e6, 1e6, "$2M"),
        (5, 5, "$5"),
    ],
)
def test_axis_usd(dollars: float, step: float, expected: str) -> None:
    """The dollars of an axis have as many decimals as its steps need."""
    assert text.axis_usd(dollars, step) == expected


@pytest.mark.parametrize(
    ("nano", "expected"), [(2_500_000_000, "$2.50"), (75_000_000, "$0.075"), (0, "$0.00")]
)
def test_price(nano: int, expected: str) -> None:
    """A price shows every decimal it has, and two at least."""
    assert text.price(nano) == expected


@pytest.mark.parametrize(
    ("row_id", "expected"),
    [
        (7, "7"),
        ("=1+1", "=1+1"),
        ("ünï 🦜", "ünï 🦜"),
        ("a\u202eb\x1b[31mc\nd", "a�b�[31mc�d"),
        ("x" * 500, "x" * 119 + "…"),
        ("\ud800", "�"),
    ],
)
def test_shown_id(row_id: object, expected: str) -> None:
    """An id is shown as it is, but for what would move, colour or hide other text."""
    assert text.shown_id(row_id) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/part-?.parquet", "s3://bucket/part-?.parquet"),
        ("ftp://me:secret@host/x", "ftp://host/x"),
        ("https://host/x.parquet?sig=secret", "https://host/x.parquet"),
        ("out/runs/first", "out/runs/first"),
    ],
)
def test_public_uri(uri: str, expected: str) -> None:
    """A URI is shown without the secrets that it may carry."""
    assert text.public_uri(uri) == expected
