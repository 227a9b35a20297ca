/** The trie against a list: after any sequence of changes, every lookup finds what a linear search finds. */

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "../../../src/net/core/rtnetlink.ts";
import { FibConfig } from "../../../src/net/ipv4/fib_semantics.ts";
import {
  FibTable,
  fibTableDelete,
  fibTableFlush,
  fibTableInsert,
  fibTableLookup,
  fibTableNodes,
} from "../../../src/net/ipv4/fib_trie.ts";
import { FlowI4 } from "../../../src/net/ipv4/flow.ts";
import { maskOf } from "../../../src/net/ipv4/inet_addr.ts";
import { FibResult } from "../../../src/net/ipv4/ip_fib.ts";
import { EACCES, EAGAIN, EEXIST, EHOSTUNREACH, EINVAL, ENOENT, ESRCH } from "../../../src/uapi/errno.ts";
import {
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RTN_BLACKHOLE,
  RTN_PROHIBIT,
  RTN_THROW,
  RTN_UNICAST,
  RTN_UNREACHABLE,
} from "../../../src/uapi/rtnetlink.ts";
import { RUNS, SEED } from "../../mm/util.ts";
import { ip, World } from "../../tools/world.ts";

let w: World;
let net: Net;
let tb: FibTable;
let oif = 0;

beforeEach(() => {
  w = new World();
  net = w.net("a");
  w.net("b");
  w.run(
    net,
    "ip link add eth0 type veth peer name eth0 netns b\nip link set eth0 up\nip netns exec b ip link set eth0 up",
  );
  oif = net.devByName.get("eth0")?.ifindex ?? 0;
  tb = new FibTable(net, 77);
});
afterEach(() => {
  w.in(() => fibTableFlush(tb, true));
  expect(tb.root).toBe(null);
  expect(tb.count).toBe(0);
  w.close();
});

interface Spec {
  dst: number;
  len: number;
  tos?: number;
  prio?: number;
  type?: number;
}

function config(r: Spec, flags: number): FibConfig {
  const cfg = new FibConfig();
  cfg.fcDst = r.dst;
  cfg.fcDstLen = r.len;
  cfg.fcTos = r.tos ?? 0;
  cfg.fcPriority = r.prio ?? 0;
  cfg.fcType = r.type ?? RTN_UNICAST;
  cfg.fcScope = cfg.fcType === RTN_UNICAST ? RT_SCOPE_LINK : 0;
  if (cfg.fcType === RTN_UNICAST) cfg.fcOif = oif;
  cfg.fcTable = 77;
  cfg.fcNlflags = flags;
  return cfg;
}
const add = (r: Spec, flags = NLM_F_CREATE | NLM_F_EXCL): number =>
  w.in(() => fibTableInsert(net, tb, config(r, flags), null));
function del(r: Spec): number {
  const cfg = config(r, 0);
  cfg.fcScope = RT_SCOPE_NOWHERE;
  return w.in(() => fibTableDelete(net, tb, cfg, null));
}
const res = new FibResult();
function find(daddr: number, tos = 0): number {
  const fl = new FlowI4();
  fl.daddr = daddr;
  fl.flowi4Tos = tos;
  return w.in(() => fibTableLookup(tb, fl, res));
}

