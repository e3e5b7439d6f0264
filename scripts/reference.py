"""Make the reference of all public names for the browser, with the pages on how to use them.

    python scripts/reference.py
    python scripts/reference.py --out site

The site is plain files that load nothing from elsewhere: open index.html. A warning of Sphinx's is
an error. Needs the extra "docs": pip install -e '.[docs]' in a checkout.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import sys
from collections.abc import Sequence
from pathlib import Path

from fnnet_scripts.options import Parser, exit_code, folder
from fnnet_scripts.reference.site import make_site

ROOT = Path(__file__).parents[1]
EXTRA = "sphinx furo myst-parser ziamath"


def run(out: Path, quiet: bool) -> None:
    if not make_site(ROOT, out, None if quiet else sys.stdout, sys.stderr):
        raise ValueError("there were warnings: see above")
    print(f"open {out / 'index.html'}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="reference.py", description=__doc__)
    parser.add_argument(
        "--out", type=folder, default=Path("build", "reference"), help="the site (%(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but what goes wrong")
    args = parser.parse_args(argv)
    return exit_code("reference.py", lambda: run(args.out, args.quiet), extra=EXTRA)


if __name__ == "__main__":
    sys.exit(main())
