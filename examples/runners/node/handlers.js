// joinq-worker --runner add,reverse,wait='node examples/runners/node/handlers.js'
'use strict';
const { setTimeout: sleep } = require('node:timers/promises');
const { task, run, current, log } = require('./joinq_runner');

task('add', (a, b) => a + b);

task('reverse', (payload) => Buffer.from(payload).reverse(), { raw: true });

// Says why it ended before its time.
task('wait', async (seconds) => {
  const { signal } = current();
  try {
    await sleep(seconds * 1000, undefined, { signal });
    return 'waited';
  } catch (error) {
    log(`interrupted: ${signal.reason}`);
    return signal.reason;
  }
});

run();
