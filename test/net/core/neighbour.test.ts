/** The state machine of neighbours, driven by time, by ARP, and by what upper layers say. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import { devQueueXmit } from "../../../src/net/core/dev.ts";
import type { Neighbour } from "../../../src/net/core/neighbour.ts";
import {
  NEIGH_UPDATE_F_ADMIN,
  NEIGH_UPDATE_F_OVERRIDE,
  NEIGH_UPDATE_F_WEAK_OVERRIDE,
  neighConfirm,
  neighCreate,
  neighEventSend,
  neighHhInit,
  neighLookup,
  neighReachableTime,
  neighResolveOutput,
  neighUpdate,
} from "../../../src/net/core/neighbour.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { arpTbl } from "../../../src/net/ipv4/arp.ts";
import { sysSendto, sysSocket } from "../../../src/net/socket.ts";
import { SKB_DROP_REASON_NEIGH_FAILED, SKB_DROP_REASON_NEIGH_QUEUEFULL } from "../../../src/uapi/dropreason.ts";
import {
  NUD_DELAY,
  NUD_FAILED,
  NUD_INCOMPLETE,
  NUD_NOARP,
  NUD_NONE,
  NUD_PERMANENT,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
} from "../../../src/uapi/rtnetlink.ts";
import { AF_INET, SOCK_DGRAM } from "../../../src/uapi/socket.ts";
import { arpFrame, capture, type Frame, formatArp, inject, ip, mac, World } from "../../tools/world.ts";

const MS = 1000;
const SEC = 1_000_000;
const HIM = "02:00:00:00:00:99";
const OTHER = "02:00:00:00:00:55";

let w: World;
let a: Net;
let dev: NetDevice;
let frames: Frame[];

beforeEach(() => {
  w = new World();
  a = w.net("a");
  const b = w.net("b");
  // b is up, but has no address: it never answers.
  w.run(
    a,
    `ip link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 netns b
     ip addr add 10.0.0.1/24 dev eth0
     ip link set eth0 up`,
  );
  w.run(b, "ip link set eth0 up");
  dev = a.devByName.get("eth0") as NetDevice;
  frames = capture(dev);
});
afterEach(() => w.close());

function create(key = "10.0.0.9"): Neighbour {
  return w.in(() => neighCreate(arpTbl, ip(key), dev)) as Neighbour;
}

/** The requests that were sent since the last call. */
function asked(): string[] {
  return frames.splice(0).flatMap((f) => (f.out && f.type === 0x0806 ? [formatArp(f.bytes)] : []));
}

function reply(sha = HIM, sip = "10.0.0.9"): void {
  w.in(() =>
    inject(dev, arpFrame({ op: 2, sha, sip, tha: "02:00:00:00:00:01", tip: "10.0.0.1", dst: "02:00:00:00:00:01" })),
  );
}

const BROADCAST = "who-has 10.0.0.9 from 10.0.0.1 02:00:00:00:00:01 for 00:00:00:00:00:00 to ff:ff:ff:ff:ff:ff";
const UNICAST = `who-has 10.0.0.9 from 10.0.0.1 02:00:00:00:00:01 for 00:00:00:00:00:00 to ${HIM}`;

