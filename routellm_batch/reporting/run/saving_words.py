"""What a run saved against sending every row to the strong model, in words. Pure."""

from __future__ import annotations

from routellm_batch.core.types import WEAK
from routellm_batch.reporting.run.comparison import counterfactual_nano, saving
from routellm_batch.reporting.run.facts import RunFacts
from routellm_batch.reporting.text import percent, usd


def saving_text(facts: RunFacts) -> str:
    """Return how the cost compares with what all strong and all weak would have cost."""
    made = saving(facts)
    if made is None:
        return "No row was answered, so there is nothing to compare."
    strong, weak = usd(made.all_strong_nano), usd(counterfactual_nano(facts, WEAK))
    parts = [name for name, one in (("pilot", facts.own_pilot), ("embeddings", facts.embedding)) if one]
    included = f", {' and '.join(parts)} included" if parts else ""
    text = (
        f"The rows that were answered would have cost about {strong} with every one on the strong model, and about "
        f"{weak} with every one on the weak model. This run spent {usd(made.spent_nano)}{included}: "
    )
    if not made.is_loose:
        return f"{text}{_against(made.nano, made.all_strong_nano)} than all strong."
    if made.most_nano <= 0:
        return f"{text}at least {_against(made.most_nano, made.all_strong_nano)} than all strong."
    billed = f"if all of the {usd(made.presumed_nano)} that is presumed was billed"
    return (
        f"{text}up to {_against(made.most_nano, made.all_strong_nano).removeprefix('about ')} than all strong, but "
        f"{_against(made.nano, made.all_strong_nano)} {billed}."
    )


def _against(nano: int, all_strong_nano: int) -> str:
    share = f" ({percent(round(abs(nano) / all_strong_nano, 3))})" if all_strong_nano else ""
    return f"about {usd(abs(nano))}{share} {'less' if nano >= 0 else 'more'}"


def saved(facts: RunFacts) -> tuple[str, str, str] | None:
    """Return name, figure and footing of the saving in as few words as possible; None where nothing was answered."""
    made = saving(facts)
    if made is None:
        return None
    nano = made.most_nano if made.is_loose else made.nano
    name = "Saved against all strong" if nano >= 0 else "Above all strong"
    up_to = "" if not made.is_loose else "up to " if nano >= 0 else "at least "
    share = percent(round(abs(nano) / made.all_strong_nano, 3)) if made.all_strong_nano else "–"
    return name, f"{up_to}{usd(abs(nano))}", f"{share} of what all strong would have cost"


def saved_line(facts: RunFacts) -> str:
    """Return the saving as a clause, e.g. ``saved about $0.74 (71%)``; empty where nothing was answered."""
    short, made = saved(facts), saving(facts)
    if short is None or made is None:
        return ""
    _, figure, footing = short
    about = figure if made.is_loose else f"about {figure}"
    share = footing.partition(" ")[0]
    if (made.most_nano if made.is_loose else made.nano) >= 0:
        return f"saved {about} ({share}) against all strong"
    return f"{about} ({share}) more than all strong"
