"""The built pages: no warning, nothing from another host, and every page in a real browser.

The book is built once. Then each page is opened in headless Chromium from a server on 127.0.0.1, in light and
dark mode, on a wide window and on a telephone's: no request to another host, no console message, no sideways
scrolling, no violation of WCAG A or AA that axe-core can find.
"""

import functools
import importlib.resources
import os
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browsers import TELEPHONE, WIDE, launched

ROOT = Path(__file__).parents[2]
# Contrast depends on the theme, the rest on the window: each rule runs where it can find something new.
WCAG = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
ALL = {"runOnly": WCAG}
ALL_BUT_CONTRAST = {"runOnly": WCAG, "rules": {"color-contrast": {"enabled": False}}}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
CHECKS = {
    "light": [(WIDE, ALL), (TELEPHONE, ALL_BUT_CONTRAST)],
    "dark": [(WIDE, CONTRAST), (TELEPHONE, None)],
}

# The thousands of glyphs in a formula's picture say nothing to axe; its MathML stays.
AXE = """async options => {
  document.querySelectorAll("mjx-container > svg").forEach(picture => picture.replaceChildren());
  const found = await axe.run(document, {preload: false, resultTypes: ["violations"], ...options});
  const where = nodes => nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(" | ");
  return found.violations.map(violation => violation.id + ": " + where(violation.nodes));
}"""