describe("resolution", () => {
  test("three broadcasts a second apart, then FAILED", () => {
    const n = create();
    expect(n.nudState).toBe(NUD_NONE);
    expect(w.in(() => neighEventSend(n, 0))).toBe(1);
    expect(n.nudState).toBe(NUD_INCOMPLETE);
    expect(asked()).toEqual([BROADCAST]);
    w.advance(999 * MS);
    expect(asked()).toEqual([]);
    w.advance(1 * MS);
    expect(asked()).toEqual([BROADCAST]);
    w.advance(SEC);
    expect(asked()).toEqual([BROADCAST]);
    expect(n.nudState).toBe(NUD_INCOMPLETE);
    w.advance(SEC);
    expect(asked()).toEqual([]);
    expect(n.nudState).toBe(NUD_FAILED);
  });

  test("a reply makes it REACHABLE and sends what waited, in order", () => {
    const fd = sysSocket(a, AF_INET, SOCK_DGRAM, 0);
    for (let i = 0; i < 5; i++) {
      expect(sysSendto(a, fd, new Uint8Array([i]), 1, 0, { family: AF_INET, addr: ip("10.0.0.9"), port: 9 })).toBe(1);
    }
    expect(asked()).toEqual([BROADCAST]);
    const n = w.in(() => neighLookup(arpTbl, ip("10.0.0.9"), dev)) as Neighbour;
    expect(n.arpQueue.qlen).toBe(5);
    reply();
    expect(n.nudState).toBe(NUD_REACHABLE);
    expect([...n.ha.slice(0, 6)]).toEqual([...mac(HIM)]);
    const sent = frames.filter((f) => f.out && f.type === 0x0800);
    expect(sent.map((f) => f.bytes[42])).toEqual([0, 1, 2, 3, 4]);
    expect(n.arpQueueLenBytes).toBe(0);
  });

  test("the queue is limited in bytes and drops its oldest", () => {
    w.run(a, "sysctl net.ipv4.neigh.eth0.unres_qlen_bytes=8000");
    const fd = sysSocket(a, AF_INET, SOCK_DGRAM, 0);
    for (let i = 0; i < 30; i++) {
      sysSendto(a, fd, new Uint8Array([i]), 1, 0, { family: AF_INET, addr: ip("10.0.0.9"), port: 9 });
    }
    const n = w.in(() => neighLookup(arpTbl, ip("10.0.0.9"), dev)) as Neighbour;
    expect(n.arpQueueLenBytes).toBeLessThanOrEqual(8000);
    const dropped = a.ipv4.arpState.stats.unresDiscards;
    expect(dropped).toBe(30 - n.arpQueue.qlen);
    expect(w.kernel.dropReasons[SKB_DROP_REASON_NEIGH_QUEUEFULL]).toBe(dropped);
    frames.length = 0;
    reply();
    const sent = frames.filter((f) => f.out && f.type === 0x0800).map((f) => f.bytes[42] as number);
    expect(sent).toEqual(Array.from({ length: 30 - dropped }, (_, i) => i + dropped));
  });

  test("when nobody answers, what waited is dropped and its senders told", () => {
    const fd = sysSocket(a, AF_INET, SOCK_DGRAM, 0);
    const to = { family: AF_INET, addr: ip("10.0.0.9"), port: 9 };
    sysSendto(a, fd, new Uint8Array(1), 1, 0, to);
    w.advance(5 * SEC);
    expect(w.kernel.dropReasons[SKB_DROP_REASON_NEIGH_FAILED]).toBe(1);
    expect(a.ipv4.arpState.stats.resFailed).toBe(1);
    // The next packet asks again.
    frames.length = 0;
    sysSendto(a, fd, new Uint8Array(1), 1, 0, to);
    expect(asked()).toEqual([BROADCAST]);
    w.advance(5 * SEC);
  });

  test("without probes a packet fails at once", () => {
    w.run(a, "sysctl net.ipv4.neigh.eth0.mcast_solicit=0");
    const n = create();
    expect(w.in(() => neighEventSend(n, 0))).toBe(1);
    expect(n.nudState).toBe(NUD_FAILED);
  });
});