describe("against a linear search", () => {
  // Few enough addresses that prefixes meet, cover each other and part in the middle of a byte.
  const prefix = fc
    .record({
      addr: fc.nat(0xffff),
      len: fc.integer({ min: 0, max: 32 }),
      high: fc.constantFrom(0, 0x0a000000, 0xc0a80000),
    })
    .map(({ addr, len, high }) => ({ dst: ((high | (addr << 4)) & maskOf(len)) >>> 0, len }));
  const route = fc.record({ p: prefix, tos: fc.constantFrom(0, 0, 0x10), prio: fc.nat(3) });
  const step = fc.record({ add: fc.boolean(), r: route });

  test(`random changes (seed ${SEED})`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.array(fc.nat(0xffff), { maxLength: 20 }), (steps, probes) => {
        const list: Required<Omit<Spec, "type">>[] = [];
        for (const s of steps) {
          const r = { dst: s.r.p.dst, len: s.r.p.len, tos: s.r.tos, prio: s.r.prio };
          const at = list.findIndex((x) => x.dst === r.dst && x.len === r.len && x.tos === r.tos && x.prio === r.prio);
          if (s.add) {
            expect(add(r)).toBe(at >= 0 ? -EEXIST : 0);
            if (at < 0) list.push(r);
          } else {
            expect(del(r)).toBe(at >= 0 || (r.prio === 0 && anyPrio(list, r) >= 0) ? 0 : -ESRCH);
            const gone = at >= 0 ? at : r.prio === 0 ? anyPrio(list, r) : -1;
            if (gone >= 0) list.splice(gone, 1);
          }
        }
        expect(tb.count).toBe(list.length);
        for (const probe of [...probes, ...list.map((r) => r.dst >>> 4)]) {
          for (const high of [0, 0x0a000000, 0xc0a80000]) {
            for (const tos of [0, 0x10]) {
              const daddr = (high | (probe << 4) | (probe & 15)) >>> 0;
              const want = best(list, daddr, tos);
              const err = find(daddr, tos);
              if (want === undefined) {
                expect(err).toBe(-EAGAIN);
              } else {
                expect(err).toBe(0);
                expect([res.prefix, res.prefixlen, res.tos, res.fi?.fibPriority]).toEqual([
                  want.dst,
                  want.len,
                  want.tos,
                  want.prio,
                ]);
              }
            }
          }
        }
        // In order: by address, longer prefixes first.
        const nodes = fibTableNodes(tb);
        for (let i = 1; i < nodes.length; i++) {
          const [x, y] = [nodes[i - 1], nodes[i]];
          if (x === undefined || y === undefined) continue;
          expect(x.key < y.key || (x.key === y.key && x.len > y.len)).toBe(true);
        }
        w.in(() => fibTableFlush(tb, true));
        expect(tb.root).toBe(null);
      }),
      { numRuns: RUNS },
    );
  });

  /** A delete without a metric takes the first route of the prefix and tos. */
  function anyPrio(list: Required<Omit<Spec, "type">>[], r: Spec): number {
    let found = -1;
    list.forEach((x, i) => {
      if (x.dst !== r.dst || x.len !== r.len || x.tos !== r.tos) return;
      if (found < 0 || x.prio < (list[found]?.prio ?? 0)) found = i;
    });
    return found;
  }

  function best(
    list: Required<Omit<Spec, "type">>[],
    daddr: number,
    tos: number,
  ): Required<Omit<Spec, "type">> | undefined {
    return list
      .filter((r) => ((daddr ^ r.dst) & maskOf(r.len)) === 0 && (r.tos === 0 || r.tos === tos))
      .sort((x, y) => y.len - x.len || y.tos - x.tos || x.prio - y.prio)[0];
  }
});

describe("types of routes", () => {
  test.each([
    ["unreachable", RTN_UNREACHABLE, -EHOSTUNREACH],
    ["prohibit", RTN_PROHIBIT, -EACCES],
    ["blackhole", RTN_BLACKHOLE, -EINVAL],
    ["throw", RTN_THROW, -EAGAIN],
  ])("%s is an errno, even if a wider route would fit", (_name, type, err) => {
    add({ dst: 0, len: 0 });
    add({ dst: ip("10.1.0.0"), len: 16, type });
    expect(find(ip("10.1.2.3"))).toBe(err);
    expect(find(ip("10.2.2.3"))).toBe(0);
  });
});

describe("what an insert may do", () => {
  const r = { dst: ip("10.0.0.0"), len: 8 };
  test("exclusive, appended, prepended, replaced", () => {
    expect(add(r, NLM_F_REPLACE)).toBe(-ENOENT);
    expect(add(r)).toBe(0);
    expect(add(r)).toBe(-EEXIST);
    expect(add({ ...r, prio: 5 })).toBe(0);
    // The same route again is refused however it is asked for; another type is another route.
    expect(add(r, NLM_F_CREATE | NLM_F_APPEND)).toBe(-EEXIST);
    expect(add({ ...r, type: RTN_UNREACHABLE }, NLM_F_CREATE | NLM_F_APPEND)).toBe(0);
    expect(find(ip("10.1.1.1"))).toBe(0);
    expect(add({ ...r, type: RTN_PROHIBIT }, NLM_F_CREATE)).toBe(0);
    expect(find(ip("10.1.1.1"))).toBe(-EACCES);
    expect(add({ ...r, type: RTN_BLACKHOLE }, NLM_F_CREATE | NLM_F_REPLACE)).toBe(0);
    expect(find(ip("10.1.1.1"))).toBe(-EINVAL);
    expect(tb.count).toBe(4);
  });

  test("bits behind the prefix are refused", () => {
    expect(add({ dst: ip("10.0.0.1"), len: 8 })).toBe(-EINVAL);
    expect(add({ dst: ip("10.0.0.1"), len: 33 })).toBe(-EINVAL);
  });
});
