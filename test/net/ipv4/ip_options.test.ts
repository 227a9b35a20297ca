/** IP options: what compiles, what is recorded on the way, what an answer carries, and source routes. */

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { u8 } from "../../../src/mm/mem.ts";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import { consumeSkb, skbNetworkHeader } from "../../../src/net/core/skbuff.ts";
import { OPT_RR_NEEDADDR, OPT_TS_NEEDADDR, OPT_TS_NEEDTIME } from "../../../src/net/ipv4/ip.ts";
import { IpOptions, ipOptionsEcho, ipOptionsGet, ipOptionsUndo } from "../../../src/net/ipv4/ip_options.ts";
import type { NetProtocol } from "../../../src/net/ipv4/protocol.ts";
import { inetAddProtocol, inetDelProtocol } from "../../../src/net/ipv4/protocol.ts";
import { A, B, C, ipPacket, pattern, RUNS, readIp, SEED, TestHost } from "./host.ts";

let host: TestHost;
let eth0: NetDevice;
/** Options as delivered, and what an answer would carry. */
let got: { options: number[]; echo: number[] | number; faddr: number }[] = [];
const PROTO = 253;
const proto: NetProtocol = {
  symbol: "test_protocol",
  handler(skb: number): number {
    const iph = skbNetworkHeader(skb);
    const hlen = ((u8[iph] as number) & 15) * 4;
    const echo = new IpOptions();
    const err = ipOptionsEcho(host.net, echo, skb);
    got.push({
      options: [...u8.slice(iph + 20, iph + hlen)],
      echo: err < 0 ? err : [...echo.data.subarray(0, echo.optlen)],
      faddr: echo.faddr,
    });
    consumeSkb(skb);
    return 0;
  },
};

beforeEach(() => {
  host = new TestHost();
  eth0 = host.device("eth0", A);
  got = [];
  inetAddProtocol(PROTO, proto);
});
afterEach(() => {
  inetDelProtocol(PROTO, proto);
  host.end();
});

function receive(options: readonly number[], h: { daddr?: number; ttl?: number; saddr?: number } = {}): void {
  host.receive(eth0, ipPacket({ protocol: PROTO, options, ...h }, pattern(8)));
}

/** The pointer of the parameter problem that was sent, -1 if none was. */
function problem(): number {
  for (const b of host.sent.splice(0)) {
    const p = readIp(b);
    if (p.protocol === 1 && p.payload[0] === 12) return p.payload[4] as number;
  }
  return -1;
}

const addr = (a: number): number[] => [a >>> 24, (a >>> 16) & 255, (a >>> 8) & 255, a & 255];
/** 2023-11-14T22:13:21Z: milliseconds since midnight. */
const NOW = (): number[] => addr(Math.floor(host.clock.realtime() / 1000) % 86_400_000);

