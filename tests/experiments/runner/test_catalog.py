"""What the text of a config says: its title, paper, figure and profiles, and how long they take."""

import json

import pytest

from experiments.runner.catalog import Entry, entries

HEADLINE = "Rates: decay, and depth: Theorem 2 and Figure 3 of Wang and Jacot 2024, arXiv:2306.01154."
CONFIG = f'''"""{HEADLINE}

    python -m experiments.main --config=configs/law.py[:smoke|cpu|paper]

Time on two cores: smoke 20 s, paper 1.5 hours, cpu 2 minutes, huge needs a GPU. One seed takes 5 minutes.
Expect: it holds.
"""

import no_such_package

PROFILES: dict = {{"smoke": 1, "cpu": no_such_package.size, "huge": 2}}
'''
RECORD = {"compile_s": 20.0, "run_s": 73.5, "platform": "cpu", "device_count": 2}


@pytest.fixture
def checkout(tmp_path):
    """Writes files of a checkout, and returns its entries by name."""

    def write(**files):
        (tmp_path / "configs").mkdir(exist_ok=True)
        for name, content in files.items():
            content = content if isinstance(content, bytes) else content.encode()
            (tmp_path / "configs" / f"{name}.py").write_bytes(content)
        return {entry.name: entry for entry in entries(tmp_path)}

    return write


@pytest.fixture
def publish(tmp_path):
    def write(name, record):
        folder = tmp_path / "figures" / name
        folder.mkdir(parents=True)
        (folder / "provenance.json").write_text(record if isinstance(record, str) else json.dumps(record))

    return write


def test_a_config_is_read_and_not_executed(checkout):
    times = {"smoke": "about 20 s", "cpu": "about 2 min", "huge": "needs a GPU"}
    seconds = {"smoke": 20.0, "cpu": 120.0}
    entry = Entry("law", "Rates: decay, and depth", "Wang and Jacot 2024", "Theorem 2 and Figure 3", times, seconds)
    assert checkout(law=CONFIG) == {"law": entry}


def test_a_published_time_comes_before_an_estimate(checkout, publish):
    publish("law", RECORD)
    publish("law_huge", RECORD | {"run_s": 7200, "platform": "gpu", "device_count": 1})
    times = checkout(law=CONFIG)["law"].times
    assert times == {"smoke": "about 20 s", "cpu": "1.6 min", "huge": "2 h on 1 x gpu"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.01, "1 s"), (59.4, "59 s"), (60, "1 min"), (3540, "59 min"), (3600, "1 h"), (6000, "1.7 h"), (1e6, "12 days")],
)
def test_times_in_words(checkout, publish, seconds, words):
    publish("law", RECORD | {"compile_s": 0, "run_s": seconds})
    assert checkout(law=CONFIG)["law"].times["cpu"] == words


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[1, 2]",
        "{",
        '{"compile_s": 1.0, "run_s": 1.0}',
        RECORD | {"run_s": None},
        RECORD | {"run_s": "7"},
        RECORD | {"run_s": -100},
        RECORD | {"run_s": float("nan")},
        RECORD | {"run_s": float("inf")},
        RECORD | {"device_count": None},
        RECORD | {"compile_s": 0.0, "run_s": 0.0},
    ],
)
def test_a_damaged_record_measured_nothing(checkout, publish, record):
    publish("law", record)
    assert checkout(law=CONFIG)["law"].times["cpu"] == "about 2 min"


def test_a_profile_without_any_time_is_unknown(checkout):
    assert checkout(law=CONFIG.replace("cpu 2 minutes", "cpu long"))["law"].times == dict.fromkeys(
        ("smoke", "cpu", "huge"), "unknown"
    )


@pytest.mark.parametrize(
    ("content", "title"),
    [
        (CONFIG.replace("PROFILES:", "PROFILES"), "(cannot be read: SyntaxError line 11: invalid syntax)"),
        (b'"""\xff"""', "(cannot be read: SyntaxError "),
        ("x = '\0'", "(cannot be read: "),
        ("(" * 5000, "(cannot be read: SyntaxError "),
        ("-" * 100_000 + "1", "(cannot be read: MemoryError"),
        ("a" + ".a" * 100_000, "(cannot be read: RecursionError "),
        ("x = 1\n", "(has no docstring)"),
        ("", "(has no docstring)"),
        ("'''Mine.'''\n", "Mine."),
        ("'''Rates: Figure 3 of a friend.'''\n", "Rates: Figure 3 of a friend."),
        (r'"""A \d."""', r"A \d."),
    ],
)
def test_a_file_that_says_less_is_listed_with_what_there_is(checkout, content, title):
    found = checkout(law=CONFIG, mine=content)
    assert list(found) == ["law", "mine"]
    assert found["mine"].title.startswith(title)
    assert (found["mine"].paper, found["mine"].figure) == ("-", "-")


def test_a_file_that_cannot_be_opened_is_listed_too(checkout, tmp_path):
    checkout()
    (tmp_path / "configs" / "folder.py").mkdir()
    (tmp_path / "configs" / "nowhere.py").symlink_to(tmp_path / "none")
    found = checkout(_helper="", law=CONFIG)
    assert list(found) == ["folder", "law", "nowhere"]
    assert found["folder"].title.startswith("(cannot be read: IsADirectoryError")
    assert found["nowhere"].title.startswith("(cannot be read: FileNotFoundError")
