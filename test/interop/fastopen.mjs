// Runs inside a network namespace: opens a TAP device, sends with Fast Open to an echo server of the kernel, and is an echo
// server with Fast Open for it. Ends after as many connections each way.
//   node fastopen.mjs TAP ADDRESS SERVER COUNT KEY
import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { attachTap, createKernel } from "../../dist/src/index.js";
import { Tap } from "../../dist/src/platform/node/tap.js";
import * as uapi from "../../dist/src/uapi/index.js";

const { AF_INET, MSG_FASTOPEN, SHUT_WR, SOCK_NONBLOCK, SOCK_STREAM, SOL_TCP, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT } =
  uapi;
const [tapName, address, server, count, key] = process.argv.slice(2);
const kernel = await createKernel();
const host = kernel.netns("fastopen");
const tap = Tap.open(tapName);
const dev = attachTap(kernel, host, tap);
host.ip(`addr add ${address}/24 dev ${dev.name}`);
host.ip(`link set ${dev.name} up`);
tap.start(kernel.core, dev);
spawnSync("ip", ["addr", "add", `${server}/24`, "dev", tapName]);
spawnSync("ip", ["link", "set", tapName, "up"]);
host.sysctl("net.ipv4.tcp_fastopen=3");
host.sysctl(`net.ipv4.tcp_fastopen_key=${key}`);
const { sys } = host;

/** Calls until it does not have to wait. */
async function wait(call) {
  for (let i = 0; i < 10_000; i++) {
    const r = call();
    if (r !== -uapi.EAGAIN) return r;
    await sleep(1);
  }
  throw new Error("a call took too long");
}

async function readAll(fd) {
  const out = [];
  const buf = new Uint8Array(65536);
  for (;;) {
    const n = await wait(() => sys.recv(fd, buf, buf.length, 0));
    if (n < 0) throw new Error(`recv: ${n}`);
    if (n === 0) return Buffer.concat(out);
    out.push(buf.slice(0, n));
  }
}

async function sendAll(fd, data) {
  for (let at = 0; at < data.length; ) {
    const n = await wait(() => sys.send(fd, data.subarray(at), data.length - at, 0));
    if (n < 0) throw new Error(`send: ${n}`);
    at += n;
  }
}

// The client: by sendto(), and by a connect() that waits for the first write.
const peer = { family: AF_INET, addr: server.split(".").reduce((n, x) => n * 256 + Number(x), 0), port: 7001 };
const echoed = [];
for (let i = 0; i < Number(count); i++) {
  const fd = sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const data = new Uint8Array(3000).map((_, k) => (k * 7 + i) & 255);
  let sent = 0;
  if (i % 2 === 1) {
    sys.setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, 1);
    sys.connect(fd, peer);
  } else {
    sent = Math.max(0, sys.sendto(fd, data, data.length, MSG_FASTOPEN, peer));
  }
  await sendAll(fd, data.subarray(sent));
  sys.shutdown(fd, SHUT_WR);
  echoed.push(Buffer.compare(await readAll(fd), Buffer.from(data)) === 0);
  sys.close(fd);
}

// The server: what a SYN brings is answered before the handshake is over.
const lfd = sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
sys.bind(lfd, { family: AF_INET, addr: 0, port: 7000 });
sys.listen(lfd, 16);
sys.setsockopt(lfd, SOL_TCP, TCP_FASTOPEN, 16);
process.stdout.write("ready\n");
for (let i = 0; i < Number(count); i++) {
  const fd = await wait(() => sys.accept4(lfd, null, SOCK_NONBLOCK));
  if (fd < 0) throw new Error(`accept: ${fd}`);
  await sendAll(fd, await readAll(fd));
  sys.close(fd);
}
const counters = {};
for (const [name, index] of uapi.snmp4NetList)
  if (name.startsWith("TCPFastOpen")) counters[name] = host.ns.mib.linux[index];
process.stdout.write(`${JSON.stringify({ echoed, counters, metrics: host.ip("tcp_metrics show") })}\n`);
await sleep(300);
kernel.close();
tap.close();
process.exit(0);
