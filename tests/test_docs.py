"""The pages: links and pictures lead somewhere, commands exist, and the list of messages is as old as the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import build
from core import motionfile
from core.errors import CoreError
from docs import troubleshooting
from docs.troubleshooting import UNKNOWN, Entry
from mgpt3_blender.errors import UserError
from mgpt3_blender.pythons import locate_python

PAGES = [build.ROOT / "README.md", *sorted((build.ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    for link in links:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(build.ROOT)
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(LINK.findall(PAGES[0].read_text(encoding="utf-8")))
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= linked


def test_options_in_the_pages_exist() -> None:
    """Every --option that a page shows in code is one that some program here has, or Blender's, argparse's or pip's."""
    foreign = {"--command", "--help"}
    files = [build.ROOT / "build.py", *(f for p in troubleshooting.PACKAGES for f in (build.ROOT / p).rglob("*.py"))]
    known = {word for file in files for word in re.findall(r"--[a-z][a-z-]+", file.read_text(encoding="utf-8"))}
    known |= {f"--{field.replace('_', '-')}" for field in re.findall(r"^(\w+) = ", _configs(), re.MULTILINE)}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").split(troubleshooting.MARK)[0]
        code = re.findall(r"```sh\n.*?```|`[^`\n]+`", text, re.DOTALL)
        shown = set(re.findall(r"--[a-z][a-z-]+", " ".join(code)))
        assert shown <= known | foreign, f"{page.name}: {shown - known - foreign}"


def _configs() -> str:
    folder = build.ROOT / "core" / "train" / "configs"
    return "\n".join(file.read_text(encoding="utf-8") for file in folder.glob("*.toml"))


def test_the_list_of_messages_is_as_old_as_the_code() -> None:
    now = troubleshooting.PAGE.read_text(encoding="utf-8")
    assert now == troubleshooting.page(), "run: python3.11 build.py docs"


def test_every_code_of_the_source_is_listed() -> None:
    """Found in another way than the page's: by pattern, not by syntax."""
    pattern = re.compile(r"\b(?:UserError|RigError|CoreError)\(\s*\"([a-z_]+)\"")
    files = [file for package in troubleshooting.PACKAGES for file in (build.ROOT / package).rglob("*.py")]
    codes = {code for file in files for code in pattern.findall(file.read_text(encoding="utf-8"))}
    assert len(codes) > 150
    assert codes <= {entry.code for entry in troubleshooting.entries()}


def listed(error: CoreError | UserError) -> bool:
    """Whether an error that was raised is on the page, its names and numbers apart."""

    def fits(pattern: str, text: str) -> bool:
        return re.fullmatch(".*".join(map(re.escape, pattern.split(UNKNOWN))), text) is not None

    entries = [entry for entry in troubleshooting.entries() if entry.code == error.code]
    return any(fits(entry.message, error.message) and fits(entry.remedy, error.remedy) for entry in entries)


def test_what_is_really_raised_is_what_the_page_says(tmp_path: Path) -> None:
    with pytest.raises(UserError) as no_python:
        locate_python(tmp_path / "nothing")
    with pytest.raises(CoreError) as no_motion:
        motionfile.read_motion(tmp_path / "nothing.bvh")
    assert listed(no_python.value)
    assert listed(no_motion.value)
    assert not listed(UserError(no_python.value.code, "Something else.", no_python.value.remedy))


def test_sentences_are_put_together_from_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "core"
    folder.mkdir()
    (folder / "limits.py").write_text("MOST = 8 * 4\nAGAIN = 'Try again.'\n", encoding="utf-8")
    file = folder / "serve.py"
    file.write_text(
        "from .limits import AGAIN, MOST\n"
        "def a(name, count):\n"
        "    remedy = 'Close it.' if count else 'Open it.'\n"
        "    raise CoreError('first', f'\"{name}\" is a | b, {MOST:.1f} at most.', remedy)\n"
        "def b(what, why=AGAIN):\n"
        "    return CoreError('second', f'{what}.', why)\n"
        "def c():\n"
        "    raise b('It is locked', 'Unlock it.') if x else b('It is gone')\n"
        "def d(error):\n"
        "    raise CoreError(error.code, error.message, error.remedy)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(troubleshooting, "ROOT", tmp_path)
    title = "Between the add-on and the core"
    assert sorted(troubleshooting.entries_of(file)) == [
        Entry(title, "first", '"…" is a | b, 32.0 at most.', "Close it."),
        Entry(title, "first", '"…" is a | b, 32.0 at most.', "Open it."),
        Entry(title, "second", "It is gone.", "Try again."),
        Entry(title, "second", "It is locked.", "Unlock it."),
    ]
    assert "a \\| b" in troubleshooting._cell('"…" is a | b')
    other = folder / "unheard_of.py"
    other.write_text("raise CoreError('x', 'y')\n", encoding="utf-8")
    with pytest.raises(LookupError, match="heading"):
        troubleshooting.entries_of(other)
