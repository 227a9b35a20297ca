/** ip_rcv: every header that RFC 1122 refuses, with its reason and counter; delivery; forwarding; unknown protocols. */

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import { devSetMtu } from "../../../src/net/core/dev.ts";
import { consumeSkb, skbBytes, skbData, skbTransportHeader } from "../../../src/net/core/skbuff.ts";
import type { NetProtocol } from "../../../src/net/ipv4/protocol.ts";
import { inetAddProtocol, inetDelProtocol } from "../../../src/net/ipv4/protocol.ts";
import {
  dropReasonName,
  SKB_DROP_REASON_IP_CSUM,
  SKB_DROP_REASON_IP_INHDR,
  SKB_DROP_REASON_IP_INVALID_DEST,
  SKB_DROP_REASON_IP_INVALID_SOURCE,
  SKB_DROP_REASON_IP_LOCAL_SOURCE,
  SKB_DROP_REASON_IP_LOCALNET,
  SKB_DROP_REASON_IP_NOPROTO,
  SKB_DROP_REASON_IP_RPFILTER,
  SKB_DROP_REASON_NETFILTER_DROP,
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_OTHERHOST,
  SKB_DROP_REASON_PKT_TOO_BIG,
  SKB_DROP_REASON_PKT_TOO_SMALL,
  SKB_DROP_REASON_UNICAST_IN_L2_MULTICAST,
} from "../../../src/uapi/dropreason.ts";
import { IP_DF, IP_MF } from "../../../src/uapi/ip.ts";
import {
  IPSTATS_MIB_CEPKTS,
  IPSTATS_MIB_CSUMERRORS,
  IPSTATS_MIB_ECT0PKTS,
  IPSTATS_MIB_ECT1PKTS,
  IPSTATS_MIB_FRAGFAILS,
  IPSTATS_MIB_INBCASTPKTS,
  IPSTATS_MIB_INDELIVERS,
  IPSTATS_MIB_INHDRERRORS,
  IPSTATS_MIB_INMCASTPKTS,
  IPSTATS_MIB_INOCTETS,
  IPSTATS_MIB_INPKTS,
  IPSTATS_MIB_INTRUNCATEDPKTS,
  IPSTATS_MIB_INUNKNOWNPROTOS,
  IPSTATS_MIB_NOECTPKTS,
  IPSTATS_MIB_OUTFORWDATAGRAMS,
  IPSTATS_MIB_REASMOKS,
  LINUX_MIB_IPRPFILTER,
} from "../../../src/uapi/linux_mib.ts";
import { rfc1071 } from "../../mm/util.ts";
import type { Ip } from "./host.ts";
import { A, B, C, ipPacket, pattern, RUNS, readIp, SEED, TestHost } from "./host.ts";

let host: TestHost;
/** 10.0.0.1/24, and 10.1.0.1/24 behind which 10.1.0.3 is. */
let eth0: NetDevice;
let eth1: NetDevice;
/** What the test protocol got, from the transport header on. */
let got: Uint8Array[] = [];
let answer: number[] = [];
const PROTO = 253;
const proto: NetProtocol = {
  symbol: "test_protocol",
  handler(skb: number): number {
    const ret = answer.shift() ?? 0;
    if (ret < 0) return ret;
    expect(skbData(skb)).toBe(skbTransportHeader(skb));
    got.push(skbBytes(skb));
    consumeSkb(skb);
    return 0;
  },
};

beforeEach(() => {
  host = new TestHost();
  got = [];
  answer = [];
  inetAddProtocol(PROTO, proto);
  eth0 = host.device("eth0", A);
  eth1 = host.device("eth1", 0x0a010001);
  host.sysctl("net.ipv4.ip_forward", 1);
});
afterEach(() => {
  inetDelProtocol(PROTO, proto);
  host.advance(31_000_000);
  host.end();
});

function rcv(bytes: Uint8Array, pktType = 0): void {
  host.receive(eth0, bytes, pktType);
}

