"""Word problems: 24 templates of one to five steps, with whole-number answers.

Each template draws its numbers so that the answer comes out whole, and writes them as digits in the order in
which they are needed; numbers that play no part are written as words.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from prompts.common import NAMES, Prompt, graded
from prompts.word_problems_long import LONG_TEMPLATES

PER_TEMPLATE = 10
ASK = "Solve the problem and give the answer as a number on the last line."
DISTRACTIONS = (
    "It is a busy Saturday in the middle of spring. ",
    "The weather has been dry for almost two weeks. ",
    "Everything happens on the same afternoon, shortly after lunch. ",
    "A neighbour with three dogs is watching from across the street. ",
    "This takes place in a small town with a single railway station. ",
    "The numbers below were written down by hand and checked twice. ",
)


def collecting(r: Random) -> tuple[str, int]:
    """One step: a sum."""
    a, b, name = r.randint(12, 480), r.randint(8, 390), r.choice(NAMES)
    thing = r.choice(("stamps", "postcards", "marbles", "sea shells", "coins", "stickers"))
    text = f"{name} has {a} {thing} in a drawer and finds {b} more in the attic."
    return f"{text} How many {thing} does {name} have altogether?", a + b


def boxes(r: Random) -> tuple[str, int]:
    """One step: a quotient."""
    k, q = r.choice((4, 6, 8, 12, 15, 24)), r.randint(7, 60)
    thing = r.choice(("eggs", "candles", "tennis balls", "jars of honey", "light bulbs", "tulip bulbs"))
    text = f"A worker has to pack {k * q} {thing} into boxes that hold {k} each."
    return f"{text} How many boxes are needed?", q


def seating(r: Random) -> tuple[str, int]:
    """One step: a product."""
    rows, seats = r.randint(9, 38), r.randint(11, 46)
    place = r.choice(("cinema", "lecture hall", "small theatre", "sports hall", "concert tent"))
    return (
        f"A {place} has {rows} rows with {seats} seats in each row. How many seats are there?",
        rows * seats,
    )


def spending(r: Random) -> tuple[str, int]:
    """One step: a difference."""
    start = r.randint(60, 900)
    cost, name = r.randint(15, start - 10), r.choice(NAMES)
    item = r.choice(("a lamp", "a pair of shoes", "a rucksack", "a winter coat", "a set of pans"))
    text = f"{name} has {start} dollars and spends {cost} dollars of it on {item}."
    return f"{text} How many dollars are left?", start - cost


def bus(r: Random) -> tuple[str, int]:
    """Two steps: a difference and a sum."""
    a = r.randint(18, 62)
    b, c = r.randint(3, a - 5), r.randint(2, 30)
    vehicle = r.choice(("bus", "tram", "ferry", "cable car"))
    text = f"A {vehicle} sets off with {a} passengers. At the first stop {b} of them get off and {c} others get on."
    return f"{text} How many passengers are on the {vehicle} now?", a - b + c


def reading(r: Random) -> tuple[str, int]:
    """Two steps: a product and a difference."""
    per_day, days = r.randint(12, 45), r.randint(4, 14)
    pages, name = per_day * days + r.randint(20, 260), r.choice(NAMES)
    book = r.choice(("novel", "biography", "travel guide", "history book"))
    text = f"{name} is reading a {book} of {pages} pages and reads {per_day} pages every day."
    return f"{text} How many pages are left after {days} days?", pages - per_day * days


def recipe(r: Random) -> tuple[str, int]:
    """Two steps: a quotient and a product."""
    people, each = r.choice((4, 5, 6, 8)), r.choice((35, 45, 60, 75, 90, 120))
    more = people + r.randint(3, 17)
    food = r.choice(("rice", "flour", "lentils", "pasta", "potatoes"))
    text = f"A recipe for {people} people needs {people * each} grams of {food}."
    return f"{text} How many grams of {food} are needed for {more} people?", each * more


def shopping(r: Random) -> tuple[str, int]:
    """Three steps: two products and a sum."""
    p, q, n, m = r.randint(3, 19), r.randint(2, 9), r.randint(2, 12), r.randint(3, 15)
    name = r.choice(NAMES)
    one, two = r.choice(
        (("notebook", "pen"), ("plant pot", "bag of soil"), ("mug", "teaspoon"), ("scarf", "hat"))
    )
    text = f"A {one} costs {p} dollars and a {two} costs {q} dollars. {name} buys {n} of the first and {m} of the"
    return f"{text} second. How many dollars does {name} pay in total?", p * n + q * m


def trip(r: Random) -> tuple[str, int]:
    """Three steps: two products and a sum."""
    v, h, w, k = r.randint(12, 95), r.randint(2, 6), r.randint(10, 85), r.randint(1, 5)
    who = r.choice(("A cyclist", "A lorry driver", "A canoeist", "A motorist", "A delivery rider"))
    text = f"{who} travels at {v} kilometres per hour for {h} hours, takes a break, and then goes on at {w} kilometres"
    return f"{text} per hour for another {k} hours. How many kilometres is that in total?", v * h + w * k


def tank(r: Random) -> tuple[str, int]:
    """Three steps: two differences and a quotient."""
    leak = r.randint(2, 9)
    fill, minutes = leak + r.randint(4, 21), r.randint(8, 55)
    inside = r.randint(20, 400)
    size = inside + (fill - leak) * minutes
    kind = r.choice(("rainwater tank", "fish pond", "swimming pool", "storage tank"))
    text = f"A {kind} holds {size} litres when full and has {inside} litres in it. A pipe adds {fill} litres a minute,"
    text = f"{text} while {leak} litres a minute are lost through a leak."
    return f"{text} After how many minutes is it full?", minutes


def parking(r: Random) -> tuple[str, int]:
    """Three steps: a difference, a product and a sum."""
    first, more, hours = r.randint(3, 9), r.randint(2, 6), r.randint(4, 15)
    place = r.choice(("A car park", "A boat hire", "A bicycle hire", "A tennis club"))
    text = f"{place} charges {first} dollars for the first hour and {more} dollars for each further hour."
    return f"{text} How many dollars does a stay of {hours} hours cost?", first + more * (hours - 1)


def coat(r: Random) -> tuple[str, int]:
    """Three steps: a percentage and two differences."""
    price, percent, voucher = 20 * r.randint(4, 30), r.choice((5, 10, 15, 20, 25, 30, 40)), r.randint(3, 18)
    item = r.choice(("winter coat", "bicycle", "camera", "armchair", "coffee machine"))
    text = f"A {item} is priced at {price} dollars. In the sale the price is cut by {percent} percent, and at the till a"
    text = f"{text} voucher takes off another {voucher} dollars."
    return f"{text} How many dollars does the customer pay?", price - price * percent // 100 - voucher


SHORT_TEMPLATES: tuple[tuple[int, Callable[[Random], tuple[str, int]]], ...] = (
    *((1, collecting), (1, boxes), (1, seating), (1, spending)),
    *((2, bus), (2, reading), (2, recipe)),
    *((3, shopping), (3, trip), (3, tank), (3, parking), (3, coat)),
)


def difficulty(steps: int, answer: int, *, distracted: bool) -> float:
    """Grade a problem: 0.16 for each further step, 0.05 for each digit of the answer, 0.05 for a distraction."""
    digits = math.log10(abs(answer) + 1)
    return graded(0.02 + 0.16 * (steps - 1) + 0.05 * min(4.0, digits) + 0.05 * distracted)


def make(r: Random) -> list[Prompt]:
    """Return ``PER_TEMPLATE`` problems of each template."""
    rows: dict[str, Prompt] = {}
    for steps, template in (*SHORT_TEMPLATES, *LONG_TEMPLATES):
        made = 0
        while made < PER_TEMPLATE:
            text, answer = template(r)
            distracted = steps >= 3 and r.random() < 0.5
            prompt = f"{r.choice(DISTRACTIONS) if distracted else ''}{text}\n\n{ASK}"
            if prompt not in rows:
                level = difficulty(steps, answer, distracted=distracted)
                rows[prompt] = Prompt(prompt, "word_problem", level, str(answer), "numeric")
                made += 1
    return list(rows.values())
