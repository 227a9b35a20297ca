/** ICMP: what is answered and quoted, when there is silence (RFC 1122 §3.2.2), rate limits, and errors to the protocols. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { u8 } from "../../../src/mm/mem.ts";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import { devSetMtu } from "../../../src/net/core/dev.ts";
import { consumeSkb, skbBytes, skbData, skbTransportHeader } from "../../../src/net/core/skbuff.ts";
import { icmpErrConvert, icmpGlobalAllow } from "../../../src/net/ipv4/icmp.ts";
import type { NetProtocol } from "../../../src/net/ipv4/protocol.ts";
import { inetAddProtocol, inetDelProtocol } from "../../../src/net/ipv4/protocol.ts";
import {
  dropReasonName,
  SKB_DROP_REASON_ICMP_CSUM,
  SKB_DROP_REASON_INVALID_PROTO,
  SKB_DROP_REASON_PKT_TOO_SMALL,
  SKB_DROP_REASON_UNHANDLED_PROTO,
} from "../../../src/uapi/dropreason.ts";
import { ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, ENETUNREACH } from "../../../src/uapi/errno.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_TIME_EXCEEDED,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMPREPLY,
} from "../../../src/uapi/icmp.ts";
import { IP_MF, IP_OFFSET } from "../../../src/uapi/ip.ts";
import {
  ICMP_MIB_CSUMERRORS,
  ICMP_MIB_INERRORS,
  ICMP_MIB_INMSGS,
  ICMP_MIB_OUTMSGS,
  ICMP_MIB_RATELIMITGLOBAL,
  ICMP_MIB_RATELIMITHOST,
  IPSTATS_MIB_REASMTIMEOUT,
} from "../../../src/uapi/linux_mib.ts";
import { rfc1071 } from "../../mm/util.ts";
import type { Ip, IpView } from "./host.ts";
import { A, B, C, ipPacket, pattern, readIp, TestHost } from "./host.ts";

let host: TestHost;
let eth0: NetDevice;
beforeEach(() => {
  host = new TestHost();
  eth0 = host.device("eth0", A);
});
afterEach(() => {
  host.advance(31_000_000);
  host.end();
});

/** An ICMP message with its checksum. `word`: the second word of its header. */
function icmpMsg(type: number, code: number, word: number, data: ArrayLike<number>, check?: number): Uint8Array {
  const b = new Uint8Array(8 + data.length);
  const v = new DataView(b.buffer);
  b[0] = type;
  b[1] = code;
  v.setUint32(4, word);
  b.set(Uint8Array.from(data), 8);
  v.setUint16(2, check ?? rfc1071(b));
  return b;
}

function icmp(type: number, code: number, word: number, data: ArrayLike<number>, h: Ip = {}): Uint8Array {
  return ipPacket({ protocol: 1, ...h }, icmpMsg(type, code, word, data));
}

interface Msg extends IpView {
  type: number;
  code: number;
  word: number;
  data: Uint8Array;
}

/** The ICMP messages that left since the last call. Fragments are put together. */
function out(): Msg[] {
  const ips = host.sent.splice(0).map(readIp);
  const whole: IpView[] = [];
  for (const p of ips) {
    const last = whole.at(-1);
    if ((p.frag & IP_OFFSET) !== 0 && last !== undefined) {
      const joined = new Uint8Array(last.payload.length + p.payload.length);
      joined.set(last.payload);
      joined.set(p.payload, last.payload.length);
      last.payload = joined;
    } else whole.push(p);
  }
  return whole.map((p) => {
    expect(p.protocol).toBe(1);
    expect(rfc1071(p.payload)).toBe(0);
    const v = new DataView(p.payload.buffer, p.payload.byteOffset);
    return {
      ...p,
      type: v.getUint8(0),
      code: v.getUint8(1),
      word: v.getUint32(4),
      data: p.payload.slice(8),
    };
  });
}

