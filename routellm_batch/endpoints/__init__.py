"""Endpoints: the real client, the pace it keeps, and the fakes that tests and trials call."""
