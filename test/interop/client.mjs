// Runs inside a network namespace: opens a TAP device, downloads a file from the kernel's side by node:http, pings it.
//   node client.mjs TAP ADDRESS/LEN SERVER PORT
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as http from "node:http";
import { attachTap, createKernel } from "../../dist/src/index.js";
import { Tap } from "../../dist/src/platform/node/tap.js";

const [tapName, address, server, port] = process.argv.slice(2);
const kernel = await createKernel();
const host = kernel.netns("client");
const tap = Tap.open(tapName);
const dev = attachTap(kernel, host, tap);
host.ip(`addr add ${address} dev ${dev.name}`);
host.ip(`link set ${dev.name} up`);
tap.start(kernel.core, dev);
spawnSync("ip", ["addr", "add", `${server}/24`, "dev", tapName]);
spawnSync("ip", ["link", "set", tapName, "up"]);

const hash = createHash("sha256");
await new Promise((resolve, reject) => {
  const request = http.get(
    {
      host: server,
      port: Number(port),
      path: "/file",
      createConnection: (o) => host.net.connect({ ...o, host: server }),
    },
    (response) => {
      response.on("data", (chunk) => hash.update(chunk));
      response.on("end", resolve);
      response.on("error", reject);
    },
  );
  request.on("error", reject);
});

// ICMP echo over a ping socket: the kernel on the other side answers, in fragments where the MTU asks for them.
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const IPPROTO_ICMP = 1;
const EAGAIN = 11;
host.sysctl("net.ipv4.ping_group_range=0 2147483647");
const fd = host.sys.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP);
if (fd < 0) throw new Error(`ping socket: ${fd}`);
const to = { family: AF_INET, addr: server.split(".").reduce((n, x) => n * 256 + Number(x), 0), port: 0 };
const pings = {};
for (const size of [56, 1472, 1473, 4000, 9000]) {
  pings[size] = 0;
  for (let i = 0; i < 2; i++) {
    const packet = new Uint8Array(8 + size);
    packet[0] = 8;
    packet[7] = i + 1;
    for (let k = 8; k < packet.length; k++) packet[k] = k & 255;
    const sent = host.sys.sendto(fd, packet, packet.length, 0, to);
    if (sent !== packet.length) throw new Error(`ping ${size}: sendto returned ${sent}`);
    const answer = new Uint8Array(16384);
    for (let wait = 0; wait < 200; wait++) {
      const n = host.sys.recv(fd, answer, answer.length, 0);
      if (n === -EAGAIN) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      if (n === packet.length && answer[0] === 0 && answer.slice(8, n).every((x, k) => x === ((k + 8) & 255)))
        pings[size]++;
      break;
    }
  }
}
host.sys.close(fd);
process.stdout.write(JSON.stringify({ sha256: hash.digest("hex"), pings }));
kernel.close();
tap.close();
process.exit(0);
