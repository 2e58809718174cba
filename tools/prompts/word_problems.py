"""Word problems: 24 templates of one to five steps, with whole-number answers; their words are in YAML.

A template draws its numbers so that the answer comes out whole, and returns them with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from prompts.common import NAMES, Prompt, graded, texts_of

PER_TEMPLATE = 10
Drawn = tuple[dict[str, int], int]
"""The numbers of a text by name, and the answer."""


def collecting(r: Random) -> Drawn:
    """Draw a sum."""
    a, b = r.randint(12, 480), r.randint(8, 390)
    return {"a": a, "b": b}, a + b


def boxes(r: Random) -> Drawn:
    """Draw a quotient."""
    each, answer = r.choice((4, 6, 8, 12, 15, 24)), r.randint(7, 60)
    return {"total": each * answer, "each": each}, answer


def seating(r: Random) -> Drawn:
    """Draw a product."""
    rows, seats = r.randint(9, 38), r.randint(11, 46)
    return {"rows": rows, "seats": seats}, rows * seats


def spending(r: Random) -> Drawn:
    """Draw a difference."""
    start = r.randint(60, 900)
    cost = r.randint(15, start - 10)
    return {"start": start, "cost": cost}, start - cost


def bus(r: Random) -> Drawn:
    """Draw a difference and a sum."""
    a = r.randint(18, 62)
    b, c = r.randint(3, a - 5), r.randint(2, 30)
    return {"a": a, "b": b, "c": c}, a - b + c


def reading(r: Random) -> Drawn:
    """Draw a product and a difference."""
    daily, days, left = r.randint(12, 45), r.randint(4, 14), r.randint(20, 260)
    return {"pages": daily * days + left, "daily": daily, "days": days}, left


def recipe(r: Random) -> Drawn:
    """Draw a quotient and a product."""
    people, each = r.choice((4, 5, 6, 8)), r.choice((35, 45, 60, 75, 90, 120))
    more = people + r.randint(3, 17)
    return {"people": people, "grams": people * each, "more": more}, each * more


def shopping(r: Random) -> Drawn:
    """Draw two products and a sum."""
    p, q, n, m = r.randint(3, 19), r.randint(2, 9), r.randint(2, 12), r.randint(3, 15)
    return {"p": p, "q": q, "n": n, "m": m}, p * n + q * m


def trip(r: Random) -> Drawn:
    """Draw two products and a sum."""
    v, h, w, k = r.randint(35, 95), r.randint(2, 6), r.randint(30, 85), r.randint(2, 5)
    return {"v": v, "h": h, "w": w, "k": k}, v * h + w * k


def tank(r: Random) -> Drawn:
    """Draw two differences and a quotient."""
    leak, inside, minutes = r.randint(2, 9), r.randint(20, 400), r.randint(8, 55)
    fill = leak + r.randint(4, 21)
    size = inside + (fill - leak) * minutes
    return {"size": size, "inside": inside, "fill": fill, "leak": leak}, minutes


def parking(r: Random) -> Drawn:
    """Draw a difference, a product and a sum."""
    first, more, hours = r.randint(3, 9), r.randint(2, 6), r.randint(4, 15)
    return {"first": first, "more": more, "hours": hours}, first + more * (hours - 1)


def coat(r: Random) -> Drawn:
    """Draw a percentage and two differences."""
    price, percent, voucher = 20 * r.randint(4, 30), 5 * r.randint(1, 8), r.randint(3, 18)
    return {"price": price, "percent": percent, "voucher": voucher}, price - price * percent // 100 - voucher


def average(r: Random) -> Drawn:
    """Draw a mean from which one value is worked out."""
    a, b, c = (r.randint(52, 94) for _ in range(3))
    goal = r.randint(max(60, (a + b + c + 40) // 4), (a + b + c + 100) // 4)
    return {"a": a, "b": b, "c": c, "goal": goal}, 4 * goal - a - b - c


def ages(r: Random) -> Drawn:
    """Draw an equation in one unknown."""
    years, younger = r.randint(2, 14), r.randint(4, 40)
    return {"gap": younger + years, "years": years}, younger


def rope(r: Random) -> Drawn:
    """Draw a division in parts, a product and a difference."""
    times, short = r.randint(2, 6), r.randint(6, 40)
    cut = r.randint(2, short)
    return {"length": short * (times + 1), "times": times, "cut": cut}, short * times - cut


def fence(r: Random) -> Drawn:
    """Draw a perimeter, a difference and a product."""
    length, width, gate, cost = r.randint(14, 70), r.randint(8, 45), r.randint(2, 6), r.randint(7, 38)
    numbers = {"length": length, "width": width, "gate": gate, "cost": cost}
    return numbers, (2 * (length + width) - gate) * cost


def tickets(r: Random) -> Drawn:
    """Draw two equations in two unknowns."""
    child, adults, children = r.randint(4, 11), r.randint(25, 240), r.randint(25, 240)
    adult = child + r.randint(3, 12)
    taken = adults * adult + children * child
    return {"adult": adult, "child": child, "sold": adults + children, "taken": taken}, adults


def machines(r: Random) -> Drawn:
    """Draw two products, a sum and a difference."""
    a, b, hours = r.randint(40, 190), r.randint(40, 190), r.randint(6, 14)
    late, bad = r.randint(2, 4), r.randint(5, 48)
    return {"a": a, "b": b, "hours": hours, "late": late, "bad": bad}, a * hours + b * (hours - late) - bad


def town(r: Random) -> Drawn:
    """Draw a rise and a fall in percent, and a difference."""
    people, gone = 2000 * r.randint(3, 45), r.randint(60, 900)
    rise, fall = r.choice((5, 10, 15, 20)), r.choice((5, 10, 20))
    after = people * (100 + rise) * (100 - fall) // 10_000
    return {"people": people, "rise": rise, "fall": fall, "gone": gone}, after - gone


def saving(r: Random) -> Drawn:
    """Draw a quotient that is rounded up, of two differences."""
    income, have = r.randint(180, 420), r.randint(50, 600)
    spent = r.randint(40, income - 60)
    price = have + r.randint(4, 19) * (income - spent) - r.randint(1, 30)
    numbers = {"income": income, "spent": spent, "have": have, "price": price}
    return numbers, math.ceil((price - have) / (income - spent))


def wages(r: Random) -> Drawn:
    """Draw ordinary and extra hours, two products, a sum and a deduction."""
    normal, hours, wage, extra = 40, r.randint(43, 56), r.randint(14, 36), r.randint(4, 15)
    weeks, kept = r.randint(2, 4), r.randint(120, 640)
    numbers = {"wage": wage, "normal": normal, "extra": extra, "weeks": weeks, "hours": hours, "kept": kept}
    return numbers, weeks * (wage * hours + extra * (hours - normal)) - kept


def market(r: Random) -> Drawn:
    """Draw stock, loss, revenue, cost and profit."""
    crates, each, bad = r.randint(6, 30), r.choice((40, 50, 60, 80)), r.randint(5, 60)
    price, cents = r.randint(5, 14), r.choice((40, 45, 55, 60, 75, 80))
    numbers = {"crates": crates, "price": price, "each": each, "bad": bad, "cents": cents}
    return numbers, (crates * each - bad) * cents - crates * price * 100


def tiles(r: Random) -> Drawn:
    """Draw two lengths in tiles, a product, a quotient rounded up, and a product."""
    length, width, side = r.randint(3, 9), r.randint(2, 7), r.choice((20, 25, 50))
    each, cost = r.choice((9, 11, 14, 16, 22)), r.randint(18, 65)
    count = (length * 100 // side) * (width * 100 // side)
    numbers = {"length": length, "width": width, "side": side, "each": each, "cost": cost}
    return numbers, math.ceil(count / each) * cost


def sharing(r: Random) -> Drawn:
    """Draw three amounts from each other, a sum, a share and a difference."""
    a, less = r.randint(16, 70), r.randint(3, 20)
    a += (5 * a - less) % 3  # makes the sum divisible by three
    return {"a": a, "less": less}, (5 * a - less) // 3 - a


TEMPLATES: tuple[tuple[int, Callable[[Random], Drawn]], ...] = (
    *((1, collecting), (1, boxes), (1, seating), (1, spending)),
    *((2, bus), (2, reading), (2, recipe)),
    *((3, shopping), (3, trip), (3, tank), (3, parking), (3, coat), (3, average), (3, ages), (3, rope)),
    *((4, fence), (4, tickets), (4, machines), (4, town), (4, saving)),
    *((5, wages), (5, market), (5, tiles), (5, sharing)),
)
"""Steps to the answer, and the template; its name is the key of its text."""


def difficulty(steps: int, answer: int, *, distracted: bool) -> float:
    """Return 0.02, 0.16 for each further step, 0.05 for each digit of the answer, 0.05 for a distraction."""
    digits = math.log10(abs(answer) + 1)
    return graded(0.02 + 0.16 * (steps - 1) + 0.05 * min(4.0, digits) + 0.05 * distracted)


def make(r: Random) -> list[Prompt]:
    """Return ``PER_TEMPLATE`` problems of each template."""
    texts = texts_of("word_problems")
    rows: list[Prompt] = []
    for steps, template in TEMPLATES:
        name = template.__name__
        for _ in range(PER_TEMPLATE):
            numbers, answer = template(r)
            one, two, three = r.sample(NAMES, 3)
            words = {"name": one, "other": two, "third": three, "word": r.choice(texts["words"][name])}
            text = texts["texts"][name].format(**words, **numbers)
            distracted = steps >= 3 and r.random() < 0.5
            if distracted:
                text = f"{r.choice(texts['distractions'])} {text}"
            level = difficulty(steps, answer, distracted=distracted)
            prompt = f"{text}\n\n{texts['ask']}"
            rows.append(Prompt(prompt, "word_problem", level, str(answer), "numeric"))
    return rows
