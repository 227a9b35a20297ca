/** Multicast membership: what a host hears, and which of its sockets. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { inDevGet } from "../../../src/net/ipv4/devinet.ts";
import { sysBind, sysClose, sysRecvfrom, sysSendto, sysSetsockopt, sysSocket } from "../../../src/net/socket.ts";
import { EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EINVAL, ENOBUFS, ENODEV } from "../../../src/uapi/errno.ts";
import { IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP } from "../../../src/uapi/in.ts";
import { AF_INET, SOCK_DGRAM } from "../../../src/uapi/socket.ts";
import { ip, World } from "../../tools/world.ts";

const GROUP = ip("239.1.2.3");
let w: World;
let a: Net;
let b: Net;
let dev: NetDevice;

beforeEach(() => {
  w = new World();
  a = w.net("a");
  b = w.net("b");
  w.run(
    a,
    `ip link add eth0 type veth peer name eth0 netns b
     ip addr add 10.0.0.1/24 dev eth0
     ip link set eth0 up
     ip netns exec b ip addr add 10.0.0.2/24 dev eth0
     ip netns exec b ip link set eth0 up
     ip route add 224.0.0.0/4 dev eth0
     ip netns exec b ip route add 224.0.0.0/4 dev eth0`,
  );
  dev = b.devByName.get("eth0") as NetDevice;
});
afterEach(() => w.close());

function listener(port = 9): number {
  const fd = sysSocket(b, AF_INET, SOCK_DGRAM, 0);
  expect(sysSetsockopt(b, fd, 1, 2, 1)).toBe(0);
  expect(sysBind(b, fd, { family: AF_INET, addr: 0, port })).toBe(0);
  return fd;
}
const join = (fd: number, group = GROUP, more: object = {}): number =>
  sysSetsockopt(b, fd, 0, IP_ADD_MEMBERSHIP, { multiaddr: group, ...more });
const leave = (fd: number, group = GROUP): number => sysSetsockopt(b, fd, 0, IP_DROP_MEMBERSHIP, { multiaddr: group });
function send(group = "239.1.2.3"): void {
  const fd = sysSocket(a, AF_INET, SOCK_DGRAM, 0);
  expect(sysSendto(a, fd, new Uint8Array(3), 3, 0, { family: AF_INET, addr: ip(group), port: 9 })).toBe(3);
  sysClose(a, fd);
}
const got = (fd: number): number => sysRecvfrom(b, fd, new Uint8Array(9), 9, 0, null);
const filter = (): string[] => [...dev.mc.keys()].sort();

test("a host hears all-hosts from the start, and a group once somebody joined", () => {
  expect(filter()).toEqual(["01005e000001"]);
  const fd = listener();
  send();
  expect(got(fd)).toBe(-EAGAIN);
  expect(join(fd)).toBe(0);
  expect(filter()).toEqual(["01005e000001", "01005e010203"]);
  send();
  expect(got(fd)).toBe(3);
  send("224.0.0.1");
  expect(got(fd)).toBe(3);
  expect(leave(fd)).toBe(0);
  expect(filter()).toEqual(["01005e000001"]);
  send();
  expect(got(fd)).toBe(-EAGAIN);
});

test("the group stays as long as one of its sockets does", () => {
  const [x, y] = [listener(), listener()];
  join(x);
  join(y);
  sysClose(b, x);
  expect(inDevGet(dev)?.mcList.get(GROUP | 0)).toBe(1);
  send();
  expect(got(y)).toBe(3);
  sysClose(b, y);
  expect(inDevGet(dev)?.mcList.has(GROUP | 0)).toBe(false);
});

describe("errors", () => {
  test("of joining and leaving", () => {
    const fd = listener();
    expect(join(fd, ip("10.0.0.5"))).toBe(-EINVAL);
    expect(join(fd, GROUP, { ifindex: 77 })).toBe(-ENODEV);
    expect(join(fd, GROUP, { address: ip("10.9.9.9") })).toBe(-ENODEV);
    expect(join(fd, GROUP, { address: ip("10.0.0.2") })).toBe(0);
    expect(join(fd)).toBe(-EADDRINUSE);
    expect(leave(fd, ip("239.9.9.9"))).toBe(-EADDRNOTAVAIL);
    w.run(b, "sysctl net.ipv4.igmp_max_memberships=2");
    expect(join(fd, ip("239.0.0.1"))).toBe(0);
    expect(join(fd, ip("239.0.0.2"))).toBe(-ENOBUFS);
  });
});

test("the device goes down and comes back: all-hosts is heard again", () => {
  w.run(b, "ip link set eth0 down");
  expect(filter()).toEqual([]);
  w.run(b, "ip link set eth0 up");
  expect(filter()).toEqual(["01005e000001"]);
});
