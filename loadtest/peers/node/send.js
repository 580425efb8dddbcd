// node-apn sends as many pushes as its task says, with so many of them under way at any time.
//
//   node send.js TASK.json
//
// Ends with code 1 when a push failed, and names the first failure.
'use strict';

const { readFileSync } = require('node:fs');
const { randomBytes, randomUUID } = require('node:crypto');
const apn = require('@parse/node-apn');

const task = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { window, clients } = task.settings;

const options = {
  address: task.host,
  port: task.port,
  ca: task.ca_file,
  token: { key: task.key_file, keyId: task.key_id, teamId: task.team_id },
};
const provider =
  clients > 1 ? new apn.MultiProvider({ ...options, clientCount: clients }) : new apn.Provider(options);

const payload = JSON.parse(task.payload);
let left = task.pushes;
let failed = 0;
let failure = null;

async function sendInTurn() {
  while (left > 0) {
    left -= 1;
    const notification = new apn.Notification();
    notification.topic = task.topic;
    notification.pushType = 'alert';
    notification.id = randomUUID();
    notification.rawPayload = payload;
    const result = await provider.send(notification, randomBytes(32).toString('hex'));
    if (result.failed.length > 0) {
      failed += 1;
      failure ??= result.failed[0];
    }
  }
}

async function main() {
  await Promise.all(Array.from({ length: window }, sendInTurn));
  if (failed > 0) {
    console.error(`${failed} of ${task.pushes} pushes failed; the first:`, failure);
  }
  process.exit(failed > 0 ? 1 : 0);
}

main();