describe("the echo server", () => {
  it.each([0, 1, 56, 1472, 1473, 8000, 65507])("%i bytes", (n) => {
    const data = pattern(n);
    const msg = icmpMsg(ICMP_ECHO, 0, 0x12345678, data);
    for (let at = 0; at < msg.length; at += 1480) {
      const end = Math.min(msg.length, at + 1480);
      host.receive(
        eth0,
        ipPacket({ protocol: 1, tos: 0x28, frag: (at >>> 3) | (end < msg.length ? IP_MF : 0) }, msg.slice(at, end)),
      );
    }
    const [m, ...more] = out();
    expect(more).toEqual([]);
    expect(m).toMatchObject({
      type: ICMP_ECHOREPLY,
      code: 0,
      word: 0x12345678,
      saddr: A,
      daddr: B,
      tos: 0x28,
      ttl: 64,
    });
    expect(m?.data).toEqual(data);
    expect(host.icmp(ICMP_MIB_INMSGS)).toBe(1);
    expect(host.icmp(ICMP_MIB_OUTMSGS)).toBe(1);
    expect(host.net.mib.icmpmsg[ICMP_ECHO]).toBe(1);
    expect(host.net.mib.icmpmsg[ICMP_ECHOREPLY + 256]).toBe(1);
  });

  it("can be switched off; broadcasts and multicasts get no answer unless asked for", () => {
    for (const daddr of [0x0a0000ff, 0xffffffff, 0xe0000001]) {
      host.receive(eth0, icmp(ICMP_ECHO, 0, 1, [], { daddr }), 1);
      expect(host.drops.splice(0)).toEqual([SKB_DROP_REASON_INVALID_PROTO]);
    }
    host.sysctl("net.ipv4.icmp_echo_ignore_broadcasts", 0);
    host.receive(eth0, icmp(ICMP_ECHO, 0, 1, [], { daddr: 0x0a0000ff }), 1);
    expect(out()).toMatchObject([{ type: ICMP_ECHOREPLY, saddr: A, daddr: B }]);
    host.sysctl("net.ipv4.icmp_echo_ignore_all", 1);
    host.receive(eth0, icmp(ICMP_ECHO, 0, 1, []));
    expect(out()).toEqual([]);
  });

  it("turns options around: the route recorded on, times stamped", () => {
    const options = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    host.receive(eth0, icmp(ICMP_ECHO, 0, 1, [], { options }));
    // This host is recorded on the way in, and again on the way out.
    expect(out()[0]?.options).toEqual([7, 11, 12, 10, 0, 0, 1, 10, 0, 0, 1, 0]);
  });

  it("timestamp (RFC 792)", () => {
    host.receive(eth0, icmp(ICMP_TIMESTAMP, 0, 5, [0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0]));
    const [m] = out();
    const v = new DataView((m as Msg).data.buffer);
    const now = Math.floor(host.clock.realtime() / 1000) % 86_400_000;
    expect([m?.type, v.getUint32(0), v.getUint32(4), v.getUint32(8)]).toEqual([ICMP_TIMESTAMPREPLY, 0x102, now, now]);
    host.receive(eth0, icmp(ICMP_TIMESTAMP, 0, 5, [1, 2, 3]));
    expect(host.drops).toEqual([SKB_DROP_REASON_PKT_TOO_SMALL]);
  });
});

describe("messages that are dropped", () => {
  it.each([
    ["a wrong checksum", ipPacket({ protocol: 1 }, icmpMsg(8, 0, 1, [1], 0x1111)), SKB_DROP_REASON_ICMP_CSUM],
    ["7 bytes", ipPacket({ protocol: 1 }, [8, 0, 0xf7, 0xff, 0, 0, 0]), SKB_DROP_REASON_PKT_TOO_SMALL],
    ["an unknown type", icmp(19, 0, 0, []), SKB_DROP_REASON_UNHANDLED_PROTO],
    ["type 255", icmp(255, 0, 0, []), SKB_DROP_REASON_UNHANDLED_PROTO],
    ["an error that quotes nothing", icmp(ICMP_DEST_UNREACH, 1, 0, []), SKB_DROP_REASON_PKT_TOO_SMALL],
  ])("%s", (_what, bytes, reason) => {
    host.receive(eth0, bytes);
    expect(host.drops.map(dropReasonName)).toEqual([dropReasonName(reason)]);
    expect(host.icmp(ICMP_MIB_INERRORS)).toBe(1);
    expect(host.icmp(ICMP_MIB_CSUMERRORS)).toBe(reason === SKB_DROP_REASON_ICMP_CSUM ? 1 : 0);
    expect(out()).toEqual([]);
  });
});

