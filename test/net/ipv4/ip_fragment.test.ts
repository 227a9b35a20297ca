/** Reassembly: scripts of fragments with what Linux makes of them, and random ones against a plain model. */

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { consumeSkb, skbBytes, skbDstSet, skbFragList, skbNrFrags } from "../../../src/net/core/skbuff.ts";
import { IPSKB_FRAG_PMTU, ipcbFlags, ipcbFragMaxSize } from "../../../src/net/ipv4/ip.ts";
import { IP_DEFRAG_CONNTRACK_IN, IP_DEFRAG_LOCAL_DELIVER, ipDefrag } from "../../../src/net/ipv4/ip_fragment.ts";
import {
  SKB_DROP_REASON_DUP_FRAG,
  SKB_DROP_REASON_FRAG_REASM_TIMEOUT,
  SKB_DROP_REASON_FRAG_TOO_FAR,
  SKB_DROP_REASON_NOMEM,
} from "../../../src/uapi/dropreason.ts";
import { IP_DF, IP_MF } from "../../../src/uapi/ip.ts";
import {
  IPSTATS_MIB_REASM_OVERLAPS,
  IPSTATS_MIB_REASMFAILS,
  IPSTATS_MIB_REASMOKS,
  IPSTATS_MIB_REASMREQDS,
  IPSTATS_MIB_REASMTIMEOUT,
} from "../../../src/uapi/linux_mib.ts";
import type { Ip } from "./fake.ts";
import { FakeHost, ipPacket, pattern, RUNS, readIp, SEED } from "./fake.ts";

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => {
  host.advance(31_000_000);
  expect(host.net.ipFrags.count).toBe(0);
  expect(host.net.ipFrags.mem).toBe(0);
  host.end();
});

const data = pattern(66000);

/** Delivers bytes [from, to) of `data` as a fragment; the datagram's bytes once it is whole, "-" before. */
function frag(from: number, to: number, more: boolean, h: Ip = {}, user = IP_DEFRAG_LOCAL_DELIVER): Uint8Array | "-" {
  const off = (from >>> 3) | (more ? IP_MF : 0) | (h.frag ?? 0);
  const skb = host.receive(ipPacket({ ...h, frag: off }, data.subarray(from, to)));
  skbDstSet(skb, host.route());
  if (ipDefrag(host.net, skb, user) !== 0) return "-";
  const bytes = skbBytes(skb);
  lastMaxSize = ipcbFragMaxSize(skb);
  lastFlags = ipcbFlags(skb);
  lastShape = skbFragList(skb) !== 0 ? "list" : skbNrFrags(skb) !== 0 ? "frags" : "linear";
  consumeSkb(skb);
  return bytes;
}
let lastMaxSize = 0;
let lastFlags = 0;
let lastShape = "";

function payload(bytes: Uint8Array | "-"): Uint8Array {
  expect(bytes).not.toBe("-");
  return readIp(bytes as Uint8Array).payload;
}

