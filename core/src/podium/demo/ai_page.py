"""The AI demo's page: inputs, answers and the bill, with no network and no script."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

from podium.demo.ai_result import bill_of, figures, given_and_got
from podium.testing.gateway.hls import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Podium: AI jobs</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto;
         padding: 0 1rem; color: #1c2430; }}
  section {{ border: 1px solid #ccd3dd; border-radius: 8px; padding: 0 1.2rem 1rem;
            margin: 1.5rem 0; }}
  blockquote {{ margin: .5rem 0; padding-left: .8rem; border-left: 3px solid #8aa4c8;
               white-space: pre-wrap; }}
  img, audio {{ display: block; max-width: 100%; margin: .5rem 0; }}
  .bill {{ color: #5a6676; }}
  td {{ padding: .1rem 1.5rem .1rem 0; }}
  td + td {{ text-align: right; }}
</style>
<h1>Three AI jobs, paid with tickets</h1>
{jobs}
<h2>Totals</h2>
<table>
{figures}
</table>
{problems}
</html>
"""


def write_page(out: Path, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json`` and ``index.html``."""
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    rows = (
        f"<tr><td>{_safe(label)}</td><td>{_safe(text)}</td></tr>"
        for label, text in figures(summary)
    )
    problems = "".join(f"<li>{_safe(line)}</li>" for line in summary["problems"])
    page = _PAGE.format(
        jobs="\n".join(_section(job) for job in summary["requests"]),
        figures="\n".join(rows),
        problems=f"<h2>Problems</h2><ul>{problems}</ul>" if problems else "",
    )
    write_whole(out / "index.html", page)


def _safe(text: object) -> str:
    return html.escape(str(text))


def _section(job: Mapping[str, Any]) -> str:
    _, got = given_and_got(job)
    given = job["input"]
    shown = _file(given["file"]) if "file" in given else ""
    answer = "" if not job["ok"] else "".join(_file(path) for path in job["files"])
    return f"""\
<section>
<h2>{_safe(job["pipeline"])} <small>{_safe(job["model"])}</small></h2>
Given{": " + shown if shown else ""}
<blockquote>{_safe(given["text"])}</blockquote>
Answer{": " + answer if answer else ""}
<blockquote>{_safe(got)}</blockquote>
<div class="bill">{_safe(bill_of(job))}</div>
</section>"""


def _file(path: str) -> str:
    name = _safe(path.rpartition("/")[2])
    if name.endswith(".png"):
        return f'<img src="{name}" alt="{name}">'
    return f'<audio controls src="{name}"></audio>'
