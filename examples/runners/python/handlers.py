"""joinq-worker --runner add,word_count,sleep='python3 examples/runners/python/handlers.py'"""
import time

from joinq_runner import SoftTimeLimit, log, progress, run, task


@task()
def add(a, b):
    return a + b


@task(raw=True)
def word_count(payload):
    words = payload.decode(errors="replace").split()
    log(f"{len(words)} words")
    return {word: words.count(word) for word in sorted(set(words))}


@task("sleep")
def sleep_for(seconds):
    """Says how far it came when its soft time limit is past."""
    begin = time.monotonic()
    try:
        while (slept := time.monotonic() - begin) < seconds:
            progress(slept, seconds)
            time.sleep(min(1, seconds - slept))
    except SoftTimeLimit:
        return {"slept": round(time.monotonic() - begin, 1)}


run()
