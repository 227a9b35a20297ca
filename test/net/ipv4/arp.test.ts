/** ARP: which requests are answered, what is learnt, and which packets are no ARP at all. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import { neighLookup } from "../../../src/net/core/neighbour.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { arpTbl } from "../../../src/net/ipv4/arp.ts";
import { ARPOP_REPLY, ARPOP_REQUEST } from "../../../src/uapi/if.ts";
import { type ArpFields, arpFrame, capture, type Frame, formatArp, inject, ip, World } from "../../tools/world.ts";

const US = "02:00:00:00:00:01";
const HIM = "02:00:00:00:00:99";
const OTHER = "02:00:00:00:00:55";
const BCAST = "ff:ff:ff:ff:ff:ff";
const SEC = 1_000_000;

let w: World;
let a: Net;
let dev: NetDevice;
let frames: Frame[];

beforeEach(() => {
  w = new World();
  a = w.net("a");
  w.net("b");
  w.run(
    a,
    `ip link add eth0 address ${US} type veth peer name eth0 netns b
     ip addr add 10.0.0.1/24 dev eth0
     ip link set eth0 up
     ip link add eth1 address 02:00:00:00:01:01 type veth peer name eth1 netns b
     ip addr add 10.1.0.1/24 dev eth1
     ip link set eth1 up
     ip netns exec b ip link set eth0 up
     ip netns exec b ip link set eth1 up`,
  );
  dev = a.devByName.get("eth0") as NetDevice;
  frames = capture(dev);
});
afterEach(() => w.close());

function arrives(f: ArpFields): void {
  w.in(() => inject(dev, arpFrame(f)));
}
function answers(): string[] {
  return frames.splice(0).flatMap((f) => (f.out && f.type === 0x0806 ? [formatArp(f.bytes)] : []));
}
/** "" if nothing is known, else the state and the address. */
function known(addr: string): string {
  return w.run(a, `ip neigh show ${addr} nud all`).trim();
}
const request = (tip: string, more: Partial<ArpFields> = {}): ArpFields => ({
  op: ARPOP_REQUEST,
  sha: HIM,
  sip: "10.0.0.9",
  tip,
  ...more,
});
const reply = (more: Partial<ArpFields> = {}): ArpFields => ({
  op: ARPOP_REPLY,
  sha: HIM,
  sip: "10.0.0.9",
  tha: US,
  tip: "10.0.0.1",
  dst: US,
  ...more,
});
const ANSWER = `is-at 10.0.0.9 from 10.0.0.1 ${US} for ${HIM} to ${HIM}`;