describe("the life of an entry", () => {
  /** A neighbour that answered just now. */
  function reachable(): Neighbour {
    const n = create();
    w.in(() => neighEventSend(n, 0));
    reply();
    expect(n.nudState).toBe(NUD_REACHABLE);
    frames.length = 0;
    return n;
  }

  test("REACHABLE lasts 15 to 45 s, then STALE if nobody used it", () => {
    const n = reachable();
    const time = w.in(() => neighReachableTime(n.parms));
    expect(time).toBeGreaterThanOrEqual(15 * SEC);
    expect(time).toBeLessThan(45 * SEC);
    w.advance(time - MS);
    expect(n.nudState).toBe(NUD_REACHABLE);
    w.advance(MS);
    expect(n.nudState).toBe(NUD_STALE);
    expect(w.kernel.nextDeadline()).toBe(Infinity);
  });

  test("REACHABLE becomes DELAY if it was used in the last 5 s", () => {
    const n = reachable();
    const time = w.in(() => neighReachableTime(n.parms));
    w.advance(time - SEC);
    w.in(() => neighEventSend(n, 0));
    w.advance(SEC);
    expect(n.nudState).toBe(NUD_DELAY);
  });

  test("STALE sends at once and becomes DELAY; a confirmation within 5 s makes it REACHABLE", () => {
    const n = reachable();
    w.advance(60 * SEC);
    expect(n.nudState).toBe(NUD_STALE);
    expect(w.in(() => neighEventSend(n, 0))).toBe(0);
    expect(n.nudState).toBe(NUD_DELAY);
    w.advance(3 * SEC);
    w.in(() => neighConfirm(n));
    w.advance(2 * SEC);
    expect(n.nudState).toBe(NUD_REACHABLE);
    expect(asked()).toEqual([]);
  });

  test("DELAY without a confirmation probes three times by unicast, then fails", () => {
    const n = reachable();
    w.advance(60 * SEC);
    w.in(() => neighEventSend(n, 0));
    w.advance(5 * SEC);
    expect(n.nudState).toBe(NUD_PROBE);
    expect(asked()).toEqual([UNICAST]);
    w.advance(2 * SEC);
    expect(asked()).toEqual([UNICAST, UNICAST]);
    w.advance(SEC);
    expect(n.nudState).toBe(NUD_FAILED);
  });

  test("a probe that is answered leads back to REACHABLE", () => {
    const n = reachable();
    w.advance(60 * SEC);
    w.in(() => neighEventSend(n, 0));
    w.advance(6 * SEC);
    expect(n.nudState).toBe(NUD_PROBE);
    reply();
    expect(n.nudState).toBe(NUD_REACHABLE);
  });

  test("the pointers follow the state", () => {
    const n = reachable();
    expect(n.output).toBe(neighResolveOutput);
    expect(n.outputSetBy).toBe("neigh_connect");
    w.in(() => neighHhInit(n, null, 0x0800));
    expect(n.hh.hhLen).toBe(14);
    expect(n.hh.hhOutput).toBe(devQueueXmit);
    expect(n.hh.hhOutputSetBy).toBe("neigh_hh_init");
    w.advance(60 * SEC);
    expect(n.outputSetBy).toBe("neigh_suspect");
    expect(n.hh.hhOutput).toBe(neighResolveOutput);
    expect(n.hh.hhOutputSetBy).toBe("neigh_suspect");
    reply();
    expect(n.hh.hhOutput).toBe(devQueueXmit);
    expect(n.hh.hhOutputSetBy).toBe("neigh_connect");
  });

  test("another address replaces the header too", () => {
    const n = reachable();
    w.in(() => neighHhInit(n, null, 0x0800));
    w.advance(2 * SEC);
    reply(OTHER);
    expect([...n.ha.slice(0, 6)]).toEqual([...mac(OTHER)]);
    const header = new Uint8Array(n.hh.hhData.buffer);
    expect([...header.slice(2, 8)]).toEqual([...mac(OTHER)]);
  });
});