# What sticks out of the page: too wide, and not inside a box that scrolls by itself.
STICKS_OUT = """() => {
  const page = document.documentElement, width = page.clientWidth;
  if (document.scrollingElement.scrollWidth <= width) return [];
  const scrolls = e => {
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
      if (getComputedStyle(p).overflowX !== "visible") return true;
    return false;
  };
  return [...document.querySelectorAll("body *")]
    .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
    .slice(0, 3).map(e => e.outerHTML.slice(0, 160));
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole book, built into a folder of its own as `make book` builds it."""
    out = tmp_path_factory.mktemp("site")
    builder = Path(sys.executable).with_name("jupyter-book")
    options = ["--path-output", str(out), "--all", "-W", "-n", "--keep-going", "-q"]
    environment = {key: value for key, value in os.environ.items() if key != "BIONET_REPOSITORY_URL"}
    result = subprocess.run(
        [str(builder), "build", ".", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return out / "_build" / "html", result


@pytest.fixture(scope="module")
def html(site):
    folder, result = site
    if not (folder / "book" / "index.html").exists():
        pytest.fail(result.stderr[-2000:])
    return folder


def pages(folder):
    """Every page but the redirection at the root, which leads to the front page."""
    found = (path.relative_to(folder) for path in folder.rglob("*.html"))
    return sorted(p.as_posix() for p in found if "_static" not in p.parts and p.as_posix() != "index.html")


def test_builds_without_a_warning(site):
    """-W -n --keep-going: any warning is a failure."""
    folder, result = site
    assert result.returncode == 0, result.stderr[-4000:]
    assert "WARNING" not in result.stderr
    assert "book/index.html" in (folder / "index.html").read_text(encoding="utf-8")


def test_pages_load_nothing_from_another_host(html):
    """No script, style, picture, font or frame has a foreign address, in any page or style sheet."""
    loads = re.compile(
        r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["'](?:https?:)?//[^"']+"""
    )
    links = re.compile(
        r"""<link\b(?![^>]*rel=["'](?:canonical|license|author)["'])[^>]*href=["'](?:https?:)?//[^"']+"""
    )
    for page in pages(html):
        text = (html / page).read_text(encoding="utf-8")
        found = loads.search(text) or links.search(text) or re.search(r"unpkg\.com|jsdelivr|cdnjs", text)
        assert not found, f"{page}: {found[0]}"
    for sheet in html.rglob("*.css"):
        found = re.search(
            r"""(?:@import|url\()\s*["']?(?:https?:)?//[^"')]+""", sheet.read_text(encoding="utf-8")
        )
        assert not found, f"{sheet.name}: {found[0]}"


def test_internal_links_lead_somewhere(html):
    """Every relative link names a file that was built, and its anchor exists there."""
    anchors = {}
    for page in pages(html):
        text = (html / page).read_text(encoding="utf-8")
        anchors[page] = set(re.findall(r"""\bid=["']([^"']+)["']""", text))
    for page in anchors:
        text = (html / page).read_text(encoding="utf-8")
        for link in re.findall(r"""<a\b[^>]*\bhref=["']([^"']+)["']""", text):
            if re.match(r"[a-z]+:|//", link):
                continue
            path, _, anchor = link.partition("#")
            target = (html / page).parent.joinpath(path).resolve() if path else html / page
            assert target.exists(), f"{page} -> {link}"
            name = target.relative_to(html.resolve()).as_posix() if path else page
            if anchor and name in anchors:
                assert anchor in anchors[name], f"{page} -> {link}"


def test_no_launch_button_without_an_address(html):
    """While the repository's address is unknown, nothing points at one."""
    text = (html / "notebooks" / "01-motivation.html").read_text(encoding="utf-8")
    assert "mybinder.org" not in text
    assert "colab.research" not in text


# In the browser


@pytest.fixture(scope="module")
def address(html):
    """A server on 127.0.0.1 for the built pages."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_in_the_browser(browser, address, html, theme):
    """Same host only, silent console, axe clean and no sideways scrolling, wide and on a telephone."""
    axe = (
        importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    )
    problems = []
    context = browser.new_context(viewport=WIDE, color_scheme=theme, reduced_motion="reduce")
    context.add_init_script(f"for (const key of ['mode', 'theme']) localStorage.setItem(key, '{theme}')")
    tab = context.new_page()
    page = ""

    def note_message(message):
        if message.type in ("warning", "error"):
            problems.append(f"{page}: console {message.type}: {message.text}")

    tab.on("console", note_message)
    tab.on("pageerror", lambda error: problems.append(f"{page}: script error: {error}"))

    def note_request(request):
        if not request.url.startswith((address, "data:", "blob:")):
            problems.append(f"{page}: asks {request.url}")

    tab.on("request", note_request)
    for page in pages(html):
        tab.set_viewport_size(WIDE)
        tab.goto(address + page, wait_until="load")
        tab.wait_for_load_state("networkidle")
        assert tab.evaluate("document.documentElement.dataset.theme") in (theme, None)
        tab.evaluate(axe)
        for size, rules in CHECKS[theme]:
            tab.set_viewport_size(size)
            tab.wait_for_timeout(200)
            where = f"{page} ({size['width']} px)"
            problems += [f"{where} sticks out: {found}" for found in tab.evaluate(STICKS_OUT)]
            if rules:
                problems += [f"{where}: {found}" for found in tab.evaluate(AXE, rules)]
    context.close()
    assert not problems, "\n".join(problems[:20])


@pytest.mark.browser
def test_formulas_are_typeset(browser, address):
    """MathJax runs from our own server and leaves no raw TeX behind."""
    tab = browser.new_page()
    tab.goto(address + "notebooks/02-h-part.html", wait_until="networkidle")
    tab.wait_for_selector("mjx-container svg", state="attached")
    assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert tab.locator("span.math:not(:has(mjx-container))").count() == 0
    tab.close()


@pytest.mark.browser
def test_live_figures_take_the_place_of_their_pictures(browser, address, html):
    """On the screen the live figure, in print and without JavaScript the picture; never both, never none."""
    marked = re.compile(r"<figure\b[^>]*\binteractive-")
    having = [page for page in pages(html) if marked.search((html / page).read_text(encoding="utf-8"))]
    assert "notebooks/02-h-part.html" in having
    for page in having:
        for scripts in (True, False):
            context = browser.new_context(viewport=WIDE, java_script_enabled=scripts)
            tab = context.new_page()
            tab.goto(address + page, wait_until="networkidle")
            for figure in tab.locator("figure[class*=interactive-]").all():
                picture, live = figure.locator("> img"), figure.locator("> .live")
                assert picture.count() == 1
                assert live.count() == scripts
                assert picture.is_visible() is not scripts
                assert figure.locator("figcaption").is_visible()
                if scripts:
                    tab.emulate_media(media="print")
                    assert picture.is_visible()
                    assert not live.is_visible()
                    tab.emulate_media(media="screen")
                assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 600
            context.close()


@pytest.mark.browser
def test_pages_without_a_live_figure_load_none(browser, address):
    tab = browser.new_page()
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address + "book/notation.html", wait_until="networkidle")
    loaded = [url.partition("?")[0].rpartition("/")[2] for url in asked if "/interactive/" in url]
    assert sorted(loaded) == ["interactive.css", "interactive.js"]
    tab.close()
