"""The longer word problems: three to five steps, some of them backwards."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from prompts.common import NAMES


def average(r: Random) -> tuple[str, int]:
    """Three steps: from a mean back to one value."""
    a, b, c = (r.randint(52, 94) for _ in range(3))
    goal = r.randint(max(60, (a + b + c + 40) // 4), (a + b + c + 100) // 4)
    name = r.choice(NAMES)
    text = f"{name} scored {a}, {b} and {c} points in the first three tests of the term. A fourth test is still to come,"
    text = f"{text} and all four count the same. Which score in it gives {name} an average of exactly {goal} points?"
    return text, 4 * goal - a - b - c


def ages(r: Random) -> tuple[str, int]:
    """Three steps: an equation in one unknown."""
    years = r.randint(2, 14)
    younger = r.randint(4, 40)
    gap = younger + years
    one, two = r.sample(NAMES, 2)
    text = f"{one} is {gap} years older than {two}. In {years} years {one} will be exactly twice as old as {two} will be"
    return f"{text} then. How many years old is {two} today?", younger


def rope(r: Random) -> tuple[str, int]:
    """Three steps: a division in parts, a product and a difference."""
    times, short = r.randint(2, 6), r.randint(6, 40)
    cut = r.randint(2, short)
    kind = r.choice(("rope", "cable", "strip of cloth", "garden hose"))
    text = f"A {kind} {short * (times + 1)} metres long is cut into two pieces, one of which is {times} times as long as the"
    text = f"{text} other. Then {cut} metres are cut off the longer piece."
    return f"{text} How many metres long is that piece in the end?", short * times - cut


def fence(r: Random) -> tuple[str, int]:
    """Four steps: a perimeter, a difference and a product."""
    length, width, gate, cost = r.randint(14, 70), r.randint(8, 45), r.randint(2, 6), r.randint(7, 38)
    place = r.choice(("vegetable garden", "paddock", "playground", "orchard"))
    text = f"A rectangular {place} is {length} metres long and {width} metres wide. A fence is to go all the way round it,"
    text = f"{text} except for a gate that is {gate} metres wide. One metre of fence costs {cost} dollars."
    return f"{text} How many dollars does the fence cost?", (2 * (length + width) - gate) * cost


def tickets(r: Random) -> tuple[str, int]:
    """Four steps: two equations in two unknowns."""
    child = r.randint(4, 11)
    adult = child + r.randint(3, 12)
    adults, children = r.randint(25, 240), r.randint(25, 240)
    event = r.choice(("school concert", "puppet show", "museum", "football match", "open-air film"))
    taken = adults * adult + children * child
    text = f"For a {event} an adult ticket costs {adult} dollars and a child ticket {child} dollars. In total"
    text = f"{text} {adults + children} tickets were sold, and {taken} dollars were taken."
    return f"{text} How many of the tickets were adult tickets?", adults


def machines(r: Random) -> tuple[str, int]:
    """Four steps: two products, a sum and a difference."""
    a, b, hours = r.randint(40, 190), r.randint(40, 190), r.randint(6, 14)
    late, bad = r.randint(1, 4), r.randint(5, 48)
    part = r.choice(("screws", "bottle caps", "circuit boards", "wooden toys"))
    text = f"In a factory the old machine makes {a} {part} an hour and the new one makes {b} an hour. The old machine runs"
    text = f"{text} for {hours} hours; the new one starts {late} hours after it and stops at the same time. At the end"
    text = f"{text} {bad} of the {part} are found to be faulty and thrown away."
    return f"{text} How many good {part} remain?", a * hours + b * (hours - late) - bad


def town(r: Random) -> tuple[str, int]:
    """Four steps: a rise and a fall in percent, then a difference."""
    people, gone = 2000 * r.randint(3, 45), r.randint(60, 900)
    rise, fall = r.choice((5, 10, 15, 20)), r.choice((4, 5, 10, 20))
    after = people * (100 + rise) * (100 - fall) // 10_000
    text = f"A town had {people} inhabitants. Over ten years the number grew by {rise} percent. In the ten years after that"
    text = f"{text} it fell by {fall} percent of what it had become. Last year a further {gone} people moved away, and"
    return f"{text} nobody moved in. How many inhabitants does the town have now?", after - gone


def saving(r: Random) -> tuple[str, int]:
    """Four steps: a difference, a product, a difference and a quotient that is rounded up."""
    income = r.randint(180, 420)
    spent, have = r.randint(40, income - 60), r.randint(50, 600)
    price = have + r.randint(4, 19) * (income - spent) - r.randint(1, 30)
    name = r.choice(NAMES)
    goal = r.choice(("a laptop", "a sailing course", "a second-hand piano", "a journey by rail"))
    text = f"{name} earns {income} dollars a month with a weekend job, spends {spent} dollars of it each month and saves the"
    text = f"{text} rest. There are already {have} dollars in the savings account, and {goal} costs {price} dollars."
    return f"{text} After how many whole months is there enough money?", -(
        -(price - have) // (income - spent)
    )


def wages(r: Random) -> tuple[str, int]:
    """Five steps: ordinary and extra hours, two products, a sum and a deduction."""
    normal, hours, wage, extra = 40, r.randint(43, 56), r.randint(14, 36), r.randint(4, 15)
    weeks, rent = r.randint(2, 4), r.randint(120, 640)
    name = r.choice(NAMES)
    text = f"{name} is paid {wage} dollars an hour. For every hour beyond {normal} in a week there are {extra} dollars more"
    text = f"{text} per hour. For {weeks} weeks in a row {name} works {hours} hours a week, and from the pay of all these"
    text = f"{text} weeks {rent} dollars are kept back for a staff flat. How many dollars are paid out?"
    return text, weeks * (wage * hours + extra * (hours - normal)) - rent


def market(r: Random) -> tuple[str, int]:
    """Five steps: stock, loss, revenue, cost and profit."""
    crates, per_crate, bad = r.randint(6, 30), r.choice((40, 50, 60, 80)), r.randint(5, 60)
    price, cents = r.randint(5, 14), r.choice((40, 45, 55, 60, 75, 80))
    fruit = r.choice(("apples", "pears", "oranges", "peaches"))
    text = f"A trader buys {crates} crates of {fruit} at {price} dollars a crate. There are {per_crate} {fruit} in each crate."
    text = f"{text} On the way to the market {bad} of them go bad and have to be thrown away; all the others are sold for"
    text = f"{text} {cents} cents each. How many cents of profit does the trader make? (One dollar is one hundred cents.)"
    return text, (crates * per_crate - bad) * cents - crates * price * 100


def tiles(r: Random) -> tuple[str, int]:
    """Five steps: two areas, two quotients rounded up, a product."""
    length, width, side = r.randint(3, 9), r.randint(2, 7), r.choice((20, 25, 50))
    per_box, cost = r.choice((9, 11, 14, 16, 22)), r.randint(18, 65)
    room = r.choice(("kitchen", "bathroom", "hallway", "laundry room"))
    count = (length * 100 // side) * (width * 100 // side)
    text = f"The floor of a {room} is {length} metres long and {width} metres wide. It is to be covered with square tiles whose"
    text = f"{text} sides are {side} centimetres long. The tiles come in boxes of {per_box}, and a box costs {cost} dollars;"
    text = f"{text} single tiles are not sold. How many dollars have to be spent on tiles?"
    return text, -(-count // per_box) * cost


def sharing(r: Random) -> tuple[str, int]:
    """Five steps: three amounts from each other, a sum, a share and a difference."""
    a, less = r.randint(16, 70), r.randint(3, 20)
    one, two, three = r.sample(NAMES, 3)
    a += (5 * a - less) % 3  # makes the sum divisible by three
    total = 5 * a - less
    thing = r.choice(("stickers", "chestnuts", "trading cards", "glass beads"))
    text = f"{one} has collected {a} {thing}. {two} has twice as many as {one}, and {three} has {less} fewer than {two}."
    text = f"{text} They put everything together and share it equally among the three of them. How many {thing} does"
    return f"{text} {one} have more than before?", total // 3 - a


LONG_TEMPLATES: tuple[tuple[int, Callable[[Random], tuple[str, int]]], ...] = (
    *((3, average), (3, ages), (3, rope)),
    *((4, fence), (4, tickets), (4, machines), (4, town), (4, saving)),
    *((5, wages), (5, market), (5, tiles), (5, sharing)),
)