describe("icmp_send", () => {
  /** Something for protocol 252, which nobody has. */
  function unreachable(h: Ip = {}, payload: ArrayLike<number> = pattern(100), pktType = 0): Msg[] {
    host.receive(eth0, ipPacket({ protocol: 252, ...h }, payload), pktType);
    return out();
  }

  it("quotes the packet, up to 576 bytes of message (RFC 1812 §4.3.2.3)", () => {
    const [m] = unreachable({ tos: 0x10 });
    expect(m).toMatchObject({ type: 3, code: 2, saddr: A, daddr: B, tos: 0xd0, totLen: 148 });
    expect(readIp((m as Msg).data).payload).toEqual(pattern(100));
    const big = ipPacket({ protocol: 252 }, pattern(1400));
    host.receive(eth0, big);
    const [n] = out();
    expect(n?.totLen).toBe(576);
    expect(n?.data).toEqual(big.slice(0, 548));
  });

  it("and no more than the way back takes", () => {
    devSetMtu(eth0, 68);
    expect(unreachable()[0]?.totLen).toBe(68);
  });

  it.each<[string, () => Msg[]]>([
    ["link-layer broadcasts", () => unreachable({}, [], 1)],
    ["IP broadcasts", () => unreachable({ daddr: 0x0a0000ff })],
    ["multicasts", () => unreachable({ daddr: 0xe0000001 })],
    ["later fragments", () => unreachable({ frag: 1 })],
  ])("says nothing about %s", (_what, fn) => {
    expect(fn()).toEqual([]);
  });

  it("nor about ICMP errors, or what may be such, but about other ICMP", () => {
    const eth1 = host.device("eth1", 0x0a010001);
    host.sysctl("net.ipv4.ip_forward", 1);
    host.sysctl("net.ipv4.icmp_ratelimit", 0);
    void eth1;
    for (let type = 0; type < 256; type++) {
      host.advance(100_000);
      host.receive(eth0, icmp(type, 0, 0, pattern(40), { daddr: C, ttl: 1 }));
      const said = out().length === 1;
      expect([type, said]).toEqual([type, [0, 8, 13, 14, 15, 16, 17, 18].includes(type)]);
    }
  });

  it("the reassembly timeout quotes the first fragment, and is silent without it", () => {
    host.receive(eth0, ipPacket({ id: 1, frag: IP_MF }, pattern(64)));
    host.receive(eth0, ipPacket({ id: 2, frag: 8 }, pattern(64)));
    host.advance(30_100_000);
    const msgs = out();
    expect(msgs).toMatchObject([{ type: ICMP_TIME_EXCEEDED, code: 1, saddr: A, daddr: B }]);
    expect(readIp(msgs[0]?.data as Uint8Array)).toMatchObject({ id: 1, frag: IP_MF, payload: pattern(64) });
    expect(host.ip(IPSTATS_MIB_REASMTIMEOUT)).toBe(2);
  });

  it("bad options: parameter problem, with the pointer at the byte", () => {
    host.receive(eth0, ipPacket({ protocol: 252, options: [1, 7, 7, 3] }, pattern(20)));
    expect(out()).toMatchObject([{ type: ICMP_PARAMETERPROB, code: 0, word: 21 << 24 }]);
  });

  it("from the address of the device that the packet came in by (icmp_errors_use_inbound_ifaddr)", () => {
    host.device("eth1", 0x0a010001);
    host.sysctl("net.ipv4.ip_forward", 1);
    host.receive(eth0, ipPacket({ daddr: C, ttl: 1 }, pattern(20)));
    expect(out()).toMatchObject([{ type: 11, saddr: A }]);
    host.sysctl("net.ipv4.icmp_errors_use_inbound_ifaddr", 1);
    host.advance(10_000_000);
    host.receive(eth0, ipPacket({ daddr: C, ttl: 1 }, pattern(20)));
    expect(out()).toMatchObject([{ type: 11, saddr: A }]);
  });
});

describe("rate limits", () => {
  function knock(saddr: number): number {
    host.receive(eth0, ipPacket({ protocol: 252, saddr }, pattern(20)));
    return out().length;
  }

  it("one error a second to a host, after six in a row", () => {
    host.sysctl("net.ipv4.icmp_msgs_per_sec", 1_000_000);
    host.sysctl("net.ipv4.icmp_msgs_burst", 1_000_000);
    let n = 0;
    for (let i = 0; i < 20; i++) n += knock(B);
    expect(n).toBe(6);
    expect(host.icmp(ICMP_MIB_RATELIMITHOST)).toBe(14);
    host.advance(999_000);
    expect(knock(B)).toBe(0);
    host.advance(1000);
    expect(knock(B) + knock(B)).toBe(1);
    // Others are not concerned.
    expect(knock(0x0a000055)).toBe(1);
  });

  it("icmp_ratemask: what isn't in it isn't limited; nor are echo replies", () => {
    for (let i = 0; i < 200; i++) {
      host.receive(eth0, icmp(ICMP_ECHO, 0, i, []));
      expect(out().length).toBe(1);
    }
    host.sysctl("net.ipv4.icmp_ratemask", 0);
    let n = 0;
    for (let i = 0; i < 200; i++) n += knock(B);
    expect(n).toBe(200);
  });

  it("the host as a whole: a burst of about 50, then about 1000 a second", () => {
    let n = 0;
    for (let i = 0; i < 500; i++) n += knock(0x0a000010 + (i % 200));
    expect(n).toBeGreaterThanOrEqual(25);
    expect(n).toBeLessThan(120);
    expect(host.icmp(ICMP_MIB_RATELIMITGLOBAL)).toBe(500 - n);
    n = 0;
    for (let ms = 0; ms < 1000; ms += 20) {
      host.advance(20_000);
      for (let i = 0; i < 40; i++) n += knock(0x0a000010 + ((ms * 2 + i) % 200));
    }
    expect(n).toBeGreaterThan(200);
    expect(n).toBeLessThanOrEqual(1100);
    host.net.icmp.globalCredit = 0;
    host.net.icmp.globalStamp = host.kernel.jiffies;
    expect(icmpGlobalAllow(host.net)).toBe(false);
  });

  it("fragmentation needed isn't limited", () => {
    const eth1 = host.device("eth1", 0x0a010001, 24, 1000);
    void eth1;
    host.sysctl("net.ipv4.ip_forward", 1);
    for (let i = 0; i < 100; i++) {
      host.receive(eth0, ipPacket({ daddr: C, frag: 0x4000 }, pattern(1400)));
      expect(out()).toMatchObject([{ type: 3, code: 4, word: 1000 }]);
    }
  });
});