describe("neigh_update", () => {
  interface Row {
    name: string;
    from: number;
    to: number;
    ha: string | null;
    flags: number;
    err: number;
    state: number;
    haAfter: string;
  }
  const O = NEIGH_UPDATE_F_OVERRIDE;
  const rows: Row[] = [
    {
      name: "a reply confirms",
      from: NUD_STALE,
      to: NUD_REACHABLE,
      ha: HIM,
      flags: 0,
      err: 0,
      state: NUD_REACHABLE,
      haAfter: HIM,
    },
    {
      name: "another address without override changes nothing",
      from: NUD_REACHABLE,
      to: NUD_REACHABLE,
      ha: OTHER,
      flags: 0,
      err: 0,
      state: NUD_REACHABLE,
      haAfter: HIM,
    },
    {
      name: "another address with override",
      from: NUD_REACHABLE,
      to: NUD_REACHABLE,
      ha: OTHER,
      flags: O,
      err: 0,
      state: NUD_REACHABLE,
      haAfter: OTHER,
    },
    {
      name: "weak override makes a connected one stale",
      from: NUD_REACHABLE,
      to: NUD_REACHABLE,
      ha: OTHER,
      flags: NEIGH_UPDATE_F_WEAK_OVERRIDE,
      err: 0,
      state: NUD_STALE,
      haAfter: HIM,
    },
    {
      name: "weak override does nothing to a stale one",
      from: NUD_STALE,
      to: NUD_REACHABLE,
      ha: OTHER,
      flags: NEIGH_UPDATE_F_WEAK_OVERRIDE,
      err: 0,
      state: NUD_STALE,
      haAfter: HIM,
    },
    {
      name: "hearing of a known address does not make it stale",
      from: NUD_REACHABLE,
      to: NUD_STALE,
      ha: HIM,
      flags: O,
      err: 0,
      state: NUD_REACHABLE,
      haAfter: HIM,
    },
    {
      name: "hearing of another address does",
      from: NUD_REACHABLE,
      to: NUD_STALE,
      ha: OTHER,
      flags: O,
      err: 0,
      state: NUD_STALE,
      haAfter: OTHER,
    },
    {
      name: "permanent is the administrator's",
      from: NUD_PERMANENT,
      to: NUD_REACHABLE,
      ha: OTHER,
      flags: O,
      err: -1,
      state: NUD_PERMANENT,
      haAfter: HIM,
    },
    {
      name: "... who may change it",
      from: NUD_PERMANENT,
      to: NUD_STALE,
      ha: OTHER,
      flags: O | NEIGH_UPDATE_F_ADMIN,
      err: 0,
      state: NUD_STALE,
      haAfter: OTHER,
    },
    {
      name: "noarp as well",
      from: NUD_NOARP,
      to: NUD_REACHABLE,
      ha: OTHER,
      flags: O,
      err: -1,
      state: NUD_NOARP,
      haAfter: HIM,
    },
    {
      name: "no address, none known",
      from: NUD_NONE,
      to: NUD_REACHABLE,
      ha: null,
      flags: O,
      err: -22,
      state: NUD_NONE,
      haAfter: "00:00:00:00:00:00",
    },
    {
      name: "no address: the known one",
      from: NUD_STALE,
      to: NUD_REACHABLE,
      ha: null,
      flags: O,
      err: 0,
      state: NUD_REACHABLE,
      haAfter: HIM,
    },
    {
      name: "failed by the administrator",
      from: NUD_REACHABLE,
      to: NUD_FAILED,
      ha: null,
      flags: O | NEIGH_UPDATE_F_ADMIN,
      err: 0,
      state: NUD_FAILED,
      haAfter: HIM,
    },
  ];
  test.each(rows)("$name", (row) => {
    const n = create();
    w.in(() => {
      if (row.from !== NUD_NONE) neighUpdate(n, mac(HIM), row.from, O | NEIGH_UPDATE_F_ADMIN);
      expect(n.nudState).toBe(row.from);
      expect(neighUpdate(n, row.ha === null ? null : mac(row.ha), row.to, row.flags)).toBe(row.err);
    });
    expect(n.nudState).toBe(row.state);
    expect([...n.ha.slice(0, 6)]).toEqual([...mac(row.haAfter)]);
  });
});