describe("received", () => {
  it.each<[string, number[], number]>([
    ["nothing but padding", [1, 1, 0, 0], -1],
    ["an unknown option", [0x55, 4, 0, 0], -1],
    ["security", [0x82, 4, 0, 0], -1],
    ["router alert", [0x94, 4, 0, 0], -1],
    ["a router alert that is too short", [0x94, 3, 0, 0], 21],
    ["no length", [1, 1, 1, 7], 23],
    ["a length of 0", [7, 0, 4, 0], 20],
    ["a length of 1", [7, 1, 4, 0], 20],
    ["a length beyond the header", [7, 5, 4, 0], 20],
    ["a record route without pointer", [7, 2, 0, 0], 21],
    ["a pointer into the option's header", [7, 3, 3, 0], 22],
    ["a pointer past the last whole slot", [7, 7, 5, 0, 0, 0, 0, 0], 22],
    ["two record routes", [7, 3, 4, 7, 3, 4, 0, 0], 23],
    ["a timestamp without flags", [68, 3, 5, 0], 21],
    ["a timestamp pointer into its header", [68, 4, 4, 0], 22],
    ["a timestamp pointer past the last slot", [68, 8, 6, 0, 0, 0, 0, 0], 22],
    ["two timestamps", [68, 4, 5, 0, 68, 4, 5, 0], 24],
    ["a timestamp whose overflow has overflowed", [68, 4, 5, 0xf0], 23],
    ["room for a time but not for an address", [68, 8, 5, 1, 0, 0, 0, 0], 22],
    ["CIPSO that is too short", [0x86, 3, 0, 0], 21],
    ["CIPSO of a domain that nobody knows", [0x86, 8, 0, 0, 0, 1, 0, 0], 22],
  ])("%s", (_what, options, pointer) => {
    receive(options);
    expect(problem()).toBe(pointer);
    expect(got.length).toBe(pointer < 0 ? 1 : 0);
  });

  it("what follows the end is made padding", () => {
    receive([0, 7, 8, 9]);
    expect(got[0]?.options).toEqual([0, 0, 0, 0]);
  });

  it("record route: this host takes the next slot, and an answer goes on behind it", () => {
    receive([7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(got[0]?.options).toEqual([7, 11, 8, ...addr(A), 0, 0, 0, 0, 0]);
    expect(got[0]?.echo).toEqual([7, 11, 12, ...addr(A), 0, 0, 0, 0, 0]);
    receive([7, 7, 8, 1, 2, 3, 4, 0]);
    expect(got[1]?.options).toEqual([7, 7, 8, 1, 2, 3, 4, 0]);
    expect(got[1]?.echo).toEqual([7, 7, 8, 1, 2, 3, 4, 0]);
  });

  it("timestamps: time alone", () => {
    receive([68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(got[0]?.options).toEqual([68, 12, 9, 0, ...NOW(), 0, 0, 0, 0]);
    expect(got[0]?.echo).toEqual([68, 12, 13, 0, ...NOW(), 0, 0, 0, 0]);
  });

  it("timestamps: with address", () => {
    receive([68, 20, 5, 1, ...new Array(16).fill(0)]);
    expect(got[0]?.options).toEqual([68, 20, 13, 1, ...addr(A), ...NOW(), 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("timestamps: of the hosts that are named", () => {
    receive([68, 12, 5, 3, ...addr(A), 0, 0, 0, 0]);
    expect(got[0]?.options).toEqual([68, 12, 13, 3, ...addr(A), ...NOW()]);
    receive([68, 12, 5, 3, ...addr(C), 0, 0, 0, 0]);
    expect(got[1]?.options).toEqual([68, 12, 5, 3, ...addr(C), 0, 0, 0, 0]);
  });

  it("a full timestamp option counts who had no room", () => {
    receive([68, 4, 5, 0x21]);
    expect(got[0]?.options).toEqual([68, 4, 5, 0x31]);
    receive([68, 4, 5, 0x23]);
    expect(got[1]?.options).toEqual([68, 4, 5, 0x23]);
  });
});

describe("source routes", () => {
  const lsrr = (...hops: number[]): number[] => [131, 3 + 4 * hops.length, 4, ...hops.flatMap(addr), 0];
  const ssrr = (...hops: number[]): number[] => [137, 3 + 4 * hops.length, 4, ...hops.flatMap(addr), 0];
  beforeEach(() => {
    host.device("eth1", 0x0a010001);
    host.sysctl("net.ipv4.ip_forward", 1);
  });
  function accept(): void {
    host.sysctl("net.ipv4.conf.all.accept_source_route", 1);
    host.sysctl("net.ipv4.conf.eth0.accept_source_route", 1);
  }

  it("are refused by default (RFC 7126 §4.3)", () => {
    receive(lsrr(C));
    expect([host.sent.length, got.length, host.drops.length]).toEqual([0, 0, 1]);
  });

  it("a hop sends the packet on, and puts its own address in its place", () => {
    accept();
    receive(lsrr(C));
    const p = readIp(host.sent[0] as Uint8Array);
    expect([host.sentBy, p.daddr, p.ttl]).toEqual([["eth1"], C, 63]);
    expect(p.options).toEqual([131, 7, 8, ...addr(0x0a010001), 0]);
  });

  it("the end delivers, and answers by the same way back", () => {
    accept();
    receive([131, 11, 12, ...addr(0x0a000007), ...addr(0x0a000008), 0]);
    // The packet came by .7 and .8, so the answer goes to .8 first; the last slot is for its destination.
    expect(got[0]).toMatchObject({ faddr: 0x0a000008, echo: [131, 11, 4, ...addr(0x0a000007), 0, 0, 0, 0, 0] });
  });

  it("strict: only to the very next hop, not through a gateway", () => {
    accept();
    receive(ssrr(C));
    expect(readIp(host.sent.splice(0)[0] as Uint8Array).daddr).toBe(C);
    host.route(0x0a020000, 16, host.net.devByName.get("eth1") as NetDevice, C);
    receive(ssrr(0x0a020001));
    expect(readIp(host.sent[0] as Uint8Array)).toMatchObject({ protocol: 1, daddr: B });
    expect(readIp(host.sent[0] as Uint8Array).payload.slice(0, 2)).toEqual(Uint8Array.of(3, 5));
  });

  it("strict, for another host: parameter problem at the destination", () => {
    accept();
    receive(ssrr(C), { daddr: 0x0a010077 });
    expect(problem()).toBe(16);
  });

  it("two of them: parameter problem", () => {
    receive([...lsrr(C).slice(0, 7), ...lsrr(C).slice(0, 7), 0, 0]);
    expect(problem()).toBe(27);
  });
});

describe("set by a user", () => {
  const get = (...bytes: number[]): IpOptions | null => ipOptionsGet(host.net, Uint8Array.from(bytes));

  it("are padded to 4 bytes", () => {
    expect(get(1)?.optlen).toBe(4);
    expect(get()?.optlen).toBe(0);
    expect(get(...new Array(41).fill(1))).toBe(null);
  });

  it("a source route: the first hop becomes the destination, and comes back", () => {
    const bytes = [131, 11, 4, ...addr(A), ...addr(B), 0];
    const opt = get(...bytes) as IpOptions;
    expect([opt.faddr, opt.srr, opt.isStrictroute]).toEqual([A, 20, false]);
    expect([...opt.data.subarray(0, 7)]).toEqual([131, 11, 4, ...addr(B)]);
    expect([...ipOptionsUndo(opt)]).toEqual(bytes);
    expect(get(131, 11, 8, ...addr(A), ...addr(B), 0)).toBe(null);
    expect(get(131, 3, 4, 0)).toBe(null);
    expect(get(137, 7, 4, ...addr(A), 0)?.isStrictroute).toBe(true);
  });

  it.each<[number[], number]>([
    [[7, 7, 4, 0, 0, 0, 0, 0], OPT_RR_NEEDADDR],
    [[68, 8, 5, 0, 0, 0, 0, 0], OPT_TS_NEEDTIME],
    [[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0], OPT_TS_NEEDTIME | OPT_TS_NEEDADDR],
  ])("%j is filled in by each packet, and read back as it was set", (bytes, flags) => {
    const opt = get(...bytes) as IpOptions;
    expect(opt.flags).toBe(flags);
    expect([...ipOptionsUndo(opt)]).toEqual(bytes);
  });
});

describe(`no bytes can break it (seed ${SEED})`, () => {
  const optionBytes = fc
    .array(
      fc.tuple(
        fc.constantFrom(7, 68, 131, 137, 148, 134, 130, 1, 0, 85),
        fc.nat(14),
        fc.nat(16),
        fc.uint8Array({ minLength: 12, maxLength: 12 }),
      ),
      { minLength: 1, maxLength: 4 },
    )
    .map((list) => {
      const out = list.flatMap(([type, len, ptr, data]) =>
        type < 2 ? [type] : [type, len, ptr, ...data.slice(0, Math.max(0, len - 3))],
      );
      while (out.length % 4 !== 0) out.push(0);
      return out.slice(0, 40);
    });

  it("received, forwarded, echoed", () => {
    host.device("eth1", 0x0a010001);
    host.sysctl("net.ipv4.ip_forward", 1);
    host.sysctl("net.ipv4.conf.all.accept_source_route", 1);
    host.sysctl("net.ipv4.conf.eth0.accept_source_route", 1);
    fc.assert(
      fc.property(optionBytes, fc.boolean(), (options, local) => {
        receive(options, { daddr: local ? A : C });
        for (const b of host.sent.splice(0)) readIp(b);
        for (const g of got.splice(0)) if (typeof g.echo !== "number") expect(g.echo.length % 4).toBe(0);
      }),
      { seed: SEED, numRuns: RUNS * 10 },
    );
  });

  it("set by a user: undo gives back what was set", () => {
    fc.assert(
      fc.property(optionBytes, (options) => {
        const opt = ipOptionsGet(host.net, Uint8Array.from(options));
        if (opt !== null) expect(ipOptionsUndo(opt).length).toBe(opt.optlen);
      }),
      { seed: SEED, numRuns: RUNS * 10 },
    );
  });
});
