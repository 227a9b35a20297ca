/** TCP Fast Open with the Linux kernel at the other end, both ways: cookies, data in SYNs, and the counters of both. */

import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { siphash, siphashHi } from "../../src/kernel/siphash.ts";
import { missing, Namespace, root } from "./namespace.ts";

const lacks = missing("python3", "nstat");

const OURS = "10.9.3.2";
const KERNEL = "10.9.3.1";
const KEY = [0x11223344, 0x55667788, 0x99aabbcc, 0xddeeff00];
const COUNT = 4;

const SERVER = `
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 7001)); s.setsockopt(socket.IPPROTO_TCP, 23, 16); s.listen(16)
print("listening", flush=True)
while True:
    c, _ = s.accept()
    data = b""
    while True:
        d = c.recv(65536)
        if not d: break
        data += d
    c.sendall(data); c.close()
`;
const CLIENT = `
import socket, sys
MSG_FASTOPEN = 0x20000000
for i in range(${COUNT}):
    data = bytes((k * 5 + i) & 255 for k in range(3000))
    s = socket.socket()
    n = s.sendto(data, MSG_FASTOPEN, ("${OURS}", 7000))
    s.sendall(data[n:]); s.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        d = s.recv(65536)
        if not d: break
        got += d
    print(got == data)
    s.close()
`;

/** The cookie that a server gives a client. */
function cookieOf(client: string, server: string): string {
  const lo = siphash(
    Uint8Array.from([client, server].flatMap((a) => a.split(".").map(Number))),
    0,
    8,
    Uint32Array.from(KEY),
  );
  const v = Buffer.alloc(8);
  v.writeUInt32LE(lo, 0);
  v.writeUInt32LE(siphashHi, 4);
  return v.toString("hex");
}

describe.skipIf(lacks !== "")("Fast Open with the Linux kernel", () => {
  let ns: Namespace;
  beforeAll(() => {
    ns = new Namespace();
    fs.writeFileSync(path.join(ns.dir, "server.py"), SERVER);
    fs.writeFileSync(path.join(ns.dir, "client.py"), CLIENT);
  });
  afterAll(() => ns.close());

  it("opens fast both ways, from the second connection on", async () => {
    const key = KEY.map((w) => w.toString(16)).join("-");
    ns.run("sysctl", "-q", "net.ipv4.tcp_fastopen=3", `net.ipv4.tcp_fastopen_key=${key}`);
    const server = await ns.start(/listening/, "python3", "-u", path.join(ns.dir, "server.py"));
    let out = "";
    const ours = await ns.start(
      /ready/,
      process.execPath,
      path.join(root, "test/interop/fastopen.mjs"),
      "tap3",
      OURS,
      KERNEL,
      String(COUNT),
      key,
    );
    ours.stdout?.on("data", (d: Buffer) => {
      out += d.toString();
    });
    const ended = new Promise((resolve) => ours.once("exit", resolve));
    const answers = await ns.runAsync("python3", path.join(ns.dir, "client.py"));
    expect(answers.trim().split("\n")).toEqual(new Array(COUNT).fill("True"));
    await ended;
    const result = JSON.parse(out.slice(out.indexOf("{"))) as {
      echoed: boolean[];
      counters: Record<string, number>;
      metrics: string;
    };
    expect(result.echoed).toEqual(new Array(COUNT).fill(true));
    const wanted = { TCPFastOpenActive: COUNT - 1, TCPFastOpenPassive: COUNT - 1, TCPFastOpenCookieReqd: 1 };
    expect(result.counters).toMatchObject({ ...wanted, TCPFastOpenActiveFail: 0, TCPFastOpenPassiveFail: 0 });
    const nstat = ns.run("nstat", "-asz");
    for (const [name, n] of Object.entries(wanted)) expect(nstat).toMatch(new RegExp(`TcpExt${name} +${n} `));
    // Each has the cookie that the other's SipHash makes of the same key.
    expect(result.metrics).toContain(` fo_cookie ${cookieOf(OURS, KERNEL)} source ${OURS}`);
    expect(ns.run("ip", "tcp_metrics", "show", OURS)).toContain(
      ` fo_cookie ${cookieOf(KERNEL, OURS)} source ${KERNEL}`,
    );
    await ns.stop(server);
  }, 60_000);
});
