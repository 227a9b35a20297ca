// Runs inside a network namespace: random connections between this stack and the real kernel over a bad link.
//   node soak.mjs TAP CONNECTIONS SEED
// A host of this stack stands behind a second one that forwards, with the bad link between them:
//   the kernel 10.9.7.1 --- TAP --- 10.9.7.2 router 10.9.8.1 --- loss, duplicates, reordering, damage --- 10.9.8.2 host
import { spawnSync } from "node:child_process";
import * as net from "node:net";
import { attachTap, createKernel } from "../../dist/src/index.js";
import { Tap } from "../../dist/src/platform/node/tap.js";

const [tapName, count, seed] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const kernel = await createKernel();
const router = kernel.netns("router");
const host = kernel.netns("host");
kernel.link(router, host, {
  subnet: "10.9.8.0/24",
  offload: false,
  delay: "1ms",
  jitter: "1ms",
  loss: 0.02,
  duplicate: 0.02,
  reorder: 0.05,
  corrupt: 0.01,
  names: ["eth1", "eth0"],
});
const tap = Tap.open(tapName);
const dev = attachTap(kernel, router, tap);
router.ip(`addr add 10.9.7.2/24 dev ${dev.name}`);
router.ip(`link set ${dev.name} up`);
router.sysctl("net.ipv4.ip_forward=1");
host.ip("route add default via 10.9.8.1");
host.sysctl("net.ipv4.tcp_ecn=1");
tap.start(kernel.core, dev);
for (const command of [
  ["addr", "add", "10.9.7.1/24", "dev", tapName],
  ["link", "set", tapName, "up"],
  ["route", "add", "10.9.8.0/24", "via", "10.9.7.2"],
]) {
  const r = spawnSync("ip", command);
  if (r.status !== 0) throw new Error(`ip ${command.join(" ")}: ${r.stderr}`);
}

let state = seed | 0;
/** Whole numbers from lo to hi. */
function random(lo, hi) {
  state = (state + 0x9e3779b9) | 0;
  let z = state;
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return lo + (((z ^ (z >>> 16)) >>> 0) % (hi - lo + 1));
}
const byte = (key, i) => (Math.imul(i ^ key, 0x9e3779b1) >>> 13) & 255;

/** Sends `plan.size` bytes, checks what comes, and ends as planned. Resolves with what happened. */
function run(socket, key, plan, peerKey) {
  return new Promise((resolve) => {
    const result = { sent: 0, got: 0, wrong: -1, end: false, error: "" };
    socket.on("data", (data) => {
      for (let i = 0; i < data.length && result.wrong < 0; i++) {
        if (data[i] !== byte(peerKey, result.got + i)) result.wrong = result.got + i;
      }
      result.got += data.length;
      if (plan.slow > 0) {
        socket.pause();
        setTimeout(() => socket.resume(), plan.slow);
      }
    });
    socket.on("end", () => {
      result.end = true;
    });
    socket.on("error", (error) => {
      result.error = error.code;
    });
    socket.on("close", () => resolve(result));
    if (plan.nodelay) socket.setNoDelay(true);
    const write = () => {
      for (;;) {
        if (socket.destroyed) return;
        if (result.sent === plan.size) {
          if (plan.reset) socket.resetAndDestroy();
          else socket.end();
          return;
        }
        const n = Math.min(plan.chunk, plan.size - result.sent);
        const data = Buffer.alloc(n);
        for (let i = 0; i < n; i++) data[i] = byte(key, result.sent + i);
        result.sent += n;
        if (!socket.write(data)) {
          socket.once("drain", write);
          return;
        }
      }
    };
    write();
  });
}

const makePlan = () => ({
  size: random(0, 3) === 0 ? random(0, 10) : random(0, 60_000),
  chunk: random(0, 2) === 0 ? random(1, 100) : random(100, 20_000),
  slow: random(0, 5) === 0 ? random(1, 10) : 0,
  nodelay: random(0, 1) === 1,
  reset: random(0, 15) === 0,
});

/** Servers on both sides find the plan of a connection by the client's port. */
const waiting = new Map();
const serve = (make, address) =>
  new Promise((resolve) => {
    const server = make({ allowHalfOpen: true }, (socket) => {
      const c = waiting.get(`${socket.remoteAddress}:${socket.remotePort}`);
      if (c === undefined) socket.destroy();
      else c(socket);
    });
    server.listen(7000, address, () => resolve(server));
  });
await serve(net.createServer, "10.9.7.1");
await serve((o, f) => host.net.createServer(o, f), "10.9.8.2");

const totals = { connections: 0, complete: 0, reset: 0, failed: [] };
async function connection(i) {
  const mineConnects = random(0, 1) === 1;
  const plans = [makePlan(), makePlan()];
  const keys = [seed * 31 + i * 2, seed * 31 + i * 2 + 1];
  const port = 10_000 + i;
  const where = mineConnects
    ? { host: "10.9.7.1", localAddress: "10.9.8.2" }
    : { host: "10.9.8.2", localAddress: "10.9.7.1" };
  // Listeners are there before the first event.
  const accepted = new Promise((resolve) => {
    waiting.set(`${where.localAddress}:${port}`, (socket) => resolve(run(socket, keys[1], plans[1], keys[0])));
  });
  const o = { ...where, port: 7000, localPort: port, allowHalfOpen: true };
  const client = mineConnects ? host.net.connect(o) : net.connect(o);
  const connected = new Promise((resolve) => {
    client.once("connect", () => resolve(true));
    client.once("error", () => resolve(false));
  });
  const results = await Promise.all([
    connected.then((ok) => (ok ? run(client, keys[0], plans[0], keys[1]) : { error: "connect" })),
    // A reset may overtake accept().
    Promise.race([accepted, new Promise((r) => setTimeout(r, 20_000, { error: "accept" }))]),
  ]);
  totals.connections++;
  const whole =
    results[0].got === plans[1].size && results[1].got === plans[0].size && results[0].end && results[1].end;
  const right = results.every((r) => r.wrong === undefined || r.wrong === -1);
  if (right && whole && results.every((r) => r.error === "")) totals.complete++;
  else if (right && plans.some((p) => p.reset)) totals.reset++;
  else totals.failed.push({ i, mineConnects, plans, results });
}

const started = Date.now();
let next = 0;
await Promise.all(
  Array.from({ length: 12 }, async () => {
    while (next < count) await connection(next++);
  }),
);
totals.seconds = (Date.now() - started) / 1000;
totals.sockstat = host.proc("net/sockstat").split("\n")[1];
totals.nstat = host.nstat(
  "-a TcpRetransSegs TcpInCsumErrors TcpExtTCPTimeouts TcpExtTCPSackRecovery TcpExtTCPDSACKRecv TcpExtTCPOFOQueue",
);
process.stdout.write(`${JSON.stringify(totals)}\n`);
kernel.close();
tap.close();
process.exit(0);
