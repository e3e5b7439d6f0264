"""List what there is to start, one line a script.

python scripts/
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import ast
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fnnet_scripts.options import Parser, exit_code

HERE = Path(__file__).parent
FOLDERS = {  # and what is in them
    ".": "to train and to use networks",
    "loops": "gradients in other loops",
    "measure": "measurements",
    "prove": "proofs by force, for maintainers",
}


def scripts() -> Iterator[tuple[str, list[Path]]]:
    """Each folder with its scripts; further folders come last."""
    found = {str(path.parent.relative_to(HERE)) for path in HERE.rglob("*.py")}
    others = sorted(name for name in found - set(FOLDERS) if not name.startswith("shared"))
    for name in (*FOLDERS, *others):
        paths = sorted(p for p in (HERE / name).glob("*.py") if not p.name.startswith("_"))
        yield name, [*paths, *sorted((HERE / name).glob("*.ipynb"))]


def about(path: Path) -> str:
    """The first sentence of a script's docstring, or a notebook's heading."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        heading = "".join(json.loads(text)["cells"][0]["source"]).partition("\n")[0]
        return f"{heading.lstrip('# ')}: a notebook."
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def run() -> None:
    for name, paths in scripts():
        print(f"{HERE if name == '.' else HERE / name}: {FOLDERS.get(name, name)}")
        for path in paths:
            print(f"  {path.name:22} {about(path)}")
    print("Each script explains itself with --help.")


def main(argv: Sequence[str] | None = None) -> int:
    Parser(prog="scripts", description=__doc__).parse_args(argv)
    return exit_code("scripts", run)


if __name__ == "__main__":
    sys.exit(main())
