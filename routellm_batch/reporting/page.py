"""The templates' environment: everything is escaped, an unknown name is an error, and numbers have filters."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from routellm_batch import __version__
from routellm_batch.reporting import text


def render(template: str, **context: Any) -> str:
    """Return one self-contained HTML page: no script, no request to anywhere."""
    environment = Environment(
        loader=PackageLoader("routellm_batch.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for form in (text.usd, text.count, text.percent, text.seconds, text.shown_id):
        environment.filters[form.__name__] = form
    return environment.get_template(template).render(version=__version__, **context)
