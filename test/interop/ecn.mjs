// Runs inside a network namespace: the kernel's sockets talk to a server on this stack, behind a router of this stack that
// marks packets both ways instead of dropping them. Prints what either side has counted.
//   node ecn.mjs TAP CONGESTION_CONTROL
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import * as net from "node:net";
import { attachTap, createKernel } from "../../dist/src/index.js";
import { Tap } from "../../dist/src/platform/node/tap.js";
import { LINUX_MIB_TCPDELIVEREDCE, LINUX_MIB_TCPTIMEOUTS } from "../../dist/src/uapi/linux_mib.js";

const [tapName, cc] = process.argv.slice(2);
const SIZE = 16 << 20;
const sh = (...args) => {
  const r = spawnSync(args[0], args.slice(1), { encoding: "utf8" });
  if (r.status !== 0) throw new Error(`${args.join(" ")}: ${r.stderr}`);
};
sh("sysctl", "-qw", "net.ipv4.tcp_ecn=1");

const kernel = await createKernel({ seed: 3168 });
const r = kernel.netns("r");
const b = kernel.netns("b");
const tap = Tap.open(tapName);
const dev = attachTap(kernel, r, tap);
const [rb] = kernel.link(r, b, { subnet: "10.9.2.0/24" });
r.ip(`addr add 10.9.1.2/24 dev ${dev.name}`);
r.ip(`link set ${dev.name} up`);
r.sysctl("net.ipv4.ip_forward=1");
b.ip("route add 10.9.1.0/24 via 10.9.2.1");
b.sysctl("net.ipv4.tcp_ecn=1");
b.sysctl(`net.ipv4.tcp_congestion_control=${cc}`);
// A super-packet is marked as one, and a fast machine makes big ones: a few hundred carry the file.
r.tc(`qdisc add dev ${dev.name} root netem loss 1% ecn limit 100000`);
r.tc(`qdisc add dev ${rb.name} root netem loss 1% ecn limit 100000`);
tap.start(kernel.core, dev);
sh("ip", "addr", "add", "10.9.1.1/24", "dev", tapName);
sh("ip", "link", "set", tapName, "up");
sh("ip", "route", "add", "10.9.2.0/24", "via", "10.9.1.2");

const block = Buffer.alloc(65536);
for (let i = 0; i < block.length; i++) block[i] = (i * 31) & 255;

// The server sends back what it has received, once that has ended.
b.net
  .createServer({ allowHalfOpen: true }, (s) => {
    const chunks = [];
    s.on("data", (chunk) => chunks.push(chunk));
    s.on("end", () => s.end(Buffer.concat(chunks)));
  })
  .listen(7);

const counters = () => {
  const lines = readFileSync("/proc/net/netstat", "utf8").trim().split("\n");
  const out = {};
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const names = lines[i].split(" ");
    const values = lines[i + 1].split(" ");
    names.forEach((name, k) => {
      out[`${names[0].slice(0, -1)}${name}`] = Number(values[k]);
    });
  }
  return out;
};
const sent = createHash("sha256");
const got = createHash("sha256");
let received = 0;
await new Promise((resolve, reject) => {
  const s = net.connect({ host: "10.9.2.2", port: 7, allowHalfOpen: true }, () => {
    let at = 0;
    const push = () => {
      while (at < SIZE) {
        at += block.length;
        sent.update(block);
        if (!s.write(block)) {
          s.once("drain", push);
          return;
        }
      }
      s.end();
    };
    push();
  });
  s.on("data", (chunk) => {
    received += chunk.length;
    got.update(chunk);
  });
  s.on("end", resolve);
  s.on("error", reject);
});
const k = counters();
const mib = b.ns.mib.linux;
process.stdout.write(
  JSON.stringify({
    whole: received === SIZE && sent.digest("hex") === got.digest("hex"),
    kernel: { deliveredCe: k.TcpExtTCPDeliveredCE, inCe: k.IpExtInCEPkts, timeouts: k.TcpExtTCPTimeouts },
    own: { deliveredCe: mib[LINUX_MIB_TCPDELIVEREDCE], timeouts: mib[LINUX_MIB_TCPTIMEOUTS] },
  }),
);
kernel.close();
tap.close();
process.exit(0);
