"""HTML without templates: `mnist_trainer/reports/html.py`."""

from __future__ import annotations

from mnist_trainer.reports.html import commands, element, facts, figure, join, page, table

HOSTILE = "<script>alert('x')</script> & \"quotes\""


def test_text_is_escaped_where_it_becomes_part_of_an_element() -> None:
    inner = element("b", HOSTILE)
    assert inner == "<b>&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;quotes&quot;</b>"
    assert element("p", inner, "<") == f"<p>{inner}&lt;</p>"  # once, not twice
    assert join("<", element("br")) == "&lt;<br>"


def test_attributes_are_quoted_whatever_they_are() -> None:
    assert element("img", alt='a" onerror="b', class_="c") == '<img alt="a&quot; onerror=&quot;b" class="c">'
    assert element("p", "a", title=element("b", "<")) == '<p title="&lt;b&gt;&amp;lt;&lt;/b&gt;">a</p>'


def test_what_no_file_can_hold_becomes_readable() -> None:
    assert element("p", "a\0b\x1b[1m\u202ec\ud800") == r"<p>a\x00b\x1b[1m\u202ec\ud800</p>"


def test_facts_without_a_value_are_left_out() -> None:
    assert facts([("a", "1"), ("b", "")]) == "<dl><dt>a</dt><dd>1</dd></dl>"


def test_a_row_begins_with_its_head_and_numbers_are_marked() -> None:
    found = table(("run", "errors"), [("a", "7")], numbers=[1])
    assert '<th scope="row">a</th><td class="number">7</td>' in found
    assert '<th scope="col">run</th><th scope="col" class="number">errors</th>' in found


def test_commands_are_pasted_as_they_are_typed() -> None:
    found = commands(("mnist-eval", "'my runs/a'"), ("b",))
    assert found == "<pre><span>mnist-eval</span> <span>&#x27;my runs/a&#x27;</span>\n<span>b</span></pre>"


def test_a_picture_is_inside_the_page() -> None:
    assert 'src="data:image/png;base64,iVBORw=="' in figure(b"\x89PNG", "a", "b")
    assert 'src="data:image/svg+xml;base64,' in figure(b"<svg/>", "a", "b")


def test_a_page_allows_itself_nothing_from_elsewhere() -> None:
    found = page("<title>", element("p", "a"))
    assert found.startswith('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">')
    assert "default-src &#x27;none&#x27;; img-src data:; style-src &#x27;unsafe-inline&#x27;" in found
    assert "<title>&lt;title&gt;</title>" in found
