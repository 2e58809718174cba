"""Answers: what an answer says, whatever it is compared with. Pure."""