describe("requests", () => {
  interface Row {
    name: string;
    setup?: string;
    frame: ArpFields;
    answer: string[];
    /** What is known of 10.0.0.9 after it. */
    learnt: boolean;
  }
  const rows: Row[] = [
    {
      name: "for our address: answered, and the asker is learnt",
      frame: request("10.0.0.1"),
      answer: [ANSWER],
      learnt: true,
    },
    { name: "for somebody else's: nothing", frame: request("10.0.0.2"), answer: [], learnt: false },
    {
      name: "for an address of another device: answered (arp_ignore 0)",
      frame: request("10.1.0.1"),
      answer: [`is-at 10.0.0.9 from 10.1.0.1 ${US} for ${HIM} to ${HIM}`],
      learnt: true,
    },
    {
      name: "arp_ignore 1: not for another device's",
      setup: "sysctl net.ipv4.conf.eth0.arp_ignore=1",
      frame: request("10.1.0.1"),
      answer: [],
      learnt: false,
    },
    {
      name: "arp_ignore 1: for this device's",
      setup: "sysctl net.ipv4.conf.eth0.arp_ignore=1",
      frame: request("10.0.0.1"),
      answer: [ANSWER],
      learnt: true,
    },
    {
      name: "arp_ignore 2: not from another subnet",
      setup: "sysctl net.ipv4.conf.all.arp_ignore=2",
      frame: request("10.0.0.1", { sip: "10.5.0.9" }),
      answer: [],
      learnt: false,
    },
    {
      name: "arp_ignore 8: for none",
      setup: "sysctl net.ipv4.conf.all.arp_ignore=8",
      frame: request("10.0.0.1"),
      answer: [],
      learnt: false,
    },
    {
      name: "arp_filter: the way back leads over another device",
      setup: "ip route add 10.0.0.9/32 dev eth1\nsysctl net.ipv4.conf.eth0.arp_filter=1",
      frame: request("10.0.0.1"),
      answer: [],
      learnt: false,
    },
    {
      name: "a probe for our address (RFC 5227) is answered, and teaches nothing",
      frame: request("10.0.0.1", { sip: "0.0.0.0" }),
      answer: [`is-at 0.0.0.0 from 10.0.0.1 ${US} for ${HIM} to ${HIM}`],
      learnt: false,
    },
    {
      name: "a probe for another address is not",
      frame: request("10.0.0.2", { sip: "0.0.0.0" }),
      answer: [],
      learnt: false,
    },
    { name: "for a multicast address", frame: request("224.0.0.1"), answer: [], learnt: false },
    { name: "for a loopback address", frame: request("127.0.0.1"), answer: [], learnt: false },
    {
      name: "from our own address (a martian)",
      frame: request("10.0.0.1", { sip: "10.0.0.1" }),
      answer: [],
      learnt: false,
    },
    { name: "to another host's link address", frame: request("10.0.0.1", { dst: OTHER }), answer: [], learnt: false },
    { name: "by unicast", frame: request("10.0.0.1", { dst: US }), answer: [ANSWER], learnt: true },
    {
      name: "the hardware type of IEEE 802 counts as Ethernet",
      frame: request("10.0.0.1", { hrd: 6 }),
      answer: [ANSWER],
      learnt: true,
    },
    { name: "another hardware type", frame: request("10.0.0.1", { hrd: 2 }), answer: [], learnt: false },
    { name: "another protocol", frame: request("10.0.0.1", { pro: 0x86dd }), answer: [], learnt: false },
    { name: "a wrong length of link addresses", frame: request("10.0.0.1", { hln: 5 }), answer: [], learnt: false },
    {
      name: "a wrong length of protocol addresses",
      frame: request("10.0.0.1", { pln: 16 }),
      answer: [],
      learnt: false,
    },
    { name: "another operation (RARP)", frame: request("10.0.0.1", { op: 3 }), answer: [], learnt: false },
    {
      name: "a device without ARP",
      setup: "ip link set eth0 arp off",
      frame: request("10.0.0.1"),
      answer: [],
      learnt: false,
    },
    {
      name: "proxy_arp answers for what lies behind another device",
      setup: "sysctl net.ipv4.conf.eth0.proxy_arp=1 net.ipv4.ip_forward=1 net.ipv4.neigh.eth0.proxy_delay=0",
      frame: request("10.1.0.7"),
      answer: [`is-at 10.0.0.9 from 10.1.0.7 ${US} for ${HIM} to ${HIM}`],
      learnt: true,
    },
    {
      name: "proxy_arp does not answer for the asker's own subnet",
      setup: "sysctl net.ipv4.conf.eth0.proxy_arp=1 net.ipv4.ip_forward=1 net.ipv4.neigh.eth0.proxy_delay=0",
      frame: request("10.0.0.7"),
      answer: [],
      learnt: false,
    },
    {
      name: "an address entered with `ip neigh add proxy`",
      setup: "ip neigh add proxy 10.1.0.7 dev eth0\nsysctl net.ipv4.ip_forward=1 net.ipv4.neigh.eth0.proxy_delay=0",
      frame: request("10.1.0.7"),
      answer: [`is-at 10.0.0.9 from 10.1.0.7 ${US} for ${HIM} to ${HIM}`],
      learnt: true,
    },
  ];
  test.each(rows)("$name", (row) => {
    if (row.setup !== undefined) w.run(a, row.setup);
    frames.length = 0;
    arrives(row.frame);
    expect(answers()).toEqual(row.answer);
    expect(w.in(() => neighLookup(arpTbl, ip("10.0.0.9"), dev)) !== null).toBe(row.learnt);
    if (row.learnt) expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} STALE`);
  });

  test("proxies wait for the owner first", () => {
    w.run(a, "ip neigh add proxy 10.1.0.7 dev eth0\nsysctl net.ipv4.ip_forward=1");
    arrives(request("10.1.0.7"));
    expect(answers()).toEqual([]);
    w.advance(800_000);
    expect(answers()).toEqual([`is-at 10.0.0.9 from 10.1.0.7 ${US} for ${HIM} to ${HIM}`]);
  });
});

describe("what is believed", () => {
  test("nobody asked: a reply teaches nothing", () => {
    arrives(reply());
    expect(known("10.0.0.9")).toBe("");
  });

  test("arp_accept: then it does", () => {
    w.run(a, "sysctl net.ipv4.conf.eth0.arp_accept=1");
    arrives(reply());
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} REACHABLE`);
  });

  test("arp_accept 2: only of our own subnets", () => {
    w.run(a, "sysctl net.ipv4.conf.eth0.arp_accept=2");
    arrives(reply({ sip: "10.7.0.9" }));
    expect(known("10.7.0.9")).toBe("");
    arrives(reply());
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} REACHABLE`);
  });

  test("a broadcast reply does not prove that it hears us", () => {
    w.run(a, `ip neigh add 10.0.0.9 lladdr ${HIM} dev eth0 nud stale`);
    arrives(reply({ dst: BCAST }));
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} STALE`);
    arrives(reply());
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} REACHABLE`);
  });

  test("of two replies within locktime the first counts", () => {
    w.run(a, `ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:77 dev eth0 nud stale`);
    w.advance(2 * SEC);
    arrives(reply());
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} REACHABLE`);
    w.advance(SEC / 2);
    arrives(reply({ sha: OTHER }));
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} REACHABLE`);
    w.advance(SEC);
    arrives(reply({ sha: OTHER }));
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${OTHER} REACHABLE`);
  });

  test("a gratuitous request moves an entry that is known, at once", () => {
    w.run(a, `ip neigh add 10.0.0.9 lladdr ${HIM} dev eth0 nud reachable`);
    arrives({ op: ARPOP_REQUEST, sha: OTHER, sip: "10.0.0.9", tip: "10.0.0.9" });
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${OTHER} STALE`);
  });

  test("drop_gratuitous_arp", () => {
    w.run(
      a,
      `ip neigh add 10.0.0.9 lladdr ${HIM} dev eth0 nud reachable\nsysctl net.ipv4.conf.eth0.drop_gratuitous_arp=1`,
    );
    arrives({ op: ARPOP_REQUEST, sha: OTHER, sip: "10.0.0.9", tip: "10.0.0.9" });
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} REACHABLE`);
  });

  test("permanent entries are not touched", () => {
    w.run(a, `ip neigh add 10.0.0.9 lladdr ${HIM} dev eth0`);
    w.advance(2 * SEC);
    arrives(reply({ sha: OTHER }));
    expect(known("10.0.0.9")).toBe(`10.0.0.9 dev eth0 lladdr ${HIM} PERMANENT`);
  });

  test("a truncated packet is dropped", () => {
    w.in(() => inject(dev, arpFrame(request("10.0.0.1")).slice(0, 30)));
    expect(answers()).toEqual([]);
  });
});

describe("what is sent", () => {
  test("arp_notify announces addresses when the device comes up", () => {
    w.run(a, "sysctl net.ipv4.conf.eth0.arp_notify=1\nip link set eth0 down");
    frames.length = 0;
    w.run(a, "ip link set eth0 up");
    expect(answers()).toEqual([`who-has 10.0.0.1 from 10.0.0.1 ${US} for 00:00:00:00:00:00 to ${BCAST}`]);
  });

  test("arp_announce: whose address is used", () => {
    const send = (): string[] => {
      w.run(a, "ip neigh flush dev eth0");
      frames.length = 0;
      w.run(a, "ip neigh replace 10.0.0.9 dev eth0 nud none use");
      return answers();
    };
    expect(send()[0]).toContain("who-has 10.0.0.9 from 10.0.0.1 ");
  });
});
