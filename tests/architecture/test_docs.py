"""What the documents say leads somewhere and is true."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cli.main import app
from cli.settings_reference import Variable, example, page, sections

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
DECISIONS = sorted((DOCS / "adr").glob("[0-9]*.md"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
ELSEWHERE = ("http://", "https://", "mailto:")
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
every_decision = pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)


def prose(path: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", path.read_text(encoding="utf-8")))


def links(path: Path) -> Iterator[tuple[str, str, str]]:
    """Text, file and heading of each link into the repository."""
    for text, target in LINK.findall(prose(path)):
        if not target.startswith(ELSEWHERE):
            file, _, heading = target.partition("#")
            yield text, file, heading


def anchors(path: Path) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def commands(path: Path) -> list[str]:
    """The lines that a page gives to type."""
    blocks = [block for language, block in FENCED.findall(path.read_text(encoding="utf-8")) if language in ("", "sh")]
    return [line.strip() for block in blocks for line in block.splitlines()]


@every_page
def test_every_link_leads_to_a_file_of_the_repository_and_its_heading(path: Path) -> None:
    dead = [
        f"{file}#{heading}"
        for _, file, heading in links(path)
        if not (found := (path.parent / file).resolve() if file else path).exists()
        or not found.is_relative_to(ROOT)
        or (heading and heading not in anchors(found))
    ]

    assert dead == []


@every_page
def test_every_test_that_a_page_names_exists(path: Path) -> None:
    named = [(text, (path.parent / file).resolve()) for text, file, _ in links(path) if text.startswith("test_")]
    missing = [name for name, file in named if not re.search(rf"def {name}\(", file.read_text(encoding="utf-8"))]

    assert missing == []


def test_the_readme_names_a_test_for_each_promise() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    promises = text.split("## What it promises", 1)[1].split("\n## ", 1)[0]
    points = re.split(r"^- ", promises, flags=re.MULTILINE)[1:]

    assert len(points) >= 5
    assert [point for point in points if "](tests/" not in point] == []


@every_page
def test_every_command_that_a_page_tells_to_type_exists(path: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    wrong = []
    for line in commands(path):
        words = line.removeprefix(".venv/bin/").split()
        if words[:1] == ["make"] and words[1] not in targets:
            wrong.append(line)
        if words[:1] == ["reinstate"] and not is_command(words[1:]):
            wrong.append(line)
        if words[:2] == ["python", "-m"] and importlib.util.find_spec(words[2]) is None:
            wrong.append(line)
        if "--factory" in words and not is_factory(words[words.index("--factory") + 1]):
            wrong.append(line)

    assert wrong == []


def is_command(words: list[str]) -> bool:
    command = typer.main.get_command(app)
    for word in words:
        inner = getattr(command, "commands", None)
        if inner is None:  # arguments and options follow
            return True
        if word not in inner:
            return False
        command = inner[word]
    return not hasattr(command, "commands")


def is_factory(name: str) -> bool:
    module, _, function = name.partition(":")
    file = ROOT / f"{module.replace('.', '/')}.py"
    if not file.exists():
        return False
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_readme_gives_the_two_commands() -> None:
    first = next(block for language, block in FENCED.findall((ROOT / "README.md").read_text(encoding="utf-8")))

    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


def test_the_readmes_map_names_folders_that_exist_and_no_service_is_missing() -> None:
    blocks = [block for _, block in FENCED.findall((ROOT / "README.md").read_text(encoding="utf-8"))]
    house = next(block for block in blocks if block.startswith("services/"))
    folders = {line.split("  ")[0].strip() for line in house.splitlines()} - {"tests, docs"}

    assert [folder for folder in sorted(folders) if not (ROOT / folder).is_dir()] == []
    for top in ("services", "shared"):
        rooms = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / top).glob("*/__init__.py")}
        assert rooms - folders == set()


def test_the_map_names_every_document() -> None:
    named = {(DOCS / file).resolve() for _, file, _ in links(DOCS / "index.md")}
    pages = {path for path in DOCS.rglob("*") if path.suffix in (".md", ".json", ".svg")}

    assert pages - named - set(DECISIONS) == {DOCS / "index.md"}


def test_decisions_have_numbers_of_their_own_and_are_listed() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    listed = [file for _, file, _ in links(DOCS / "adr" / "README.md")]

    assert sorted(set(numbers)) == numbers
    assert [file for file in listed if re.match(r"\d{4}-", file)][-len(DECISIONS) :] == [one.name for one in DECISIONS]


@every_decision
def test_a_decision_has_its_number_context_decision_and_consequences(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    title = re.match(r"# 0*(\d+)[.:] \S", text)

    assert title is not None
    assert int(title.group(1)) == int(path.name[:4])
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_every_word_of_the_glossary_is_explained_shortly_and_once() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^### (.+)\n((?:(?!#).+\n)*)", text, re.MULTILINE)
    words = [word for word, _ in entries]

    assert len(words) > 50
    assert sorted(set(words)) == sorted(words)
    assert [word for word, meaning in entries if not 10 < len(meaning) < 400] == []


def test_the_page_of_settings_and_the_example_are_what_the_code_reads() -> None:
    advice = "run: python -m cli.settings_reference, with and without --env"

    assert (DOCS / "reference" / "settings.md").read_text(encoding="utf-8") == page(), advice
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == example(), advice


def test_every_setting_says_what_it_does_and_none_that_may_be_secret_has_a_default() -> None:
    variables = [one for group in sections().values() for one in group]

    assert [one.name for one in variables if not one.description] == []
    assert [one.name for one in variables if holds_credentials(one) and one.default] == []
    assert len({one.name for one in variables}) == len(variables)


def holds_credentials(one: Variable) -> bool:
    return "password" in one.description or "token" in one.description


def test_every_variable_that_the_code_names_is_in_the_reference() -> None:
    """Variables whose name begins with ours; those that processes give to one another are no settings."""
    between_processes = {"REINSTATE_STACK_SERVER", "REINSTATE_DEMO_GRAPH_SECRET", "REINSTATE_FAILPOINTS"}
    code = {path for top in ("cli", "services", "shared", "simulator") for path in (ROOT / top).rglob("*.py")}
    code.remove(ROOT / "cli" / "settings_reference.py")
    read = {name for path in code for name in re.findall(r"\bREINSTATE_[A-Z_]+", path.read_text(encoding="utf-8"))}
    known = {one.name for group in sections().values() for one in group}

    assert read - between_processes <= known
    assert {name for name in known if name.startswith("REINSTATE_")} <= read
