"""Handlers in Python for `joinq-worker --runner NAME,...='python3 handlers.py'`.

    from joinq_runner import task, run

    @task()
    def add(a, b):
        return a + b

    run()

Arguments are the elements of the payload's JSON array. A result of type str or bytes
is sent as it is, None as nothing, anything else as JSON. An exception fails the attempt
with its traceback; TaskFailed can say more. Needs nothing but the standard library.
docs/child-protocol.md describes what is spoken here.
"""
import inspect
import json
import os
import select
import signal
import struct
import sys
import threading
import traceback

_IN = int(os.environ.get("JOINQ_RUNNER_IN", -1))
_OUT = int(os.environ.get("JOINQ_RUNNER_OUT", -1))
_FRAME_BYTES_MAX = 16 << 20

_handlers = {}
_lock = threading.RLock()  # held while a frame is written
_current = None            # the task that runs
_interrupted = False       # it was asked to end
_sending = False           # the main thread is writing a frame,
_deferred = False          # and was asked to end meanwhile


class DecodeError(Exception):
    """The arguments are bad: the task fails for good."""


class TaskFailed(Exception):
    """Fails the attempt with a message and a detail; with final=True it is not retried."""

    def __init__(self, message, detail="", final=False):
        super().__init__(message)
        self.detail, self.final = detail, final


class SoftTimeLimit(Exception):
    """Raised inside a handler when its soft time limit is past."""


class Cancelled(Exception):
    """Raised inside a handler when nobody wants its result any more."""


def task(name=None, raw=False):
    """Makes a function a handler. With raw=True it gets the payload's bytes, whatever they are."""

    def register(function):
        _handlers[name or function.__name__] = (function, inspect.signature(function), raw)
        return function

    return register


def current():
    """The running task: a dict with id, attempt, epoch, sequence, queue, handler, content_type, headers, deadline_ms."""
    return _current


def log(text, level="info"):
    """A line for the worker's log, with the task's id; from any thread."""
    _send({"type": "log", "level": level, "text": str(text)})


def progress(done, total=None):
    """How far the task is, for `joinq task show`: a text, or a number out of another."""
    text = str(done) if total is None else f"{done}/{total}"
    _send({"type": "progress", "id": _current["id"], "text": text})


def _send(header, payload=b""):
    global _sending, _deferred
    head = json.dumps(header, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    data = memoryview(struct.pack(">II", len(head), len(payload)) + head + payload)
    main = threading.current_thread() is threading.main_thread()
    with _lock:
        if main:
            _sending = True  # a frame must be whole: no exception may cut it
        while data:
            data = data[os.write(_OUT, data):]
        if main:
            _sending = False
    if main and _deferred:
        _deferred = False
        _interrupt()


def _read_exactly(count):
    data = bytearray()
    while len(data) < count:
        part = os.read(_IN, count - len(data))
        if not part:
            return None
        data += part
    return bytes(data)


def _receive():
    """The next message and its payload, or None at the end."""
    lengths = _read_exactly(8)
    if lengths is None:
        return None
    head, payload = struct.unpack(">II", lengths)
    data = _read_exactly(head + payload)
    return None if data is None else (json.loads(data[:head]), data[head:])


def _interrupt(*_):
    """On SIGUSR1: a cancel message is there, unless this comes late."""
    global _interrupted, _deferred
    if _sending:
        _deferred = True
        return
    while _current and not _interrupted and select.select([_IN], [], [], 0)[0]:
        message = _receive()
        if message is None:
            os._exit(0)  # the worker is gone
        if message[0].get("type") == "cancel" and message[0].get("id") == _current["id"]:
            _interrupted = True
            soft = message[0].get("reason") == "soft_time_limit"
            raise SoftTimeLimit("asked to end") if soft else Cancelled("nobody wants the result")


def _arguments(header, payload, signature):
    if header["content_type"] != "":
        raise DecodeError(f'content type "{header["content_type"]}" is not known to this runner, JSON (type "") is')
    try:
        arguments = json.loads(payload) if payload else []
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, list):
        raise DecodeError("the payload is not a JSON array of arguments")
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise DecodeError(str(error)) from None
    return arguments


def _call(header, payload):
    if header["handler"] not in _handlers:
        raise TaskFailed(f'this runner has no handler "{header["handler"]}"', final=True)
    function, signature, raw = _handlers[header["handler"]]
    value = function(*([payload] if raw else _arguments(header, payload, signature)))
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return value.encode() if isinstance(value, str) else json.dumps(value, allow_nan=False).encode()


def _run_task(header, payload):
    global _current, _interrupted
    result, output = {"type": "result", "id": header["id"], "status": "failed"}, b""
    _interrupted, _current = False, header
    try:
        try:
            output = _call(header, payload)
        finally:
            _current = None  # from here on nothing interrupts
        if len(output) > _FRAME_BYTES_MAX - 4096:
            raise TaskFailed(f"the result has {len(output)} bytes: more than fits a frame", final=True)
        result.update(status="done", content_type="")
    except DecodeError as error:
        result.update(kind="bad_arguments", message=str(error))
    except Exception as error:  # SystemExit and the like end the runner
        output = b""
        result["message"] = f"{type(error).__name__}: {error}"[:4000]
        result["detail"] = traceback.format_exc()[-16000:]
        if isinstance(error, TaskFailed):
            result.update(message=str(error)[:4000], detail=str(error.detail)[-16000:], final=bool(error.final))
        elif isinstance(error, SoftTimeLimit):
            result["kind"] = "time_limit"
    sys.stdout.flush()
    sys.stderr.flush()
    _send(result, output)


def run():
    """Serves the worker until it says to end."""
    if _IN < 0 or _OUT < 0:
        sys.exit("start this with joinq-worker --runner: JOINQ_RUNNER_IN and JOINQ_RUNNER_OUT are not set")
    for descriptor in (_IN, _OUT):
        os.set_inheritable(descriptor, False)
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGUSR1, _interrupt)
    _send({"type": "hello", "protocol": 1, "handlers": sorted(_handlers), "signal": True})
    while (message := _receive()) is not None:
        header, payload = message
        if header["type"] == "task":
            _run_task(header, payload)
        elif header["type"] == "shutdown":
            break
