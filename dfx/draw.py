"""Draw: the templates of reports, notebooks and model cards, filled in. In HTML, what comes from files is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dfx.charts import Chart
from dfx.table import text_of

TEMPLATES = Path(__file__).parent / "templates"


def environment(*, escaping: bool = True) -> Environment:
    """Where templates come from, and how they are filled in: all that is put into them is escaped, as HTML needs it."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escaping,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not escaping,
    )
    made.filters["printable"] = text_of
    return made


def charts_html(charts: Sequence[Chart]) -> str:
    """The charts side by side, as HTML that shows in a notebook, light or dark: its colours are the page's own."""
    return environment().get_template("notebook.html.j2").render(charts=charts)
