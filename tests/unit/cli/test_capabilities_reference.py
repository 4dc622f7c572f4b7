from pathlib import Path

from cli.capabilities_reference import page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "capabilities.md"


def test_the_page_of_capabilities_is_what_the_code_asks_for() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m cli.capabilities_reference"
