"""Phrases with one usual translation, and sentences that can be put in several ways."""

from __future__ import annotations

from random import Random

from prompts.common import Prompt, graded

LANGUAGES = ("French", "German", "Spanish")
PHRASES: tuple[tuple[str, tuple[str, str, str]], ...] = (
    ("Thank you", ("Merci", "Danke", "Gracias")),
    ("Good night", ("Bonne nuit", "Gute Nacht", "Buenas noches")),
    ("Monday", ("lundi", "Montag", "lunes")),
    ("Wednesday", ("mercredi", "Mittwoch", "miércoles")),
    ("January", ("janvier", "Januar", "enero")),
    ("green", ("vert", "grün", "verde")),
    ("seventeen", ("dix-sept", "siebzehn", "diecisiete")),
    ("winter", ("hiver", "Winter", "invierno")),
    ("bread", ("pain", "Brot", "pan")),
    ("Happy birthday", ("Joyeux anniversaire", "Alles Gute zum Geburtstag", "Feliz cumpleaños")),
    ("the day after tomorrow", ("après-demain", "übermorgen", "pasado mañana")),
    ("ninety-five", ("quatre-vingt-quinze", "fünfundneunzig", "noventa y cinco")),
)
SENTENCES: tuple[tuple[str, float], ...] = (
    ("Where is the nearest railway station?", 0.2),
    ("I would like a table for two by the window, please.", 0.24),
    ("My brother has lived in this town for six years and does not want to leave.", 0.32),
    ("If I had known that you were ill, I would have brought you some soup.", 0.44),
    ("The later it gets, the harder it is to find a taxi in this part of the city.", 0.46),
    ("He is not one to blow his own trumpet, but the success is largely his doing.", 0.6),
    (
        "The contract may be ended by either party, provided that notice is given in writing three months ahead.",
        0.64,
    ),
    (
        "The old clock in the hall, which nobody had wound since grandmother's death, began to strike that night, and"
        " although each of us heard it, none of us ever spoke of it.",
        0.72,
    ),
    (
        "Let sleeping dogs lie, she used to say, and yet it was she who opened the letter, read it aloud to the whole"
        " table and then wondered why the soup went cold.",
        0.78,
    ),
    (
        "What the minister called a rounding error was, as the auditors were quick to point out, enough money to run"
        " every village library in the country for a year, with some left over for new shelves.",
        0.82,
    ),
)


def make(_: Random) -> list[Prompt]:
    """Return every phrase and every sentence in every language."""
    rows = []
    for phrase, translations in PHRASES:
        for language, reference in zip(LANGUAGES, translations, strict=True):
            prompt = f"Translate into {language}. Reply with the translation only.\n\n{phrase}"
            difficulty = graded(0.05 + len(phrase) / 100)
            rows.append(Prompt(prompt, "translation", difficulty, reference, "exact"))
    for sentence, level in SENTENCES:
        for language in LANGUAGES:
            prompt = f"Translate the following into natural {language}.\n\n{sentence}"
            rows.append(Prompt(prompt, "translation", graded(level), None, "none"))
    return rows
