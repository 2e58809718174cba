"""Short texts to label: sentiment, topic, spam and support desk; the labels are named in the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from prompts.common import NAMES, Prompt, graded

SENTIMENT = (
    "Is the sentiment of this review positive, negative or neutral? Reply with one of these three words only."
)
TOPIC = "Which topic is this about: sport, business, science, travel or health? Reply with one word only."
SPAM = "Is this message spam or ham (a wanted message)? Reply with one word only, spam or ham."
DESK = (
    "Which team should get this message: billing, shipping, technical or account? Reply with one word only."
)

THINGS = (
    "hotel",
    "headset",
    "restaurant",
    "mobile app",
    "backpack",
    "language course",
    "coffee grinder",
    "guided tour",
)
PRAISE = (
    "was a pleasure from start to finish",
    "did everything it promised and a little more",
    "made the whole week easier",
    "is the best that I have come across in years",
    "arrived early and worked at once",
)
BLAME = (
    "was a waste of money",
    "let us down on the very first day",
    "stopped working after a week, and nobody answered my letters",
    "is far too loud and badly finished",
    "made everything harder than it was before",
)
PLAIN = (
    "comes in two sizes and can be ordered in grey or green",
    "opens at nine and closes at six, except on Sundays",
    "is described on four pages of the enclosed leaflet",
    "was bought in March and has been used about twice a week",
)
ASIDES = (
    "The colour was nicer than in the picture.",
    "The staff at the desk were friendly enough.",
    "Delivery took a few days.",
    "A friend of mine had told me the opposite.",
    "The manual could be shorter.",
)
TOPICS = {
    "sport": (
        "The goalkeeper saved two penalties, and the home side went through to the final.",
        "After a slow start she overtook three runners on the last lap and won by a metre.",
        "The club has signed a new coach, who wants the team to press higher up the pitch.",
        "The investor who bought the stadium watched his side lose at home for the fifth time in a row.",
        "Doctors had doubted that the cyclist would race again, yet she took the yellow jersey in the mountains.",
        "Between two flights the squad found time for one training session, and it showed in the second half.",
    ),
    "business": (
        "The bakery chain will open twelve new shops and expects its profit to rise.",
        "Shares in the car maker fell after it lowered its sales forecast for the year.",
        "The two banks have agreed on a merger that will cut costs by a tenth.",
        "The firm that sponsors the city marathon reported higher earnings, thanks to lower interest rates.",
        "A maker of hip implants has been bought by its largest rival for half of its annual revenue.",
        "The airline cancelled its order of long-haul jets and will lease older ones until fuel prices settle.",
    ),
    "science": (
        "Astronomers have measured the mass of a planet that circles two stars.",
        "A team of chemists has found a way to split water with far less electricity.",
        "Fossils from the river bank show that these reptiles could swim.",
        "By filming sprinters on a treadmill, physicists worked out how much energy a tendon stores.",
        "The bank of the estuary holds sediments in which geologists read ten thousand years of floods.",
        "Why migrating birds do not lose their way was tested with magnets, and with surprising results.",
    ),
    "travel": (
        "The night train leaves at ten, and breakfast is served before the border.",
        "From the harbour it is a short walk to the old town and its covered market.",
        "The best time to visit the islands is late spring, before the ferries get crowded.",
        "If the museum of sport history bores you, take the tram to the lake and hire a rowing boat.",
        "Exchange some cash before you cross the pass, as few of the mountain inns take cards.",
        "The spa town is worth two days, less for its waters than for the footpaths along the gorge.",
    ),
    "health": (
        "Nurses advise people with hay fever to keep the windows shut in the morning.",
        "The clinic offers free blood pressure checks for people over fifty.",
        "Sleeping badly for weeks is a reason to see a doctor.",
        "Runners who build up their distance too fast often get pain in the shin, and rest is what helps.",
        "Office workers who stand up twice an hour complain less about their backs, a survey of insurers shows.",
        "Those who come home from the tropics with a fever should have their blood tested the same day.",
    ),
}
SPAM_TEXTS = (
    "Congratulations {name}! You have been chosen to receive a free phone. Click the link within one hour to claim it.",
    "Earn thousands a week from home, no experience needed. Reply YES and we will send you the secret.",
    "Your parcel could not be delivered. Pay the small fee at the link below or it will be destroyed.",
    "Dear customer, your bank account is locked. Confirm your password and card number here to open it again.",
    "Hello {name}, I am the lawyer of a distant relative of yours who left a large sum. Send me your bank details.",
    "Doctors hate this trick: lose ten kilos in a week with one simple tea. Order now, only a few boxes are left.",
    "{name}, it was good to meet you at the conference. As agreed, here is the investment that doubles every month.",
    "Reminder: your invoice is overdue. Open the attached program to see what you owe and avoid a court case.",
)
HAM_TEXTS = (
    "Hi {name}, the meeting has moved to three o'clock. Same room as last week.",
    "Could you pick up some bread on the way home? We are out of milk as well.",
    "{name}, thank you for the draft. I have marked two places where the figures don't add up.",
    "Your table for four is booked for Friday at eight. Please call us if your plans change.",
    "The library book that you asked for is ready. We keep it for you until the end of next week.",
    "Congratulations {name}, you have passed the exam! The certificate will be sent to you by post.",
    "Your bank statement for last month is ready. As always, we never ask for your password by e-mail.",
    "Only a few places are left for Saturday's free first-aid course. Reply to this message if you want one.",
)
DESK_TEXTS = {
    "billing": (
        "I was charged twice for the same order. Please send one of the payments back.",
        "The invoice shows the old price, although I ordered during the sale.",
        "My parcel came on time, but the delivery fee on the receipt is higher than what the website said.",
        "Since I changed my password the app works again; what does not work is your discount, which was not deducted.",
        "We closed our account in May and yet the monthly fee for June was collected.",
    ),
    "shipping": (
        "My order left your warehouse ten days ago and has still not arrived.",
        "The box was crushed when the courier handed it over, and one of the cups is broken.",
        "I have paid for express delivery, and the tracking page has not changed since Monday.",
        "The refund came quickly, thank you. But who collects the wrong lamp that you sent me?",
        "Please send the printer to my office, as I logged in too late to change the address before it was packed.",
    ),
    "technical": (
        "The app closes by itself whenever I open the camera.",
        "After the update the speaker no longer connects to my computer.",
        "The export button does nothing, in two browsers, on two machines.",
        "I can sign in without trouble, but every invoice that I try to open is shown as an empty page.",
        "The scanner was delivered yesterday. It switches on, shows a red light, and is not found by the driver.",
    ),
    "account": (
        "I no longer have the phone number that you send the sign-in code to.",
        "Please change the name on my profile, as I got married last month.",
        "How can I delete all the data that you hold about me?",
        "The link to reset my password has expired before I could use it, three times now.",
        "My colleague has left, and she was the only one who could add people to our team. Who can do it now?",
    ),
}


def _sentiment(r: Random) -> Iterator[tuple[str, str, float]]:
    groups = (("positive", PRAISE, BLAME), ("negative", BLAME, PRAISE), ("neutral", PLAIN, PLAIN))
    for label, clauses, opposite in groups:
        for number, clause in enumerate(clauses):
            thing = r.choice(THINGS)
            yield f"The {thing} {clause}.", label, 0.08
            aside = r.choice(ASIDES) if label != "neutral" else "The price is printed on the back."
            yield f"{aside} The {r.choice(THINGS)} {clause}.", label, 0.24
            if label != "neutral":
                other = opposite[(number + 1) % len(opposite)]
                text = (
                    f"My cousin had warned me that the {thing} {other}. {aside} Perhaps hers was another one,"
                )
                yield (
                    f"{text} because the one that I had {clause}, and that is what counts for me.",
                    label,
                    0.52,
                )


def _topics(_: Random) -> Iterator[tuple[str, str, float]]:
    for label, texts in TOPICS.items():
        for number, text in enumerate(texts):
            yield text, label, 0.1 if number < 3 else 0.46


def _spam(r: Random) -> Iterator[tuple[str, str, float]]:
    for label, texts in (("spam", SPAM_TEXTS), ("ham", HAM_TEXTS)):
        for number, text in enumerate(texts):
            yield text.format(name=r.choice(NAMES)), label, 0.06 if number < 5 else 0.38


def _desk(_: Random) -> Iterator[tuple[str, str, float]]:
    for label, texts in DESK_TEXTS.items():
        for number, text in enumerate(texts):
            yield text, label, 0.14 if number < 2 else 0.3 + 0.1 * (number - 2)


def make(r: Random) -> list[Prompt]:
    """Return the labelled texts; a text that names other labels' words, or says two things, is graded harder."""
    rows = []
    for ask, texts in ((SENTIMENT, _sentiment), (TOPIC, _topics), (SPAM, _spam), (DESK, _desk)):
        for text, label, level in texts(r):
            difficulty = graded(level + len(text) / 2000)
            rows.append(Prompt(f"{ask}\n\n{text}", "classification", difficulty, label, "exact"))
    return rows