/** The ICMP messages that left: type, code, the second word, and to whom. */
function icmp(): { type: number; code: number; info: number; daddr: number }[] {
  return host.sent
    .map(readIp)
    .filter((p) => p.protocol === 1)
    .map(({ payload, daddr }) => {
      const v = new DataView(payload.buffer, payload.byteOffset);
      expect(rfc1071(payload)).toBe(0);
      return { type: v.getUint8(0), code: v.getUint8(1), info: v.getUint32(4), daddr };
    });
}

function packet(h: Ip, payload: ArrayLike<number> = pattern(40)): Uint8Array {
  return ipPacket({ protocol: PROTO, ...h }, payload);
}

describe("ip_rcv_core", () => {
  const bad: [string, Uint8Array, number, number[]][] = [
    ["an empty frame", new Uint8Array(0), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    ["19 bytes", packet({}).slice(0, 19), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    ["version 6", packet({ version: 6 }), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    ["version 0", packet({ version: 0 }), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    ["ihl 4", packet({ ihl: 4 }), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    ["ihl 0", packet({ ihl: 0 }), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    ["a header longer than the frame", packet({ ihl: 15 }, []), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    [
      "a wrong checksum",
      packet({ check: 0x1234 }),
      SKB_DROP_REASON_IP_CSUM,
      [IPSTATS_MIB_INHDRERRORS, IPSTATS_MIB_CSUMERRORS],
    ],
    [
      "a frame shorter than its packet",
      packet({ totLen: 61 }),
      SKB_DROP_REASON_PKT_TOO_SMALL,
      [IPSTATS_MIB_INTRUNCATEDPKTS],
    ],
    ["a length below the header's", packet({ totLen: 19 }), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    ["a length of 0", packet({ totLen: 0 }), SKB_DROP_REASON_IP_INHDR, [IPSTATS_MIB_INHDRERRORS]],
    [
      "a length below the header's, with options",
      packet({ totLen: 20, options: [1, 1, 1, 1] }),
      SKB_DROP_REASON_IP_INHDR,
      [IPSTATS_MIB_INHDRERRORS],
    ],
  ];
  it.each(bad)("%s", (_what, bytes, reason, counters) => {
    rcv(bytes);
    expect(host.drops).toEqual([reason]);
    for (const c of counters) expect(host.ip(c)).toBe(1);
    expect(host.ip(IPSTATS_MIB_INPKTS)).toBe(1);
    expect(got).toEqual([]);
    expect(host.ip(IPSTATS_MIB_INDELIVERS)).toBe(0);
  });

  it("another host's", () => {
    rcv(packet({}), 3);
    expect(host.drops).toEqual([SKB_DROP_REASON_OTHERHOST]);
    expect(host.ip(IPSTATS_MIB_INPKTS)).toBe(0);
  });

  it("trims the link's padding, counts, and delivers the transport's bytes", () => {
    const p = packet({}, pattern(5));
    const frame = new Uint8Array(46);
    frame.set(p);
    rcv(frame);
    expect(got).toEqual([pattern(5)]);
    expect([host.ip(IPSTATS_MIB_INPKTS), host.ip(IPSTATS_MIB_INOCTETS), host.ip(IPSTATS_MIB_INDELIVERS)]).toEqual([
      1, 46, 1,
    ]);
  });

  it("counts ECN by segment", () => {
    for (const tos of [0, 1, 2, 3]) rcv(packet({ tos }));
    const c = [IPSTATS_MIB_NOECTPKTS, IPSTATS_MIB_ECT1PKTS, IPSTATS_MIB_ECT0PKTS, IPSTATS_MIB_CEPKTS];
    expect(c.map((i) => host.ip(i))).toEqual([1, 1, 1, 1]);
  });
});

describe("ip_rcv_finish", () => {
  const rows: [string, Ip, number][] = [
    ["a martian source", { saddr: 0x7f000001 }, SKB_DROP_REASON_IP_LOCALNET],
    ["a multicast source", { saddr: 0xe0000001 }, SKB_DROP_REASON_IP_INVALID_SOURCE],
    ["this host as source", { saddr: A }, SKB_DROP_REASON_IP_LOCAL_SOURCE],
    ["no route back (rp_filter)", { saddr: C }, SKB_DROP_REASON_IP_RPFILTER],
    ["no destination", { daddr: 0 }, SKB_DROP_REASON_IP_INVALID_DEST],
  ];
  it.each(rows)("%s", (_what, h, reason) => {
    if (reason === SKB_DROP_REASON_IP_RPFILTER) host.sysctl("net.ipv4.conf.all.rp_filter", 1);
    rcv(packet(h));
    expect(host.drops.map(dropReasonName)).toEqual([dropReasonName(reason)]);
    expect(host.net.mib.linux[LINUX_MIB_IPRPFILTER]).toBe(reason === SKB_DROP_REASON_IP_RPFILTER ? 1 : 0);
    expect(got).toEqual([]);
  });

  it.each([
    [0xe0000001, 2, IPSTATS_MIB_INMCASTPKTS],
    [0xffffffff, 1, IPSTATS_MIB_INBCASTPKTS],
    [0x0a0000ff, 1, IPSTATS_MIB_INBCASTPKTS],
  ])("counts multicasts and broadcasts: %i", (daddr, pktType, counter) => {
    rcv(packet({ daddr }), pktType);
    expect(host.ip(counter)).toBe(1);
    expect(got.length).toBe(1);
  });

  it("drop_unicast_in_l2_multicast", () => {
    rcv(packet({}), 1);
    expect(got.length).toBe(1);
    host.sysctl("net.ipv4.conf.all.drop_unicast_in_l2_multicast", 1);
    rcv(packet({}), 1);
    expect(host.drops).toEqual([SKB_DROP_REASON_UNICAST_IN_L2_MULTICAST]);
  });

  it("early demux comes first, but not for fragments, and not when it is off", () => {
    let asked = 0;
    const early: NetProtocol = { ...proto, symbol: "early", earlyDemux: () => void asked++ };
    inetDelProtocol(PROTO, proto);
    inetAddProtocol(PROTO, early);
    rcv(packet({}));
    expect([asked, got.length]).toEqual([1, 1]);
    rcv(packet({ frag: IP_MF }));
    host.sysctl("net.ipv4.ip_early_demux", 0);
    rcv(packet({}));
    expect(asked).toBe(1);
    inetDelProtocol(PROTO, early);
  });
});

describe("delivery", () => {
  it("reassembles", () => {
    const data = pattern(100);
    rcv(packet({ frag: 8 }, data.subarray(64)));
    expect(got).toEqual([]);
    rcv(packet({ frag: IP_MF }, data.subarray(0, 64)));
    expect(got).toEqual([data]);
    expect(host.ip(IPSTATS_MIB_REASMOKS)).toBe(1);
  });

  it("an unknown protocol is answered with ICMP protocol unreachable", () => {
    rcv(packet({ protocol: 252 }));
    expect(icmp()).toEqual([{ type: 3, code: 2, info: 0, daddr: B }]);
    expect(host.drops).toEqual([SKB_DROP_REASON_IP_NOPROTO]);
    expect(host.ip(IPSTATS_MIB_INUNKNOWNPROTOS)).toBe(1);
  });

  it("a handler may pass the packet on to another protocol, a bounded number of times", () => {
    answer = [-PROTO, -PROTO];
    rcv(packet({}));
    expect(got.length).toBe(1);
    expect(host.ip(IPSTATS_MIB_INDELIVERS)).toBe(1);
    answer = [-252];
    rcv(packet({}));
    expect(host.drops).toEqual([SKB_DROP_REASON_IP_NOPROTO]);
  });

  it.each(["prerouting", "input"] as const)("%s may drop", (hook) => {
    host.net.nf.add({ hook, fn: (p) => (p.ttl === 1 ? "drop" : "accept") });
    rcv(packet({ ttl: 1 }));
    rcv(packet({ ttl: 2 }));
    expect(got.length).toBe(1);
    expect(host.drops).toEqual([SKB_DROP_REASON_NETFILTER_DROP]);
  });
});

describe("ip_forward", () => {
  it("one hop less, and the checksum right", () => {
    for (let ttl = 2; ttl < 256; ttl++) rcv(packet({ ttl, daddr: C, id: ttl * 257, tos: ttl & 0xfc }));
    expect(host.sent.length).toBe(254);
    host.sent.forEach((b, i) => {
      expect([readIp(b).ttl, readIp(b).id]).toEqual([i + 1, (i + 2) * 257]);
    });
    expect(host.ip(IPSTATS_MIB_OUTFORWDATAGRAMS)).toBe(254);
  });

  it.each([0, 1])("ttl %i ends here, with time exceeded", (ttl) => {
    rcv(packet({ ttl, daddr: C }));
    expect(icmp()).toEqual([{ type: 11, code: 0, info: 0, daddr: B }]);
    expect(host.drops).toEqual([SKB_DROP_REASON_IP_INHDR]);
    expect(host.ip(IPSTATS_MIB_INHDRERRORS)).toBe(1);
  });

  it("too long with DF: fragmentation needed, with the MTU", () => {
    expect(devSetMtu(eth1, 1000)).toBe(0);
    rcv(packet({ daddr: C, frag: IP_DF }, pattern(981)));
    expect(icmp()).toEqual([{ type: 3, code: 4, info: 1000, daddr: B }]);
    expect(host.drops).toEqual([SKB_DROP_REASON_PKT_TOO_BIG]);
    expect(host.ip(IPSTATS_MIB_FRAGFAILS)).toBe(1);
    rcv(packet({ daddr: C, frag: IP_DF }, pattern(980)));
    expect(host.sent.length).toBe(2);
  });

  it("too long without DF: fragments", () => {
    expect(devSetMtu(eth1, 1000)).toBe(0);
    rcv(packet({ daddr: C }, pattern(2000)));
    expect(host.sent.map((b) => readIp(b).frag & IP_MF)).toEqual([IP_MF, IP_MF, 0]);
  });

  it("a route's own MTU counts, and a locked one", () => {
    host.route(0x0a020000, 16, eth1, C, { metrics: new Map([[2, 800]]) });
    rcv(packet({ daddr: 0x0a020001, frag: IP_DF }, pattern(781)));
    expect(icmp()).toEqual([{ type: 3, code: 4, info: 800, daddr: B }]);
  });

  it("out by the device that it came in by: a redirect (RFC 1812 §5.2.7.2)", () => {
    host.route(0x0a020000, 16, eth0, 0x0a000009);
    rcv(packet({ daddr: 0x0a020001 }));
    expect(icmp()).toEqual([{ type: 5, code: 1, info: 0x0a000009, daddr: B }]);
    expect(host.sent.length).toBe(2);
  });

  it("not when forwarding is off", () => {
    host.sysctl("net.ipv4.ip_forward", 0);
    rcv(packet({ daddr: C }));
    expect(host.sent).toEqual([]);
    expect(host.drops.length).toBe(1);
  });

  it("link-layer broadcasts aren't forwarded", () => {
    rcv(packet({ daddr: C }), 1);
    expect(host.drops).toEqual([SKB_DROP_REASON_NOT_SPECIFIED]);
  });

  it("FORWARD may drop; it sees both devices", () => {
    host.net.nf.add({
      hook: "forward",
      fn: (p) => {
        expect([p.in, p.out]).toEqual([eth0, eth1]);
        return "drop";
      },
    });
    rcv(packet({ daddr: C }));
    expect(host.drops).toEqual([SKB_DROP_REASON_NETFILTER_DROP]);
  });
});

it(`no bytes can break it (seed ${SEED})`, () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 100 }),
        fc
          .tuple(
            fc.uint8Array({ minLength: 4, maxLength: 40 }),
            fc.uint8Array({ maxLength: 60 }),
            fc.nat(0xffff),
            fc.nat(255),
          )
          .map(([o, d, frag, protocol]) =>
            ipPacket(
              { options: [...o.slice(0, o.length & ~3)], frag, protocol, ttl: d.length, daddr: d.length & 1 ? A : C },
              d,
            ),
          ),
      ),
      fc.boolean(),
      (bytes, forward) => {
        host.sysctl("net.ipv4.ip_forward", forward ? 1 : 0);
        rcv(bytes);
      },
    ),
    { seed: SEED, numRuns: RUNS * 5 },
  );
});
