"""HTML without templates: elements whose text is escaped, tables, pictures inside the page, and a page to print."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from mnist_trainer.errors import escape_controls

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The Content-Security-Policy of a page: it loads nothing and runs no script."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6570; --line: #d5dae0; --paper: #fff; --card: #f4f6f8;
  --accent: #0072b2; --good: #007a5a; --warn: #b34700 }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b1; --line: #3a424b;
  --paper: #14171a; --card: #1e2328; --accent: #6cb8ee; --good: #4cc29a; --warn: #f0a060 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere }
h2 { margin: 2.6rem 0 .6rem; padding-bottom: .2rem; border-bottom: 2px solid var(--accent); font-size: 1.4rem;
  overflow-wrap: anywhere }
h3 { margin: 1.8rem 0 .5rem; font-size: 1.1rem }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere }
.soft, figcaption, th { color: var(--soft) }
.result { margin: 1rem 0; padding: 1rem 1.2rem; background: var(--card); border-left: 5px solid var(--accent) }
.result b { font-size: 2.2rem; line-height: 1.1 }
.result p { margin: .3rem 0 }
.good { border-color: var(--good) } .warn { border-color: var(--warn) }
.note { margin: .6rem 0; padding: .5rem .9rem; background: var(--card); border-left: 5px solid var(--accent) }
.note.good { border-color: var(--good) } .note.warn { border-color: var(--warn) }
.wide { margin: .8rem 0; overflow-x: auto }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  max-width: 22rem; overflow-wrap: break-word }
th { font-weight: 600 } tbody th { min-width: 6rem } tbody th p { margin: 0; min-width: 12rem; font-weight: 400 }
.next-page { margin-top: 5rem }
dl { display: grid; grid-template-columns: max-content 1fr max-content 1fr; gap: .15rem 1rem; margin: .6rem 0;
  font-size: .95rem }
dt { color: var(--soft); font-weight: 600 }
dd { margin: 0; overflow-wrap: anywhere }
.number { text-align: right; white-space: nowrap }
pre { margin: .5rem 0; padding: .7rem .9rem; background: var(--card); font: .85rem/1.45 ui-monospace,
  "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; overflow-x: auto }
pre span { white-space: nowrap }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace }
figure { margin: 1rem 0 }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line) }
figcaption { margin-top: .35rem; font-size: .9rem; max-width: 46rem }
@media (max-width: 40rem) { dl { grid-template-columns: max-content 1fr } }
summary { cursor: pointer; color: var(--accent) }
@page { size: A4; margin: 15mm 16mm 17mm;
  @bottom-right { content: counter(page) " / " counter(pages); font: 8pt sans-serif; color: #666 } }
@media print {
  html { font-size: 9pt }
  body { padding: 0; max-width: none; line-height: 1.4 }
  h2 { margin-top: 1.6rem }
  p, figcaption { max-width: none }
  .next-page { break-before: page; margin-top: 0 }
  figure, tr, pre, .result, .note { break-inside: avoid }
  h2, h3, .lead { break-after: avoid }
  figure { margin: 2mm 0 }
  figure img { max-height: 104mm } .flat img { max-height: 74mm } .tall img { max-height: 190mm }
  details:not([open]) { display: none }
  .wide { overflow: visible } th, td { padding-top: .12rem; padding-bottom: .12rem }
  .result, .note, pre { -webkit-print-color-adjust: exact; print-color-adjust: exact }
}
"""

VOID = ("br", "img", "meta")


class Html(str):
    """Text that is HTML. Any other text is escaped where it becomes part of an element."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str) -> Html:
    """Return an element with `content`, of which plain text is escaped; the attribute `class` is written `class_`."""
    written = "".join(f' {name.rstrip("_")}="{_escaped(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{written}>" if tag in VOID else f"<{tag}{written}>{join(*content)}</{tag}>")


def join(*content: str) -> Html:
    """Return HTML and plain text, which is escaped, one behind the other."""
    return Html("".join(each if isinstance(each, Html) else _escaped(each) for each in content))


def _escaped(text: str) -> str:
    """Return `text` for content or a quoted attribute; control characters and lone surrogates become readable."""
    return escape(escape_controls(text))


def facts(rows: Iterable[tuple[str, str]]) -> Html:
    """Return names with their values, two pairs a line; those without a value are left out."""
    return element(
        "dl", *(element(tag, text) for row in rows if row[1] for tag, text in zip(("dt", "dd"), row, strict=True))
    )


def commands(*lines: Sequence[str]) -> Html:
    """Return commands, each a sequence of words that are not broken."""
    return element(
        "pre", _separated("\n", (_separated(" ", (element("span", word) for word in line)) for line in lines))
    )


def _separated(separator: str, parts: Iterable[Html]) -> Html:
    return Html(separator.join(parts))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> Html:
    """Return a table whose rows begin with their heads; the columns at the positions `numbers` are right-aligned."""
    classes = [{"class_": "number"} if index in numbers else {} for index in range(len(heads))]
    head = [element("th", text, scope="col", **style) for text, style in zip(heads, classes, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [element("td", text, **style) for text, style in zip(rest, classes[1:], strict=True)]
        lines.append(element("tr", element("th", first, scope="row"), *cells))
    body = join(element("thead", element("tr", *head)), element("tbody", *lines))
    return element("div", element("table", body), class_="wide", tabindex="0")  # a keyboard can scroll it


def figure(image: bytes, alt: str, caption: str, shape: Literal["", "flat", "tall"] = "") -> Html:
    """Return a figure with `image`, a PNG or an SVG, in it; on paper `shape` limits its height."""
    kind = "png" if image.startswith(b"\x89PNG") else "svg+xml"
    source = f"data:image/{kind};base64,{b64encode(image).decode()}"
    style = {"class_": shape} if shape else {}
    return element("figure", element("img", src=source, alt=alt), element("figcaption", caption), **style)


def page(title: str, *content: Html) -> str:
    """Return a whole page without scripts or references to other files, for screens, dark or light, and for paper."""
    policy = element("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY})
    meta = [element("meta", charset="utf-8"), policy]
    meta.append(element("meta", name="viewport", content="width=device-width, initial-scale=1"))
    head = element("head", *meta, element("title", title), element("style", Html(STYLE)))
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *content), lang='en')}\n"
