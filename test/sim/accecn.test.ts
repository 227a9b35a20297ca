/** Accurate ECN end to end: whatever the link marks and whichever ACKs it loses, both ends count the same in the end. */

import { describe, expect, it } from "vitest";
import type { Host } from "../../src/init/host.ts";
import type { LinkOptions } from "../../src/init/link_options.ts";
import { ErrBox } from "../../src/net/core/sock.ts";
import type { TcpInfo } from "../../src/net/ipv4/tcp_sockopt.ts";
import { SOL_TCP } from "../../src/uapi/socket.ts";
import { TCP_INFO } from "../../src/uapi/tcp.ts";
import { Pair } from "./pair.ts";

function info(host: Host, fd: number): TcpInfo {
  return host.sys.getsockopt(fd, SOL_TCP, TCP_INFO, new ErrBox()) as TcpInfo;
}

interface Case {
  readonly name: string;
  readonly link: LinkOptions;
  /** netem of a's card: "loss ... ecn" marks. */
  readonly there: string;
  readonly back: string;
  readonly size: number;
  readonly sysctls?: readonly string[];
}

const CASES: readonly Case[] = [
  { name: "super-packets", link: {}, there: "loss 3% ecn delay 5ms", back: "delay 5ms", size: 3 << 20 },
  { name: "frames", link: { offload: false }, there: "loss 5% ecn delay 5ms", back: "delay 5ms", size: 1 << 20 },
  { name: "rtl819x", link: { driver: "rtl819x" }, there: "loss 5% ecn delay 5ms", back: "delay 5ms", size: 1 << 20 },
  {
    name: "lost ACKs",
    link: { offload: false },
    there: "loss 5% ecn delay 5ms",
    back: "delay 5ms loss 20%",
    size: 1 << 20,
  },
  {
    name: "reordering, both ways",
    link: { offload: false },
    there: "loss 5% ecn delay 5ms reorder 5%",
    back: "delay 5ms reorder 30%",
    size: 1 << 20,
  },
  {
    name: "the option only when it is due",
    link: { offload: false },
    there: "loss 5% ecn delay 5ms",
    back: "delay 5ms",
    size: 1 << 20,
    sysctls: ["net.ipv4.tcp_ecn_option=1"],
  },
];

describe("feedback", () => {
  it.each(CASES)(
    "$name",
    async ({ link, there, back, size, sysctls }) => {
      const pair = await Pair.create(link, 9768);
      const { a, b } = pair;
      for (const host of [a, b]) {
        host.sysctl("net.ipv4.tcp_ecn=3");
        for (const s of sysctls ?? []) host.sysctl(s);
      }
      const [tx, rx] = await pair.connect();
      // Only now: a SYN/ACK that is sent again carries no option, and without one in the handshake there is none later.
      a.tc(`qdisc add dev eth0 root netem ${there}`);
      b.tc(`qdisc add dev eth0 root netem ${back}`);
      await pair.transfer(tx, rx, size);
      await pair.kernel.advance(1000);
      const s = info(a, tx);
      const r = info(b, rx);
      expect([s.ecnMode, r.ecnMode, s.accecnFailMode, r.accecnFailMode]).toEqual([2, 2, 0, 0]);
      expect(r.receivedCe).toBeGreaterThan(10);
      expect(r.receivedCeBytes + r.receivedE0Bytes).toBeGreaterThanOrEqual(size);
      // To the packet and to the byte.
      expect([s.deliveredCe, s.deliveredCeBytes, s.deliveredE0Bytes, s.deliveredE1Bytes]).toEqual([
        r.receivedCe,
        r.receivedCeBytes,
        r.receivedE0Bytes,
        0,
      ]);
      await pair.finish([a, tx], [b, rx]);
    },
    120_000,
  );
});
