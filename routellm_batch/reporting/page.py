"""Rendering of the templates: everything is escaped, an unknown name is an error, and filters write numbers.

The content security policy of a page lets nothing load, and no script run but the page's own, which it names by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from routellm_batch import __version__
from routellm_batch.reporting import quality_words, text


def render(template: str, *, script: str | None = None, **context: Any) -> str:
    """Return one self-contained HTML page, which requests nothing and runs at most one script of this package.

    Args:
        template: file name of the template.
        script: file name of a script beside the templates; it holds no data, so its hash only depends on the package.
        context: the values that the template names.

    """
    code = (
        ""
        if script is None
        else files("routellm_batch.reporting").joinpath("templates", script).read_text("utf-8")
    )
    policy = f"script-src 'sha256-{_digest(code)}'; " if code else ""
    environment = Environment(
        loader=PackageLoader("routellm_batch.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for form in (
        text.usd,
        text.price,
        text.count,
        text.percent,
        text.seconds,
        text.shown_id,
        text.public_uri,
        quality_words.grade,
    ):
        environment.filters[form.__name__] = form
    shared = {"version": __version__, "policy": Markup(policy), "script": Markup(code)}  # noqa: S704 - both are this package's
    return environment.get_template(template).render(**shared, **context)


def _digest(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
