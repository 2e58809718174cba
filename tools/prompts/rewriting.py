"""Passages to rewrite. There are many good answers, so none is given."""

from __future__ import annotations

from random import Random

from prompts.common import Prompt, graded

SHORT_PASSAGES = (
    "Hey, can you send me the numbers by tonight? I kind of need them for the boss.",
    "The lift is broken again. Use the stairs. No idea when they will fix it.",
    "We got your letter and we will look into it when we have time.",
    "Sorry, I can't come on Thursday, my kid is ill. Maybe next week?",
    "Please note that the utilisation of mobile telephones is not permitted within these premises.",
    "The soup was cold and the waiter forgot us, so we left and had chips by the river instead.",
    "It has been decided by the committee that the rules will be changed by the end of the year.",
)
LONG_PASSAGES = (
    "Our office will move to the second floor of the new building on the first of March. Boxes will be handed out"
    " on Monday. Please pack your desk by Thursday noon and put a label with your name and new room number on every"
    " box. The computers will be moved by the technicians; do not unplug them yourselves. On Friday the old office"
    " is closed, and everybody can work from home.",
    "A heat pump takes warmth from the air or the ground outside and brings it into the house. It works like a"
    " refrigerator turned round: a fluid evaporates at a low temperature, is compressed, which makes it hot, and gives"
    " off its heat to the water in the radiators. For each unit of electricity it can deliver three or four units of"
    " heat, but on very cold days the yield falls.",
    "When the ferry was late for the third time that week, the people on the quay began to talk to each other. The"
    " teacher found out that the baker had once been a sailor, the baker heard that the teacher collected maps, and by"
    " the time the ship came in they had agreed to look at an old sea chart together. Neither of them ever complained"
    " about the timetable again.",
    "The experiment was carried out on forty tomato plants, half of which were watered every morning and half every"
    " evening. After six weeks the plants that had been watered in the evening were taller on average, but the fruits"
    " of the others were riper. As the pots stood in two different rows, it cannot be ruled out that light rather than"
    " the time of watering made the difference.",
    "The tenant shall give notice of any defect without undue delay. Should the tenant fail to do so, and should the"
    " defect grow worse as a result, the tenant shall be liable for the additional cost, unless the landlord was aware"
    " of the defect or ought to have been aware of it. Minor repairs up to the sum agreed in section four shall be borne"
    " by the tenant.",
)
SHORT_TASKS = (
    ("Rewrite this message in a polite and formal tone.", 0.12),
    ("Rewrite this in plain, friendly words.", 0.12),
    ("Say the same in no more than ten words.", 0.22),
    ("Rewrite this as a question to a colleague.", 0.2),
    ("Rewrite this in the third person and in the past tense.", 0.3),
    ("Turn this into a rhyming couplet that keeps the facts.", 0.55),
)
LONG_TASKS = (
    ("Summarise this text in one sentence.", 0.34),
    (
        "Rewrite this text as a list of short bullet points, in the order in which things matter to the reader.",
        0.4,
    ),
    ("Rewrite this text so that a ten-year-old understands it, without leaving out any fact.", 0.5),
    ("Rewrite this text in half as many words. Keep every number and every condition.", 0.58),
    ("Rewrite this text as a dialogue between two people, one of whom doubts what the other says.", 0.66),
    (
        "Rewrite this text in three versions: for a newspaper, for a legal notice and for a text message."
        " Then say in one sentence what was lost in the shortest one.",
        0.8,
    ),
)


def make(_: Random) -> list[Prompt]:
    """Return every task with every passage of its length; the task and the length make the difficulty."""
    rows = []
    for tasks, passages in ((SHORT_TASKS, SHORT_PASSAGES), (LONG_TASKS, LONG_PASSAGES)):
        for ask, level in tasks:
            for passage in passages:
                difficulty = graded(level + len(passage) / 5000)
                rows.append(Prompt(f"{ask}\n\n{passage}", "rewriting", difficulty, None, "none"))
    return rows
