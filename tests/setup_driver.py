"""A set-up in a process of its own, as in a Blender that is started and killed: `python setup_driver.py ORDER.json`.

The order may say wheels (a folder beside it), online and own (whether this Python is offered). What happens is printed,
a JSON object a line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mgpt3_blender import runtime
from mgpt3_blender.errors import UserError
from mgpt3_blender.pythons import probe


def say(**words: object) -> None:
    print(json.dumps(words), flush=True)


def verify(python: Path, stop: runtime.CancelFunction) -> str:
    return "Python " + ".".join(str(number) for number in probe(python))


def main() -> None:
    """Paths of the order are below its own folder: that one is given by the system, in whatever encoding it has."""
    order = Path(sys.argv[1])
    said = json.loads(order.read_text(encoding="utf-8"))
    base = order.parent
    say(encoding=sys.getfilesystemencoding())
    try:
        line = runtime.set_up(
            base / "environment",
            base / "requirements.txt",
            verify=verify,
            pythons=[Path(sys.executable)] if said.get("own", True) else [],
            online=said.get("online", False),
            wheels=base / said["wheels"] if "wheels" in said else None,
            build="cpu",
            log=base / "setup.log",
            progress=lambda fraction, message: say(fraction=fraction, message=message),
        )
    except UserError as error:
        say(code=error.code, message=error.message, remedy=error.remedy)
    else:
        say(line=line, state=runtime.state(base / "environment", base / "requirements.txt").name)


main()