describe("in any order", () => {
  it.each([[[0, 1, 2]], [[0, 2, 1]], [[1, 0, 2]], [[1, 2, 0]], [[2, 0, 1]], [[2, 1, 0]]])("%j", (order) => {
    const cut = [0, 1480, 2960, 3333];
    let out: Uint8Array | "-" = "-";
    for (const i of order) {
      expect(out).toBe("-");
      out = frag(cut[i] as number, cut[i + 1] as number, i < 2);
    }
    expect(payload(out)).toEqual(data.subarray(0, 3333));
    expect(readIp(out as Uint8Array).frag).toBe(0);
    expect(host.ip(IPSTATS_MIB_REASMREQDS)).toBe(3);
    expect(host.ip(IPSTATS_MIB_REASMOKS)).toBe(1);
    expect(lastMaxSize).toBe(1500);
    expect(host.net.ipFrags.mem).toBe(0);
  });

  it("keeps datagrams apart by source, destination, protocol, id and user", () => {
    const hs: Ip[] = [{ id: 1 }, { id: 2 }, { saddr: 7 }, { daddr: 7 }, { protocol: 6 }];
    for (const h of hs) expect(frag(0, 8, true, h)).toBe("-");
    expect(frag(0, 8, true, {}, IP_DEFRAG_CONNTRACK_IN)).toBe("-");
    expect(host.net.ipFrags.count).toBe(6);
    for (const h of hs) expect(payload(frag(8, 20, false, h))).toEqual(data.subarray(0, 20));
    expect(payload(frag(8, 20, false, {}, IP_DEFRAG_CONNTRACK_IN))).toEqual(data.subarray(0, 20));
  });

  it("keeps the first fragment's options and tos, and joins what it can", () => {
    frag(1480, 1500, false, { tos: 4 });
    const out = frag(0, 1480, true, { tos: 8, options: [1, 1, 1, 0] });
    const ip = readIp(out as Uint8Array);
    expect([ip.tos, ip.options]).toEqual([8, [1, 1, 1, 0]]);
    expect(["linear", "frags", "list"]).toContain(lastShape);
  });

  it("cuts what is over a multiple of 8 off all but the last (RFC 791)", () => {
    expect(frag(0, 21, true)).toBe("-");
    expect(payload(frag(16, 30, false))).toEqual(data.subarray(0, 30));
  });

  it("may be as long as a datagram can be, and not a byte longer (ping of death)", () => {
    for (let at = 0; at < 64000; at += 1480) frag(at, at + 1480, true);
    expect(frag(65120, 65515, false)).not.toBe("-");
    host.drops.length = 0;
    for (let at = 0; at < 64000; at += 1480) frag(at, at + 1480, true);
    expect(frag(65120, 65516, false)).toBe("-");
    expect(host.ip(IPSTATS_MIB_REASMFAILS)).toBe(1);
    expect(host.net.ipFrags.count).toBe(0);
    // Behind the end of what an offset can name.
    expect(frag(65528, 66000, false, { id: 9 })).toBe("-");
  });
});

describe("what is wrong", () => {
  it("a duplicate within what is there is ignored", () => {
    frag(0, 1480, true);
    frag(0, 1480, true);
    frag(8, 64, true);
    expect(host.drops).toEqual([SKB_DROP_REASON_DUP_FRAG, SKB_DROP_REASON_DUP_FRAG]);
    expect(payload(frag(1480, 1500, false))).toEqual(data.subarray(0, 1500));
    expect(host.ip(IPSTATS_MIB_REASM_OVERLAPS)).toBe(0);
  });

  it.each([
    [
      "an overlap with what comes before",
      [
        [0, 64],
        [56, 128],
      ],
    ],
    [
      "an overlap with what comes after",
      [
        [64, 128],
        [0, 72],
      ],
    ],
    [
      "one that covers another",
      [
        [64, 72],
        [0, 128],
      ],
    ],
    [
      "one that covers a gap",
      [
        [0, 64],
        [128, 192],
        [0, 192],
      ],
    ],
    [
      "one that reaches over two runs",
      [
        [0, 64],
        [128, 192],
        [56, 136],
      ],
    ],
  ])("%s throws everything away (RFC 5722)", (_what, list) => {
    for (const [from, to] of list) frag(from as number, to as number, true);
    expect(host.net.ipFrags.count).toBe(0);
    expect(host.ip(IPSTATS_MIB_REASM_OVERLAPS)).toBe(1);
    expect(host.ip(IPSTATS_MIB_REASMFAILS)).toBe(1);
    expect(host.drops.length).toBe(list.length);
  });

  it.each<[string, [number, number, boolean][]]>([
    [
      "two different ends",
      [
        [8, 16, false],
        [8, 24, false],
      ],
    ],
    [
      "an end before what is there",
      [
        [64, 72, true],
        [8, 16, false],
      ],
    ],
    [
      "something behind the end",
      [
        [8, 16, false],
        [16, 24, true],
      ],
    ],
    ["an empty last fragment", [[8, 8, false]]],
    ["an empty fragment", [[8, 8, true]]],
    ["a fragment of less than 8 bytes that is not the last", [[8, 15, true]]],
  ])("%s", (_what, list) => {
    for (const [from, to, more] of list) frag(from, to, more);
    expect(host.net.ipFrags.count).toBe(0);
    expect(host.ip(IPSTATS_MIB_REASMFAILS)).toBe(1);
  });
});

