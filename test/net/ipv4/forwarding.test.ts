/** Three hosts in a row: routes, neighbours and ICMP between them, all of it real. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { sysBind, sysConnect, sysRecvfrom, sysSendto, sysSetsockopt, sysSocket } from "../../../src/net/socket.ts";
import { EAGAIN, EHOSTUNREACH, ENETUNREACH } from "../../../src/uapi/errno.ts";
import { IP_RECVERR } from "../../../src/uapi/in.ts";
import { AF_INET, SOCK_DGRAM } from "../../../src/uapi/socket.ts";
import { capture, type Frame, ip, World } from "../../tools/world.ts";

let w: World;
let a: Net;
let r: Net;
let b: Net;

beforeEach(() => {
  w = new World();
  a = w.net("a");
  r = w.net("r");
  b = w.net("b");
  w.run(
    r,
    `ip link add ra type veth peer name eth0 netns a
     ip link add rb type veth peer name eth0 netns b
     ip addr add 10.0.0.254/24 dev ra
     ip addr add 10.1.0.254/24 dev rb
     ip link set ra up
     ip link set rb up
     sysctl net.ipv4.ip_forward=1
     ip netns exec a ip addr add 10.0.0.1/24 dev eth0
     ip netns exec a ip link set eth0 up
     ip netns exec a ip route add default via 10.0.0.254
     ip netns exec b ip addr add 10.1.0.1/24 dev eth0
     ip netns exec b ip link set eth0 up
     ip netns exec b ip route add default via 10.1.0.254`,
  );
});
afterEach(() => w.close());

function socket(net: Net, port = 0): number {
  const fd = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
  if (port !== 0) expect(sysBind(net, fd, { family: AF_INET, addr: 0, port })).toBe(0);
  return fd;
}
function send(net: Net, fd: number, to: string, port = 9): number {
  return sysSendto(net, fd, new Uint8Array([1, 2, 3]), 3, 0, { family: AF_INET, addr: ip(to), port });
}
const buf = new Uint8Array(100);

test("a datagram crosses the router, and the answer comes back", () => {
  const fa = socket(a, 4000);
  const fb = socket(b, 9);
  expect(send(a, fa, "10.1.0.1")).toBe(3);
  const from = { family: 0, addr: 0, port: 0 };
  expect(sysRecvfrom(b, fb, buf, 100, 0, from)).toBe(3);
  expect([from.addr, from.port]).toEqual([ip("10.0.0.1"), 4000]);
  expect(send(b, fb, "10.0.0.1", 4000)).toBe(3);
  expect(sysRecvfrom(a, fa, buf, 100, 0, null)).toBe(3);
  expect(w.run(r, "ip neigh show")).toMatch(/10\.0\.0\.1 dev ra lladdr \S+ (?:REACHABLE|STALE|DELAY)/);
});

describe("errors reach the socket", () => {
  test.each([
    ["nobody on the last link", "10.1.0.77", "", -EHOSTUNREACH, 5],
    ["the router has no route", "10.9.0.1", "", -ENETUNREACH, 0],
    ["prohibited", "10.9.0.1", "ip route add prohibit 10.9.0.0/16", -EHOSTUNREACH, 0],
    ["unreachable", "10.9.0.1", "ip route add unreachable 10.9.0.0/16", -EHOSTUNREACH, 0],
  ])("%s", (_name, to, setup, err, seconds) => {
    if (setup !== "") w.run(r, setup);
    const fa = socket(a);
    // Only asked for, these errors are told: they may pass (RFC 1122 §4.2.3.9).
    expect(sysSetsockopt(a, fa, 0, IP_RECVERR, 1)).toBe(0);
    expect(sysConnect(a, fa, { family: AF_INET, addr: ip(to), port: 9 })).toBe(0);
    expect(sysSendto(a, fa, new Uint8Array(3), 3, 0, null)).toBe(3);
    w.advance(seconds * 1e6);
    expect(sysSendto(a, fa, new Uint8Array(3), 3, 0, null)).toBe(err);
  });

  test("nobody on our own link: the sender learns it from its own host", () => {
    const fa = socket(a);
    expect(sysSetsockopt(a, fa, 0, IP_RECVERR, 1)).toBe(0);
    sysConnect(a, fa, { family: AF_INET, addr: ip("10.0.0.77"), port: 9 });
    expect(sysSendto(a, fa, new Uint8Array(3), 3, 0, null)).toBe(3);
    expect(sysRecvfrom(a, fa, buf, 100, 0, null)).toBe(-EAGAIN);
    w.advance(4e6);
    expect(sysRecvfrom(a, fa, buf, 100, 0, null)).toBe(-EHOSTUNREACH);
  });
});

test("a smaller link on the way: the path MTU is learnt", () => {
  w.run(r, "ip link set rb mtu 1000");
  const fa = socket(a);
  sysConnect(a, fa, { family: AF_INET, addr: ip("10.1.0.1"), port: 9 });
  const big = new Uint8Array(1400);
  expect(sysSendto(a, fa, big, 1400, 0, null)).toBe(1400);
  expect(w.run(a, "ip route get 10.1.0.1")).toContain("mtu 1000 ");
});

test("a better router on the same link: the sender is redirected, with backoff", () => {
  w.run(
    a,
    `ip netns exec r ip route add 10.7.0.0/16 via 10.0.0.253
     ip neigh add 10.0.0.253 lladdr 02:00:00:00:00:fd dev eth0 nud reachable`,
  );
  w.run(r, "ip neigh add 10.0.0.253 lladdr 02:00:00:00:00:fd dev ra");
  const frames: Frame[] = capture(r.devByName.get("ra") as NetDevice);
  const redirects = (): number =>
    frames.splice(0).filter((f) => f.out && f.type === 0x0800 && f.bytes[23] === 1 && f.bytes[34] === 5).length;
  const fa = socket(a);
  send(a, fa, "10.7.0.1");
  expect(redirects()).toBe(1);
  expect(w.run(a, "ip route get 10.7.0.1")).toContain("via 10.0.0.253 dev eth0 ");
  expect(w.run(a, "ip route get 10.7.0.1")).toContain("<redirected> ");
  send(a, fa, "10.7.0.1");
  expect(redirects()).toBe(0);
  // Others still go to the router, and are told too, but not each time.
  for (let i = 2; i < 60; i++) send(a, fa, `10.7.0.${i}`);
  expect(redirects()).toBeLessThanOrEqual(1);
});

test("the link fails: routes over it are not used, and come back with it", () => {
  const fa = socket(a);
  const fb = socket(b, 9);
  expect(send(a, fa, "10.1.0.1")).toBe(3);
  expect(sysRecvfrom(b, fb, buf, 100, 0, null)).toBe(3);
  w.run(a, "ip link set eth0 down");
  expect(send(a, fa, "10.1.0.1")).toBe(-ENETUNREACH);
  w.run(a, "ip link set eth0 up");
  expect(w.run(a, "ip route")).toBe("10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1 \n");
  w.run(a, "ip route add default via 10.0.0.254");
  expect(send(a, fa, "10.1.0.1")).toBe(3);
  expect(sysRecvfrom(b, fb, buf, 100, 0, null)).toBe(3);
});

test("policy routing by mark and by source", () => {
  w.run(
    a,
    "ip addr add 10.0.0.2/24 dev eth0\nip route add unreachable default table 5\nip rule add from 10.0.0.2 table 5",
  );
  const fa = socket(a);
  expect(send(a, fa, "10.1.0.1")).toBe(3);
  const f2 = sysSocket(a, AF_INET, SOCK_DGRAM, 0);
  sysBind(a, f2, { family: AF_INET, addr: ip("10.0.0.2"), port: 0 });
  expect(send(a, f2, "10.1.0.1")).toBe(-EHOSTUNREACH);
});
