"""Small Python tasks: snippets whose output is known, and functions to write."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from prompts.common import Prompt, graded, texts_of

PER_SNIPPET = 6
ASK = "What does this Python program print? Give the output on the last line."
WORDS = ("lantern", "harbour", "mistletoe", "parallel", "cinnamon", "orchestra", "butterfly", "sandcastle")


def arithmetic(r: Random) -> tuple[str, str]:
    """Whole division and remainder."""
    a, b = r.randint(23, 99), r.randint(3, 9)
    return f"a = {a}\nb = {b}\nprint(a // b + a % b)", str(sum(divmod(a, b)))


def total(r: Random) -> tuple[str, str]:
    """A loop over a range."""
    n, step = r.randint(8, 30), r.randint(2, 4)
    terms = (n - 1) // step
    answer = step * terms * (terms + 1) // 2
    return f"total = 0\nfor i in range(0, {n}, {step}):\n    total += i\nprint(total)", str(answer)


def slicing(r: Random) -> tuple[str, str]:
    """A slice of a word."""
    word, start, stop = r.choice(WORDS), r.randint(0, 3), r.randint(4, 7)
    return f'word = "{word}"\nprint(word[{start}:{stop}].upper())', word.upper()[start:stop]


def conditions(r: Random) -> tuple[str, str]:
    """A counter with two conditions."""
    n, a, b = r.randint(20, 60), r.choice((2, 3)), r.choice((5, 7))
    count = (n - 1) // a + (n - 1) // b - 2 * ((n - 1) // (a * b))
    code = (
        f"count = 0\nfor n in range(1, {n}):\n    if (n % {a} == 0) != (n % {b} == 0):\n        count += 1\n"
    )
    return f"{code}print(count)", str(count)


def comprehension(r: Random) -> tuple[str, str]:
    """A list comprehension with a filter."""
    n, k = r.randint(7, 13), r.randint(2, 4)
    values = [i * i for i in range(n) if (i + 1) % k == 0]
    return f"print(sum(x * x for x in range({n}) if x % {k} == {k - 1}))", str(sum(values))


def letters(r: Random) -> tuple[str, str]:
    """Counting letters in a dictionary."""
    word = r.choice(WORDS)
    letter = r.choice(sorted(set(word)))
    code = f'counts = {{}}\nfor letter in "{word}":\n    counts[letter] = counts.get(letter, 0) + 1\n'
    return f'{code}print(len(counts) * 10 + counts["{letter}"])', str(
        len(set(word)) * 10 + word.count(letter)
    )


def sorting(r: Random) -> tuple[str, str]:
    """Sorting by a key, where equal keys keep their order."""
    words = r.sample(("fig", "pear", "plum", "apple", "kiwi", "cherry", "lime", "mango", "date"), 5)
    code = f"words = {words!r}\nwords.sort(key=len, reverse=True)\nprint(words[0], words[-1])"
    longest = next(w for w in words if len(w) == max(map(len, words)))
    shortest = [w for w in words if len(w) == min(map(len, words))][-1]
    return code.replace("'", '"'), f"{longest} {shortest}"


def recursion(r: Random) -> tuple[str, str]:
    """A recursive function with two branches."""
    n, k = r.randint(17, 80), r.randint(2, 5)
    digits: list[int] = []
    rest = n
    while rest:
        rest, digit = divmod(rest, k)
        digits.append(digit)
    code = (
        f"def f(n):\n    if n < {k}:\n        return n\n    return n % {k} + f(n // {k})\n\n\nprint(f({n}))"
    )
    return code, str(sum(digits))


def aliasing(r: Random) -> tuple[str, str]:
    """Two names for one list, and a copy."""
    a, b, c = r.randint(2, 9), r.randint(2, 9), r.randint(10, 20)
    code = (
        f"first = [{a}, {b}]\nsecond = first\nthird = list(first)\nsecond.append({c})\nthird[0] = {c + 1}\n"
    )
    return f"{code}print(sum(first), sum(third))", f"{a + b + c} {b + c + 1}"


def closures(r: Random) -> tuple[str, str]:
    """Functions made in a loop that all see its last value."""
    n, x = r.randint(3, 6), r.randint(4, 12)
    code = f"makers = []\nfor i in range({n}):\n    makers.append(lambda x: x * i)\n"
    return f"{code}print(makers[0]({x}) + makers[-1]({x}))", str(2 * x * (n - 1))


def generators(r: Random) -> tuple[str, str]:
    """A generator that is read in two places."""
    n, take = r.randint(7, 12), r.randint(2, 4)
    code = f"squares = (k * k for k in range(1, {n}))\nhead = [next(squares) for _ in range({take})]\n"
    rest = sum(k * k for k in range(take + 1, n))
    return f"{code}print(sum(head) - sum(squares))", str(sum(k * k for k in range(1, take + 1)) - rest)


def classes(r: Random) -> tuple[str, str]:
    """A default argument that is shared by all calls, inside a class."""
    a, b, c = r.randint(1, 9), r.randint(1, 9), r.randint(1, 9)
    code = (
        "class Basket:\n    items = []\n\n    def __init__(self, limit):\n        self.limit = limit\n\n"
        "    def add(self, item, seen=[]):\n        seen.append(item)\n"
        "        if len(self.items) < self.limit:\n            self.items.append(item)\n"
        "        return len(seen)\n\n\n"
        f"red, blue = Basket(2), Basket(3)\nred.add({a})\nblue.add({b})\nn = red.add({c})\n"
        f"blue.add({a})\nprint(sum(blue.items) * n)"
    )
    return code, str((a + b + a) * 3)


SNIPPETS: tuple[tuple[float, Callable[[Random], tuple[str, str]]], ...] = (
    *(
        (0.14, arithmetic),
        (0.2, total),
        (0.16, slicing),
        (0.36, conditions),
        (0.34, comprehension),
        (0.44, letters),
    ),
    *(
        (0.46, sorting),
        (0.54, recursion),
        (0.58, aliasing),
        (0.72, closures),
        (0.68, generators),
        (0.9, classes),
    ),
)


def make(r: Random) -> list[Prompt]:
    """Return ``PER_SNIPPET`` programs of each kind, then the functions to write."""
    rows: dict[str, Prompt] = {}
    for level, snippet in SNIPPETS:
        made = 0
        while made < PER_SNIPPET:
            code, output = snippet(r)
            prompt = f"{ASK}\n\n```python\n{code}\n```"
            if prompt not in rows:
                grader = "numeric" if output.lstrip("-").isdigit() else "exact"
                rows[prompt] = Prompt(prompt, "code", graded(level + len(code) / 10_000), output, grader)
                made += 1
    tasks = texts_of("code")["tasks"]
    written = [Prompt(task["task"], "code", graded(task["level"]), None, "none") for task in tasks]
    return [*rows.values(), *written]