describe("ECN (RFC 3168 §5.3)", () => {
  const rows: [number[], number | "drop"][] = [
    [[0, 0], 0],
    [[1, 1], 1],
    [[2, 2], 2],
    [[3, 3], 3],
    [[2, 3], 3],
    [[3, 2], 3],
    [[1, 3], 3],
    [[2, 1], 2],
    [[0, 3], "drop"],
    [[0, 2], "drop"],
    [[1, 0], "drop"],
    [[2, 1, 3], 3],
    [[2, 0, 3], "drop"],
  ];
  it.each(rows)("%j -> %s", (ecn, want) => {
    let out: Uint8Array | "-" = "-";
    ecn.forEach((tos, i) => {
      out = frag(i * 8, i * 8 + 8, i < ecn.length - 1, { tos: tos | 0x20 });
    });
    if (want === "drop") expect(out).toBe("-");
    else expect(readIp(out as unknown as Uint8Array).tos).toBe(want | 0x20);
  });
});

describe("path MTU (frag_max_size)", () => {
  it("DF on the largest: the datagram has DF, to be sent on in such fragments", () => {
    frag(0, 560, true, { frag: IP_DF });
    const out = frag(560, 600, false);
    expect(readIp(out as Uint8Array).frag).toBe(IP_DF);
    expect(lastFlags & IPSKB_FRAG_PMTU).not.toBe(0);
    expect(lastMaxSize).toBe(580);
  });
  it("DF on a small one only: not", () => {
    frag(0, 560, true);
    expect(readIp(frag(560, 600, false, { frag: IP_DF }) as Uint8Array).frag).toBe(0);
  });
});

describe("limits", () => {
  it("gives up after 30 seconds", () => {
    frag(8, 16, true);
    host.advance(29_999_000);
    expect(host.net.ipFrags.count).toBe(1);
    host.advance(2000);
    expect(host.net.ipFrags.count).toBe(0);
    expect(host.ip(IPSTATS_MIB_REASMTIMEOUT)).toBe(1);
    expect(host.ip(IPSTATS_MIB_REASMFAILS)).toBe(1);
    expect(host.drops).toEqual([SKB_DROP_REASON_FRAG_REASM_TIMEOUT]);
    // A datagram of the same id begins anew.
    frag(0, 8, true);
    expect(payload(frag(8, 9, false))).toEqual(data.subarray(0, 9));
  });

  it("takes no more than ipfrag_high_thresh", () => {
    host.net.ipv4.sysctlIpfragHighThresh = 20000;
    for (let id = 0; id < 100; id++) frag(0, 1480, true, { id });
    const kept = host.net.ipFrags.count;
    expect(kept).toBeGreaterThan(3);
    expect(kept).toBeLessThan(20);
    expect(host.drops.filter((r) => r === SKB_DROP_REASON_NOMEM).length).toBe(100 - kept);
    host.net.ipv4.sysctlIpfragHighThresh = 0;
    expect(frag(0, 8, true, { id: 1000 })).toBe("-");
  });

  it("a datagram whose pieces are too far apart is begun anew (ipfrag_max_dist)", () => {
    frag(0, 8, true, { id: 1 });
    for (let id = 2; id < 100; id++) frag(0, 8, true, { id });
    frag(8, 16, false, { id: 1 });
    expect(host.drops).toEqual([SKB_DROP_REASON_FRAG_TOO_FAR]);
    expect(payload(frag(0, 8, true, { id: 1 }))).toEqual(data.subarray(0, 16));
  });
});

