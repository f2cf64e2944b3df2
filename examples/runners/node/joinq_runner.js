// Handlers in JavaScript for `joinq-worker --runner NAME,...='node handlers.js'`.
//
//   const { task, run } = require('./joinq_runner');
//   task('add', (a, b) => a + b);
//   task('fetch', async (url) => (await fetch(url, { signal: current().signal })).text());
//   run();
//
// Arguments are the elements of the payload's JSON array. A result that is a string or a
// Buffer is sent as it is, undefined as nothing, anything else as JSON; a promise is awaited.
// What a handler throws fails the attempt with its stack. Needs nothing but Node.js 18.
// docs/child-protocol.md describes what is spoken here.
'use strict';
const fs = require('node:fs');
const net = require('node:net');

const FRAME_BYTES_MAX = 16 * 1024 * 1024;
const OUT = Number(process.env.JOINQ_RUNNER_OUT ?? -1);
const handlers = new Map();
let running = null;

// The arguments are bad: the task fails for good.
class DecodeError extends Error {}

// Fails the attempt with a message and a detail; with final: true it is not retried.
class TaskFailed extends Error {
  constructor(message, { detail = '', final = false } = {}) {
    super(message);
    Object.assign(this, { detail, final });
  }
}

// Makes a function a handler. With raw: true it gets the payload as a Buffer, whatever it is.
function task(name, handler, { raw = false } = {}) {
  handlers.set(name, { handler, raw });
}

// The running task: id, attempt, epoch, sequence, queue, handler, content_type, deadline_ms, headers, and
// `signal`, an AbortSignal whose reason is 'soft_time_limit' or 'cancelled' when the task should end.
const current = () => running;

const log = (text, level = 'info') => send({ type: 'log', level, text: String(text) });
// How far the task is, for `joinq task show`: a text, or a number out of another.
const progress = (done, total) =>
  send({ type: 'progress', id: running?.id, text: total === undefined ? String(done) : `${done}/${total}` });

function send(header, payload = Buffer.alloc(0)) {
  // Half surrogate pairs would be escaped, and are no text.
  const head = Buffer.from(JSON.stringify(header, (_, v) => (typeof v === 'string' ? Buffer.from(v).toString() : v)));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32BE(head.length, 0);
  lengths.writeUInt32BE(payload.length, 4);
  let data = Buffer.concat([lengths, head, payload]);
  while (data.length > 0) data = data.subarray(fs.writeSync(OUT, data));
}

function argumentsOf(header, payload, handler) {
  if (header.content_type !== '') {
    throw new DecodeError(`content type "${header.content_type}" is not known to this runner, JSON (type "") is`);
  }
  let values;
  try {
    values = payload.length > 0 ? JSON.parse(payload.toString()) : [];
  } catch {
    values = null;
  }
  if (!Array.isArray(values)) throw new DecodeError('the payload is not a JSON array of arguments');
  if (values.length < handler.length) {
    throw new DecodeError(`takes ${handler.length} argument(s), got ${values.length}`);
  }
  return values;
}

function encode(value) {
  if (Buffer.isBuffer(value)) return value;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return Buffer.from(text ?? '');
}

async function runTask(header, payload) {
  const abort = new AbortController();
  running = { ...header, signal: abort.signal, abort: (reason) => abort.abort(reason) };
  const result = { type: 'result', id: header.id, status: 'failed' };
  let output;
  try {
    const found = handlers.get(header.handler);
    if (!found) throw new TaskFailed(`this runner has no handler "${header.handler}"`, { final: true });
    const values = found.raw ? [payload] : argumentsOf(header, payload, found.handler);
    output = encode(await found.handler(...values));
    if (output.length > FRAME_BYTES_MAX - 4096) {
      output = undefined;
      throw new TaskFailed('the result is larger than fits a frame', { final: true });
    }
    Object.assign(result, { status: 'done', content_type: '' });
  } catch (error) {
    const detail = error instanceof TaskFailed ? error.detail : error?.stack ?? '';
    Object.assign(result, {
      message: String(error?.message ?? error).slice(0, 4000),
      detail: String(detail).slice(-16000),
      final: error?.final === true,
    });
    if (error instanceof DecodeError) result.kind = 'bad_arguments';
    if (abort.signal.reason === 'soft_time_limit') result.kind = 'time_limit';
  }
  running = null;
  send(result, output);
}

function take(header, payload) {
  if (header.type === 'task') runTask(header, payload);
  if (header.type === 'cancel' && running?.id === header.id) running.abort(header.reason);
  if (header.type === 'shutdown') process.exit(0);
}

// Serves the worker until it says to end.
function run() {
  const fd = Number(process.env.JOINQ_RUNNER_IN ?? -1);
  if (fd < 0 || OUT < 0) {
    console.error('start this with joinq-worker --runner: JOINQ_RUNNER_IN and JOINQ_RUNNER_OUT are not set');
    process.exit(1);
  }
  let chunks = [], size = 0, needed = 8;
  const input = new net.Socket({ fd, readable: true, writable: false });
  input.on('data', (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size < needed) return;
    let data = Buffer.concat(chunks, size);
    for (;;) {
      needed = 8;
      if (data.length < 8) break;
      const head = 8 + data.readUInt32BE(0);
      needed = head + data.readUInt32BE(4);
      if (data.length < needed) break;
      take(JSON.parse(data.subarray(8, head).toString()), data.subarray(head, needed));
      data = data.subarray(needed);
    }
    chunks = [data];
    size = data.length;
  });
  input.on('end', () => process.exit(0)); // the worker is gone
  send({ type: 'hello', protocol: 1, handlers: [...handlers.keys()] });
}

module.exports = { task, run, current, log, progress, DecodeError, TaskFailed };