describe("errors go to the protocol that is quoted", () => {
  const seen: { info: number; quoted: Uint8Array; type: number; code: number }[] = [];
  const proto: NetProtocol = {
    symbol: "test_protocol",
    handler: (skb) => {
      consumeSkb(skb);
      return 0;
    },
    errHandler(skb, info) {
      const icmph = skbTransportHeader(skb);
      expect(u8[skbData(skb)]).toBe(0x45);
      seen.push({ info, quoted: skbBytes(skb), type: u8[icmph] as number, code: u8[icmph + 1] as number });
      return 0;
    },
  };
  beforeEach(() => {
    seen.length = 0;
    inetAddProtocol(253, proto);
  });
  afterEach(() => inetDelProtocol(253, proto));

  const quote = ipPacket({ protocol: 253, saddr: A, daddr: C }, pattern(8));

  it.each<[string, number, number, number, number | null]>([
    ["host unreachable", ICMP_DEST_UNREACH, 1, 0, 0],
    ["port unreachable", ICMP_DEST_UNREACH, 3, 0, 0],
    ["fragmentation needed, with the MTU", ICMP_DEST_UNREACH, 4, 1400, 1400],
    ["a code that there isn't", ICMP_DEST_UNREACH, 16, 0, null],
    ["ttl exceeded", ICMP_TIME_EXCEEDED, 0, 0, 0],
    ["reassembly timeout: nobody's", ICMP_TIME_EXCEEDED, 1, 0, null],
    ["parameter problem, with the pointer", ICMP_PARAMETERPROB, 0, 20 << 24, 20],
    ["redirect, with the gateway", ICMP_REDIRECT, 1, 0x0a000009, 0x0a000009],
    ["source quench", 4, 0, 0, 0],
  ])("%s", (_what, type, code, word, info) => {
    host.receive(eth0, icmp(type, code, word, quote));
    expect(seen).toEqual(info === null ? [] : [{ info, quoted: quote, type, code }]);
  });

  it("whole header and 8 bytes, or not at all", () => {
    host.receive(eth0, icmp(ICMP_DEST_UNREACH, 1, 0, quote.slice(0, 27)));
    host.receive(eth0, icmp(ICMP_DEST_UNREACH, 1, 0, [...quote.slice(0, 8), 0x44]));
    const withOptions = ipPacket({ protocol: 253, options: [1, 1, 1, 1] }, pattern(7));
    host.receive(eth0, icmp(ICMP_DEST_UNREACH, 1, 0, withOptions));
    expect(seen).toEqual([]);
    expect(host.icmp(ICMP_MIB_INERRORS)).toBe(3);
  });

  it.each([
    [0, 1400],
    [1, 0],
    [2, null],
    [3, null],
  ])("ip_no_pmtu_disc %i", (mode, info) => {
    host.sysctl("net.ipv4.ip_no_pmtu_disc", mode);
    host.receive(eth0, icmp(ICMP_DEST_UNREACH, 4, 1400, quote));
    expect(seen.map((s) => s.info)).toEqual(info === null ? [] : [info]);
  });
});

it("icmp_err_convert: hints and final errors (RFC 1122 §4.2.3.9)", () => {
  expect(icmpErrConvert[0]).toEqual({ errno: ENETUNREACH, fatal: false });
  expect(icmpErrConvert[1]).toEqual({ errno: EHOSTUNREACH, fatal: false });
  expect(icmpErrConvert[3]).toEqual({ errno: ECONNREFUSED, fatal: true });
  expect(icmpErrConvert[4]).toEqual({ errno: EMSGSIZE, fatal: false });
  expect(icmpErrConvert.length).toBe(16);
});
