"""Both sides of test_lifeline.py, each as a program of its own.

`spinner.py worker`: the core's own worker with one method more, "spin", that never comes back from native code and
never lets go of Python meanwhile. `spinner.py parent main|thread kernel|guard LOG`: stands for Blender; starts such a
worker with the add-on's own code, has it spin, and says its process id.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def worker(how: str) -> None:
    import collections
    import itertools

    from core import lifeline, methods, serve

    def spin(_worker: object, _params: object) -> object:
        def work(job: serve.Job) -> None:
            _worker._progress(job)(0.5, "spinning")  # type: ignore[attr-defined]
            collections.deque(itertools.repeat(0), maxlen=0)

        return work

    methods.METHODS["spin"] = spin  # type: ignore[assignment]
    if how == "guard":  # as where the kernel offers nothing
        lifeline._by_kernel = lambda: False
    serve.serve()


def parent(where: str, how: str, log: Path) -> None:
    from mgpt3_blender.worker import Launch, Progress, Worker

    command = (sys.executable, "-u", __file__, "worker", how)

    def work() -> None:
        speaker = Worker(Launch(Path(sys.executable), ROOT, log, command=command))
        speaker.info = {}  # no model is needed to spin
        speaker._start()
        speaker.info = {}
        speaker._send("spin", {}, 60.0)
        while not any(isinstance(event, Progress) for event in speaker.poll()):
            time.sleep(0.02)
        time.sleep(0.2)
        print(speaker.process_id, flush=True)
        time.sleep(60)

    if where == "main":
        work()
    else:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker(sys.argv[2])
    else:
        parent(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