describe("the table", () => {
  test("above gc_thresh3 new entries push out unused ones", () => {
    w.run(
      a,
      "sysctl net.ipv4.neigh.default.gc_thresh1=4 net.ipv4.neigh.default.gc_thresh2=8 net.ipv4.neigh.default.gc_thresh3=16",
    );
    for (let i = 0; i < 16; i++) create(`10.0.0.${100 + i}`);
    expect(a.ipv4.arpState.gcEntries).toBeGreaterThanOrEqual(16);
    // All of them changed just now: nothing may go, and there is no room.
    expect(w.in(() => neighCreate(arpTbl, ip("10.0.0.200"), dev))).toBe(null);
    expect(a.ipv4.arpState.stats.tableFulls).toBe(1);
    w.advance(6 * SEC);
    expect(create("10.0.0.200")).not.toBe(null);
    expect(a.ipv4.arpState.gcEntries).toBeLessThanOrEqual(9);
  });

  test("permanent entries don't count, and stay", () => {
    w.run(a, "sysctl net.ipv4.neigh.default.gc_thresh2=2 net.ipv4.neigh.default.gc_thresh3=4");
    for (let i = 0; i < 8; i++) w.run(a, `ip neigh add 10.0.0.${50 + i} lladdr ${HIM} dev eth0`);
    const before = a.ipv4.arpState.gcEntries;
    w.advance(10 * SEC);
    for (let i = 0; i < 10; i++) create(`10.0.0.${100 + i}`);
    expect(a.ipv4.arpState.gcEntries - before).toBeLessThanOrEqual(4);
    expect(w.run(a, "ip neigh show nud permanent").trim().split("\n")).toHaveLength(8);
  });

  test("periodic gc forgets what was not used for gc_stale_time", () => {
    w.run(a, "sysctl net.ipv4.neigh.default.gc_thresh1=2");
    for (let i = 0; i < 6; i++) {
      const n = create(`10.0.0.${100 + i}`);
      w.in(() => neighUpdate(n, mac(HIM), NUD_STALE, NEIGH_UPDATE_F_ADMIN));
    }
    w.advance(50 * SEC);
    expect(a.ipv4.arpState.entries).toBeGreaterThanOrEqual(6);
    w.advance(40 * SEC);
    expect(a.ipv4.arpState.entries).toBeLessThan(6);
    expect(w.kernel.nextDeadline()).toBe(Infinity);
  });

  test("a dead neighbour's routes find another one", () => {
    const fd = sysSocket(a, AF_INET, SOCK_DGRAM, 0);
    const to = { family: AF_INET, addr: ip("10.0.0.9"), port: 9 };
    sysSendto(a, fd, new Uint8Array(1), 1, 0, to);
    reply();
    sysSendto(a, fd, new Uint8Array(1), 1, 0, to);
    const n = w.in(() => neighLookup(arpTbl, ip("10.0.0.9"), dev)) as Neighbour;
    w.run(a, "ip neigh flush dev eth0");
    expect(n.dead).toBe(true);
    frames.length = 0;
    sysSendto(a, fd, new Uint8Array([7]), 1, 0, to);
    expect(asked()).toEqual([BROADCAST]);
    reply(OTHER);
    const sent = frames.filter((f) => f.out && f.type === 0x0800);
    expect(sent.map((f) => [...f.bytes.slice(0, 6)])).toEqual([[...mac(OTHER)]]);
  });

  test("the device goes down: its entries go", () => {
    create();
    w.run(a, `ip neigh add 10.0.0.10 lladdr ${HIM} dev eth0`);
    w.run(a, "ip link set eth0 down");
    expect(w.run(a, "ip neigh show nud all")).toBe("");
  });

  test("the cable is pulled: what the administrator entered stays", () => {
    create();
    w.run(a, `ip neigh add 10.0.0.10 lladdr ${HIM} dev eth0`);
    w.run(a, "ip netns exec b ip link set eth0 down");
    expect(w.run(a, "ip neigh show nud all")).toBe(`10.0.0.10 dev eth0 lladdr ${HIM} PERMANENT \n`);
  });
});
