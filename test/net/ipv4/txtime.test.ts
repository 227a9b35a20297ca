/** SO_TXTIME: a datagram says when it leaves (SCM_TXTIME, microseconds of the machine's clock), and fq keeps it until then. */

import { expect, test } from "vitest";
import { createKernel } from "../../../src/init/create.ts";
import { Msghdr } from "../../../src/net/core/sock.ts";
import { IP_HDRINCL, IPPROTO_IP, IPPROTO_UDP } from "../../../src/uapi/in.ts";
import { AF_INET, SCM_TXTIME, SO_TXTIME, SOCK_DGRAM, SOCK_RAW, SOL_SOCKET } from "../../../src/uapi/socket.ts";

const CLOCK_MONOTONIC = 1;

/** An IPv4 header and a UDP one, for 10.0.0.2:9 and four bytes of data; IP fills in the rest. */
function packet(): Uint8Array {
  const b = new Uint8Array(32);
  b.set([0x45, 0, 0, 32, 0, 0, 0, 0, 64, IPPROTO_UDP, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
  b.set([0, 9, 0, 9, 0, 12, 0, 0], 20);
  return b;
}

test.each([
  ["udp", SOCK_DGRAM, 0, false],
  ["raw", SOCK_RAW, 253, false],
  ["raw with its own header", SOCK_RAW, IPPROTO_UDP, true],
])("%s", async (_, type, protocol, hdrincl) => {
  const kernel = await createKernel({ clock: "virtual", autoAdvance: false, seed: 1 });
  const [a, b] = [kernel.netns("a"), kernel.netns("b")];
  kernel.link(a, b, { subnet: "10.0.0.0/24" });
  a.tc("qdisc replace dev eth0 root fq");
  const to = { family: AF_INET, addr: 0x0a000002, port: 9 };
  const [s, r] = [a.sys.socket(AF_INET, type, protocol), b.sys.socket(AF_INET, type, protocol)];
  if (hdrincl) a.sys.setsockopt(s, IPPROTO_IP, IP_HDRINCL, 1);
  b.sys.bind(r, to);
  const send = (at: number | null): number => {
    const msg = new Msghdr();
    msg.iov = [hdrincl ? packet() : new Uint8Array(4)];
    msg.name = { ...to };
    if (at !== null) msg.control = [{ level: SOL_SOCKET, type: SCM_TXTIME, data: at }];
    return a.sys.sendmsg(s, msg, 0);
  };
  const size = hdrincl ? 32 : 4;
  // The neighbour is found first.
  expect(send(null)).toBe(size);
  await kernel.advance(100);
  const came = (): boolean => b.sys.recv(r, new Uint8Array(100), 100, 0) >= 0;
  expect(came()).toBe(true);

  const at = kernel.core.now + 50_000;
  expect(send(at)).toBe(-22); // not without SO_TXTIME
  expect(a.sys.setsockopt(s, SOL_SOCKET, SO_TXTIME, { clockid: CLOCK_MONOTONIC, flags: 0 })).toBe(0);
  expect(send(at)).toBe(size);
  await kernel.advance(45);
  expect(came()).toBe(false);
  await kernel.advance(10);
  expect(came()).toBe(true);
  kernel.close();
});
