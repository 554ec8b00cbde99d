"""Receives a report · hands out one HTML file with its table, its plots and its JSON · owns the page: it needs nothing
from elsewhere.
"""

from __future__ import annotations

import json
from html import escape

from .plots import plots
from .report import Report
from .table import rows

__all__ = ["html"]

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2128; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } td { padding: .2rem 1.5rem .2rem 0; vertical-align: top; }
td:first-child { color: #57606a; } svg { max-width: 100%; height: auto; }
pre { background: #f6f8fa; padding: 1rem; overflow: auto; } .error { color: #b3261e; }
"""


def html(report: Report) -> str:
    """The report as a page."""
    title = f"{report.scenario} {report.plan.url}"
    table = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows(report)
    )
    errors = "".join(f'<p class="error">{escape(text)}</p>' for text in report.faults.texts)
    note = "<p>Interrupted: what was measured until then.</p>" if report.is_interrupted else ""
    drawn = "".join(f"<h2>{escape(name)}</h2>{svg}" for name, svg in plots(report))
    plan = escape(json.dumps(report.document["plan"], indent=1))
    # Within a script only its end tag has a meaning.
    document = report.to_json().replace("</", "<\\/")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>{note}<table>{table}</table>{errors}{drawn}"
        f"<h2>Plan</h2><pre>{plan}</pre>"
        f'<script type="application/json" id="report">{document}</script></body>\n</html>\n'
    )