/** ip_frag_queue by the letter, over a list of byte ranges. */
class Model {
  runs: [number, number][] = [];
  len = 0;
  last = false;
  meat = 0;
  add(from: number, to: number, more: boolean): "queued" | "dup" | "discard" | "done" {
    let end = to;
    if (!more) {
      if (end < this.len || (this.last && end !== this.len)) return "discard";
      this.last = true;
      this.len = end;
    } else {
      end &= ~7;
      if (end > this.len) {
        if (this.last) return "discard";
        this.len = end;
      }
    }
    if (end === from) return "discard";
    const at = this.runs.at(-1);
    if (at === undefined) this.runs.push([from, end]);
    else if (at[1] < end) {
      if (from < at[1]) return "discard";
      if (from === at[1]) at[1] = end;
      else this.runs.push([from, end]);
    } else {
      const hit = this.runs.find(([s, e]) => from < e && end > s);
      if (hit !== undefined) return from >= hit[0] && end <= hit[1] ? "dup" : "discard";
      this.runs.push([from, end]);
      this.runs.sort((a, b) => a[0] - b[0]);
    }
    this.meat += end - from;
    return this.last && this.runs[0]?.[0] === 0 && this.meat === this.len ? "done" : "queued";
  }
}

describe(`properties (seed ${SEED})`, () => {
  it("any cut, in any order, with duplicates, makes the datagram", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9000 }),
        fc.array(fc.integer({ min: 1, max: 1124 }), { maxLength: 12 }),
        fc.infiniteStream(fc.nat()),
        fc.nat(),
        (n, cuts, order, id) => {
          const at = [...new Set([0, ...cuts.map((c) => c * 8).filter((c) => c < n)])].sort((a, b) => a - b);
          const parts = at.map((from, i): [number, number] => [from, at[i + 1] ?? n]);
          // A shuffle, with some parts twice; the last to come isn't.
          const rest = parts.flatMap((p) => ((order.next().value as number) % 4 === 0 ? [p, p] : [p]));
          const shuffled = rest.map((p) => [order.next().value as number, p] as const).sort((a, b) => a[0] - b[0]);
          const model = new Model();
          let done = 0;
          for (const [, [from, to]] of shuffled) {
            const out = frag(from, to, to !== n, { id: id & 0xffff, tos: 2 });
            if (done !== 0) break;
            const want = model.add(from, to, to !== n);
            expect(["queued", "dup", "done"]).toContain(want);
            expect(out !== "-").toBe(want === "done");
            if (out !== "-") {
              expect(payload(out)).toEqual(data.subarray(0, n));
              done++;
              break;
            }
          }
          expect(done).toBe(1);
          host.advance(31_000_000);
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  }, 300_000);

  it("random fragments, overlapping or not, do what Linux does with them", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(40), fc.integer({ min: 0, max: 130 }), fc.integer({ min: 0, max: 5 })), {
          minLength: 1,
          maxLength: 40,
        }),
        (list) => {
          let model = new Model();
          for (const [off8, len, kind] of list) {
            const from = off8 * 8;
            const more = kind !== 0;
            const out = frag(from, from + len, more);
            const want = model.add(from, from + len, more);
            expect(out !== "-").toBe(want === "done");
            if (want === "done") expect(payload(out)).toEqual(data.subarray(0, model.len));
            if (want === "done" || want === "discard") model = new Model();
            expect(host.net.ipFrags.count).toBe(model.runs.length === 0 && !model.last && model.len === 0 ? 0 : 1);
          }
          host.advance(31_000_000);
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  }, 300_000);

  it("no bytes on the wire can break it", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.uint8Array({ maxLength: 80 }), fc.nat(0xffff), fc.nat(3)), { maxLength: 30 }),
        (list) => {
          for (const [bytes, off, id] of list) {
            const skb = host.receive(ipPacket({ frag: off, id }, bytes));
            skbDstSet(skb, host.route());
            if (ipDefrag(host.net, skb, 0) === 0) {
              readIp(skbBytes(skb));
              consumeSkb(skb);
            }
          }
          host.advance(31_000_000);
          expect(host.net.ipFrags.mem).toBe(0);
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  }, 300_000);
});
