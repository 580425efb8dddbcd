// Node's http2 (nghttp2, which forgives nothing) as the server of the codec's tests.
//
//   node node_server.js CERTIFICATE KEY MODE
//
// Prints its port, and when its standard input ends, what it counted: `pushes` by what was said to them, `wrong` for
// each push whose parts disagree, `repeated` for each apns-id seen twice, and `errors` of sessions and streams.
// A push is wrong when its pseudo-header fields do not come first, when a field is missing or has another value than
// its number asks for, or when its body is not what it should be.
"use strict";
const fs = require("node:fs");
const http2 = require("node:http2");

const [certificate, key, mode] = process.argv.slice(2);
const { constants } = http2;
const counts = { pushes: {}, total: 0, wrong: 0, repeated: 0, sessions: 0, errors: [], settingsAcknowledged: 0 };
const seen = new Set();

const SETTINGS = {
  plain: { maxConcurrentStreams: 1000 },
  mixed: { maxConcurrentStreams: 200 },
  goaway: { maxConcurrentStreams: 100 },
  close: { maxConcurrentStreams: 100 },
  settings: { maxConcurrentStreams: 50 },
  windows: { maxConcurrentStreams: 100, initialWindowSize: 1024 },
  notable: { maxConcurrentStreams: 100, headerTableSize: 0 },
};

// What the settings mode goes through, one after every 100 pushes: limits up and down, windows that leave bodies
// waiting below 0, and a header table that shrinks, goes and comes back.
const CHANGES = [
  { maxConcurrentStreams: 1 },
  { maxConcurrentStreams: 60, initialWindowSize: 100 },
  { headerTableSize: 128 },
  { initialWindowSize: 0 },
  { initialWindowSize: 70000, maxFrameSize: 32768 },
  { headerTableSize: 0 },
  { headerTableSize: 4096, maxConcurrentStreams: 0 },
  { maxConcurrentStreams: 20, maxFrameSize: 16384 },
  { headerTableSize: 65536, initialWindowSize: 65535 },
];

const server = http2.createSecureServer({
  cert: fs.readFileSync(certificate),
  key: fs.readFileSync(key),
  settings: SETTINGS[mode],
  paddingStrategy: mode === "mixed" ? constants.PADDING_STRATEGY_MAX : constants.PADDING_STRATEGY_NONE,
});

function isRight(headers, rawHeaders, body) {
  const push = JSON.parse(body);
  const names = rawHeaders.filter((_, at) => at % 2 === 0);
  const lastPseudo = names.findLastIndex((name) => name.startsWith(":"));
  return (
    lastPseudo === 3 &&
    headers[":method"] === "POST" &&
    headers[":scheme"] === "https" &&
    headers[":authority"] === "localhost" &&
    headers[":path"] === "/3/device/" + push.n.toString(16).padStart(64, "0") &&
    headers["authorization"] === "bearer " + "t".repeat(200) &&
    headers["apns-topic"] === "com.example.app" + (push.n % 4) &&
    headers["apns-push-type"] === "alert" &&
    headers["apns-id"] === "id-" + push.n &&
    names.length === (push.n % 5 === 0 ? 9 : 8) &&
    (push.n % 5 !== 0 || headers["apns-collapse-id"] === "c" + push.n) &&
    /^x*$/.test(push.fill)
  );
}

// Each way of answering says what it is to be counted as.
const ANSWERS = {
  bare: (stream) => stream.respond({ ":status": 200 }, { endStream: true }),
  body: (stream) => {
    stream.respond({ ":status": 200, "content-type": "text/plain" });
    stream.end("hello");
  },
  refused: (stream) => {
    stream.respond({ ":status": 400, "content-type": "application/json" });
    stream.write('{"reason":"Bad');
    setImmediate(() => stream.end('DeviceToken"}'));
  },
  trailers: (stream) => {
    stream.respond({ ":status": 200 }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-checksum": "1" }));
    stream.end();
  },
  interim: (stream) => {
    stream.additionalHeaders({ ":status": 103, link: "</x>" });
    stream.respond({ ":status": 200 }, { endStream: true });
  },
  reset: (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM),
  cut: (stream) => {
    stream.respond({ ":status": 503 });
    stream.write("half of");
    setImmediate(() => stream.close(constants.NGHTTP2_INTERNAL_ERROR));
  },
};
const MIXED = Object.keys(ANSWERS);

function answer(stream, number) {
  const kind = mode === "mixed" ? MIXED[number % MIXED.length] : "bare";
  counts.pushes[kind] = (counts.pushes[kind] ?? 0) + 1;
  ANSWERS[kind](stream);
}

function change(session, settings) {
  if (!session.destroyed) session.settings(settings);
}

server.on("session", (session) => {
  counts.sessions += 1;
  session.on("error", (error) => counts.errors.push(String(error)));
  session.on("frameError", (type, code) => counts.errors.push(`frame ${type}: ${code}`));
  session.on("localSettings", () => (counts.settingsAcknowledged += 1));
});
server.on("sessionError", (error) => counts.errors.push(String(error)));

server.on("stream", (stream, headers, flags, rawHeaders) => {
  stream.on("error", (error) => {
    // the two that this server resets itself
    if (mode !== "mixed") counts.errors.push(String(error));
  });
  const parts = [];
  stream.on("data", (part) => parts.push(part));
  stream.on("end", () => {
    counts.total += 1;
    const body = Buffer.concat(parts).toString();
    if (!isRight(headers, rawHeaders, body)) counts.wrong += 1;
    if (seen.has(headers["apns-id"])) counts.repeated += 1;
    seen.add(headers["apns-id"]);
    answer(stream, JSON.parse(body).n);
    const session = stream.session;
    if (mode === "settings" && counts.total % 100 === 0) {
      change(session, CHANGES[(counts.total / 100 - 1) % CHANGES.length]);
      // a limit of no streams would last for ever, since only a push brings about the next change
      if (counts.total % 900 === 700) setTimeout(change, 50, session, { maxConcurrentStreams: 20 });
      if (counts.total % 900 === 400) setTimeout(change, 50, session, { initialWindowSize: 70000 });
    }
    if (mode === "goaway" && counts.total % 500 === 0) session.goaway(constants.NGHTTP2_NO_ERROR, 0, Buffer.from("bye"));
    if (mode === "close" && counts.total % 500 === 0) session.close();
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
});
process.stdin.resume();
