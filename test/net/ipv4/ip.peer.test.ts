/** ARP, ICMP, UDP, fragments and forwarding, from the wire: RFC 826, RFC 792, RFC 768, RFC 791, RFC 1122 §3, RFC 1812. */

import { describe, expect, it } from "vitest";
import { IP_RECVERR, IPPROTO_IP } from "../../../src/uapi/in.ts";
import { MSG_PEEK, MSG_TRUNC, SO_BROADCAST, SOL_SOCKET } from "../../../src/uapi/socket.ts";
import type { Other } from "./peer.ts";
import { errName, HOST, HOST_MAC, PEER, Peer, pattern, sum16 } from "./peer.ts";

/** "11/0" of an ICMP message. */
const icmpOf = (o: Other | undefined): string =>
  o === undefined || o.proto !== 1 ? "none" : `${o.data[0]}/${o.data[1]}`;

/** The state of the neighbour `addr` in `ip neigh`. */
function nud(p: Peer, addr = "10.7.0.1"): string {
  const line = p.host
    .ip("neigh show")
    .split("\n")
    .find((l) => l.startsWith(`${addr} `));
  return line === undefined ? "NONE" : (line.trim().split(" ").at(-1) as string);
}

describe("RFC 826: ARP", () => {
  const OTHER = new Uint8Array([2, 0, 0, 5, 5, 5]);

  it("a request for our address is answered to the one that asks", async () => {
    const p = await Peer.create();
    p.arp(1, PEER, HOST, undefined, true);
    expect(p.arps).toMatchObject([{ op: 2, sha: "02:00:00:07:07:07", spa: HOST, tpa: PEER, dst: "02:00:00:09:09:09" }]);
  });

  it("a request for another one's address is not", async () => {
    const p = await Peer.create();
    p.arp(1, PEER, HOST + 5, undefined, true);
    expect(p.arps).toEqual([]);
  });

  it("RFC 5227 §2.1.1: a probe (no sender address) is answered", async () => {
    const p = await Peer.create();
    p.arp(1, 0, HOST, undefined, true);
    expect(p.arps).toMatchObject([{ op: 2, spa: HOST }]);
  });

  it("RFC 826: a request teaches the sender's address", async () => {
    const p = await Peer.create({ arp: false });
    p.arp(1, PEER, HOST, undefined, true);
    p.icmp(8, 0, 0x10001, pattern(8));
    expect(p.packets().map(icmpOf)).toEqual(["0/0"]);
    expect(p.arps.filter((a) => a.op === 1)).toEqual([]);
  });

  it("RFC 5227 §2.4: somebody else claims our address: it is answered, and nothing else changes", async () => {
    const p = await Peer.create();
    p.arp(1, HOST, HOST, OTHER, true);
    p.arp(2, HOST, HOST, OTHER, true);
    p.icmp(8, 0, 0x10001, pattern(8));
    expect(p.packets().map(icmpOf)).toEqual(["0/0"]);
    expect(nud(p, "10.7.0.2")).toBe("NONE");
  });

  it("an unsolicited reply makes no entry (arp_accept=0)", async () => {
    const p = await Peer.create();
    p.arp(2, HOST + 8, HOST + 8, OTHER, true);
    expect(nud(p, "10.7.0.10")).toBe("NONE");
  });

  it("RFC 5227 §3: a gratuitous ARP changes the entry that is there", async () => {
    const p = await Peer.create();
    p.icmp(8, 0, 0x10001, pattern(8));
    p.sleep(2000);
    p.arp(1, PEER, PEER, OTHER, true);
    p.packets();
    p.icmp(8, 0, 0x10002, pattern(8));
    expect([...(p.packets()[0]?.frame.subarray(0, 6) ?? [])]).toEqual([...OTHER]);
  });

  it("RFC 1122 §2.3.2.2: packets wait for the answer; three requests, one a second, then EHOSTUNREACH", async () => {
    const p = await Peer.create({ arp: false });
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    // A host that cannot be reached is a soft error to UDP: only who asks for the details hears of it.
    p.setopt(fd, IPPROTO_IP, IP_RECVERR, 1);
    p.mark();
    p.write(fd, 10);
    p.sleep(5000);
    expect(p.arps.map((a) => Math.round((a.at - p.t0) / 1000))).toEqual(
      [0, 1000, 2000].map((t) => expect.closeTo(t, -1)),
    );
    expect(p.packets()).toEqual([]);
    expect(nud(p)).toBe("FAILED");
    expect(p.soError(fd)).toBe("EHOSTUNREACH");
  });

  it("RFC 1122 §2.3.2.2: the packet that waited is sent when the answer comes", async () => {
    const p = await Peer.create({ arp: false });
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    p.write(fd, 10);
    expect(p.packets()).toEqual([]);
    p.arp(2, PEER, HOST);
    expect(p.packets().length).toBe(1);
  });

  it("RFC 4861 §7.3.3 as in Linux: REACHABLE, STALE, DELAY 5 s, PROBE three times a second apart, FAILED", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    p.write(fd, 10);
    expect(nud(p)).toBe("REACHABLE");
    p.sleep(14_000);
    expect(nud(p)).toBe("REACHABLE");
    p.sleep(32_000);
    expect(nud(p)).toBe("STALE");
    p.answerArp = false;
    p.arps.length = 0;
    p.mark();
    p.write(fd, 10);
    expect(nud(p)).toBe("DELAY");
    p.sleep(4900);
    expect(nud(p)).toBe("DELAY");
    expect(p.arps).toEqual([]);
    p.sleep(200);
    expect(nud(p)).toBe("PROBE");
    expect(p.arps).toMatchObject([{ op: 1, dst: "02:00:00:09:09:09" }]);
    p.sleep(4000);
    expect(nud(p)).toBe("FAILED");
    expect(p.arps.map((a) => Math.round((a.at - p.t0) / 1000))).toEqual(
      [5000, 6000, 7000].map((t) => expect.closeTo(t, -1)),
    );
  });

  it("RFC 4861 §7.3.3: an answer in PROBE makes it REACHABLE", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    p.write(fd, 10);
    p.sleep(46_000);
    p.write(fd, 10);
    p.sleep(5100);
    expect(nud(p)).toBe("REACHABLE");
  });

  it("RFC 1122 §2.3.2.1: TCP's progress confirms the neighbour: no probe is sent", async () => {
    const p = await Peer.create();
    const { c, fd } = p.accepted({ mss: 1000 });
    for (let i = 0; i < 100; i++) {
      p.write(fd, 10);
      c.send(".");
      p.sleep(1000);
    }
    expect(p.arps.filter((a) => a.op === 1).length).toBeLessThanOrEqual(1);
  });
});

describe("RFC 792, RFC 1122 §3.2.2: ICMP", () => {
  it("echo: the same identifier, sequence number and data come back", async () => {
    const p = await Peer.create();
    p.icmp(8, 0, 0x12345678, pattern(100));
    const [r] = p.packets();
    expect(icmpOf(r)).toBe("0/0");
    expect([...(r as Other).data.subarray(4)]).toEqual([0x12, 0x34, 0x56, 0x78, ...pattern(100)]);
    expect(sum16((r as Other).data, 0, (r as Other).data.length)).toBe(0xffff);
    expect(r).toMatchObject({ src: HOST, dst: PEER, ttl: 64 });
  });

  it("echo in fragments, out of order, comes back in fragments", async () => {
    const p = await Peer.create();
    const b = new Uint8Array(8 + 3000);
    b[0] = 8;
    b.set(pattern(3000), 8);
    new DataView(b.buffer).setUint16(2, ~sum16(b, 0, b.length) & 0xffff);
    p.ip(1, b.subarray(1480, 2960), { id: 77, frag: 0x2000 | 185 });
    p.ip(1, b.subarray(2960), { id: 77, frag: 370 });
    expect(p.packets()).toEqual([]);
    p.ip(1, b.subarray(0, 1480), { id: 77, frag: 0x2000 });
    const out = p.packets();
    expect(out.map((o) => [o.fragOff, o.data.length, o.mf])).toEqual([
      [0, 1480, true],
      [1480, 1480, true],
      [2960, 48, false],
    ]);
    expect(new Set(out.map((o) => o.id)).size).toBe(1);
    const got = out.flatMap((o) => [...o.data]);
    expect(got.slice(8)).toEqual([...pattern(3000)]);
  });

  it("RFC 1122 §3.2.2.6: echo to a broadcast address is ignored (icmp_echo_ignore_broadcasts)", async () => {
    const p = await Peer.create();
    p.icmp(8, 0, 1, pattern(8), { dst: 0x0a0700ff, broadcast: true });
    expect(p.packets()).toEqual([]);
  });

  it("icmp_echo_ignore_all=1", async () => {
    const p = await Peer.create({ sysctl: { "net.ipv4.icmp_echo_ignore_all": 1 } });
    p.icmp(8, 0, 1, pattern(8));
    expect(p.packets()).toEqual([]);
  });

  it("RFC 1122 §3.2.2.8: timestamp request", async () => {
    const p = await Peer.create();
    p.icmp(13, 0, 0x00010002, new Uint8Array(12));
    const [r] = p.packets();
    expect(icmpOf(r)).toBe("14/0");
    expect(r?.data.length).toBe(20);
  });

  it("a wrong checksum is dropped", async () => {
    const p = await Peer.create();
    p.ip(1, new Uint8Array([8, 0, 1, 2, 0, 1, 0, 1]));
    expect(p.packets()).toEqual([]);
  });

  it("RFC 1122 §3.2.2.1: an unknown protocol is unreachable (3/2), quoting the header and data", async () => {
    const p = await Peer.create();
    p.ip(200, pattern(16));
    const [r] = p.packets();
    expect(icmpOf(r)).toBe("3/2");
    expect(r?.data[8]).toBe(0x45);
    expect([...(r as Other).data.subarray(28)]).toEqual([...pattern(16)]);
  });

  it("RFC 1122 §4.1.3.1: a closed UDP port is unreachable (3/3)", async () => {
    const p = await Peer.create();
    p.udp(1000, 9999, pattern(4));
    expect(p.packets().map(icmpOf)).toEqual(["3/3"]);
  });

  const silent: [string, (p: Peer) => void][] = [
    ["an ICMP error", (p) => p.icmp(3, 3, 0, new Uint8Array([0x45, ...pattern(27)]))],
    ["a broadcast", (p) => p.udp(1000, 9999, pattern(4), { dst: 0x0a0700ff, broadcast: true })],
    ["a link-layer broadcast", (p) => p.udp(1000, 9999, pattern(4), { broadcast: true })],
    ["a fragment that is not the first", (p) => p.ip(200, pattern(16), { frag: 10 })],
    ["a packet from a broadcast address", (p) => p.ip(200, pattern(16), { src: 0xffffffff })],
    ["a packet from a loopback address", (p) => p.ip(200, pattern(16), { src: 0x7f000001 })],
    ["a packet for another host", (p) => p.ip(200, pattern(16), { dst: HOST + 7 })],
  ];
  it.each(silent)("RFC 1122 §3.2.2: no error message about %s", async (_n, fn) => {
    const p = await Peer.create();
    fn(p);
    p.sleep(100);
    expect(p.packets()).toEqual([]);
  });

  it("RFC 1812 §4.3.2.8, icmp_ratelimit: six errors at once to one host, then one a second", async () => {
    const p = await Peer.create();
    for (let i = 0; i < 20; i++) p.udp(1000, 9999, pattern(4));
    expect(p.packets().length).toBe(6);
    p.sleep(1000);
    for (let i = 0; i < 20; i++) p.udp(1000, 9999, pattern(4));
    expect(p.packets().length).toBe(1);
  });

  it("RFC 1122 §3.3.2: reassembly gives up after 30 s and says so if it has the first fragment (11/1)", async () => {
    const p = await Peer.create();
    p.ip(17, pattern(64), { id: 5, frag: 0x2000 });
    p.sleep(29_900);
    expect(p.packets()).toEqual([]);
    p.sleep(200);
    expect(p.packets().map(icmpOf)).toEqual(["11/1"]);
  });

  it("RFC 1122 §3.3.2: and in silence if it has not", async () => {
    const p = await Peer.create();
    p.ip(17, pattern(64), { id: 5, frag: 0x2000 | 8 });
    p.sleep(31_000);
    expect(p.packets()).toEqual([]);
  });
});

describe("RFC 768: UDP", () => {
  it("datagrams come with their sender, whole and in order", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(53);
    p.udp(1000, 53, pattern(10));
    p.udp(1001, 53, pattern(0));
    p.udp(1002, 53, pattern(30));
    const from = { family: 0, addr: 0, port: 0 };
    const b = new Uint8Array(100);
    expect(p.host.sys.recvfrom(fd, b, 100, 0, from)).toBe(10);
    expect(from).toMatchObject({ family: 2, addr: PEER, port: 1000 });
    expect(p.host.sys.recvfrom(fd, b, 100, 0, from)).toBe(0);
    expect(from.port).toBe(1001);
    expect(p.host.sys.recvfrom(fd, b, 100, 0, from)).toBe(30);
    expect(p.read(fd)).toBe("EAGAIN");
  });

  it("what does not fit is cut off; MSG_TRUNC tells the length, MSG_PEEK leaves it", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(53);
    p.udp(1000, 53, pattern(50));
    p.udp(1000, 53, pattern(5));
    expect(p.read(fd, 10, MSG_PEEK)).toBe(10);
    expect(p.read(fd, 10, MSG_TRUNC | MSG_PEEK)).toBe(50);
    expect(p.read(fd, 10)).toBe(10);
    expect(p.read(fd, 10)).toBe(5);
  });

  it("a wrong checksum is dropped in silence; none (0) is fine", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(53);
    p.udp(1000, 53, pattern(10), { sum: 0x1234 });
    expect(p.read(fd)).toBe("EAGAIN");
    p.udp(1000, 53, pattern(10), { sum: 0 });
    expect(p.read(fd)).toBe(10);
    p.udp(1000, 54, pattern(10), { sum: 0x1234 });
    expect(p.packets()).toEqual([]);
  });

  it("RFC 1122 §4.1.3.3: port unreachable gives ECONNREFUSED to a connected socket, once", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    p.write(fd, 10);
    const sent = p.packets()[0] as Other;
    p.icmp(3, 3, 0, sent.frame.slice(14, 42));
    expect(p.poll(fd)).toBe("OUT ERR");
    expect(p.read(fd)).toBe("ECONNREFUSED");
    expect(p.read(fd)).toBe("EAGAIN");
    p.icmp(3, 3, 0, sent.frame.slice(14, 42));
    expect(p.write(fd, 10)).toBe("ECONNREFUSED");
    expect(p.write(fd, 10)).toBe(10);
  });

  it("RFC 1122 §4.1.3.3: and nothing to one that is not connected", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(9000);
    p.host.sys.sendto(fd, pattern(10), 10, 0, { family: 2, addr: PEER, port: 9 });
    p.kernel.core.run();
    const sent = p.packets()[0] as Other;
    p.icmp(3, 3, 0, sent.frame.slice(14, 42));
    expect(p.read(fd)).toBe("EAGAIN");
  });

  it("a connected socket hears its peer only", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    p.udp(10, 9000, pattern(10));
    expect(p.read(fd)).toBe("EAGAIN");
    expect(p.packets().map(icmpOf)).toEqual(["3/3"]);
    p.udp(9, 9000, pattern(10));
    expect(p.read(fd)).toBe(10);
  });

  it("the header is right: ports, length, checksum", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    p.write(fd, 11);
    const o = p.packets()[0] as Other;
    const v = new DataView(o.data.slice().buffer);
    expect([v.getUint16(0), v.getUint16(2), v.getUint16(4)]).toEqual([9000, 9, 19]);
    expect(sum16(o.frame, 34, 34 + 19, sum16(o.frame, 26, 34, 17 + 19))).toBe(0xffff);
  });

  it("RFC 791 §3.2: a large datagram goes in fragments of the MTU", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    expect(p.write(fd, 4000)).toBe(4000);
    const out = p.packets();
    expect(out.map((o) => [o.fragOff, o.data.length, o.mf])).toEqual([
      [0, 1480, true],
      [1480, 1480, true],
      [2960, 1048, false],
    ]);
    expect(out.flatMap((o) => [...o.data]).slice(8)).toEqual([...pattern(4000)]);
  });

  it("65507 bytes at most: EMSGSIZE", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(9000, { family: 2, addr: PEER, port: 9 });
    expect(p.write(fd, 65_508)).toBe("EMSGSIZE");
    expect(p.write(fd, 65_507)).toBe(65_507);
    expect(p.packets().reduce((n, o) => n + o.data.length, 0)).toBe(65_515);
  });

  it("fragments in any order, with duplicates, are one datagram", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(53);
    const b = new Uint8Array(8 + 2000);
    const v = new DataView(b.buffer);
    v.setUint16(0, 1000);
    v.setUint16(2, 53);
    v.setUint16(4, b.length);
    b.set(pattern(2000), 8);
    for (const at of [1600, 0, 800, 800, 1600]) {
      const end = Math.min(at + 800, b.length);
      p.ip(17, b.subarray(at, end), { id: 9, frag: (end < b.length ? 0x2000 : 0) | (at / 8) });
    }
    expect(p.readBytes(fd)).toEqual([...pattern(2000)]);
  });

  it("RFC 5722 as in Linux: overlapping fragments discard the datagram", async () => {
    const p = await Peer.create();
    const fd = p.udpSocket(53);
    p.ip(17, pattern(64), { id: 9, frag: 0x2000 });
    p.ip(17, pattern(64), { id: 9, frag: 0x2000 | 4 });
    p.ip(17, pattern(64), { id: 9, frag: 12 });
    expect(p.read(fd)).toBe("EAGAIN");
  });

  const errors: [string, (p: Peer) => number, string | number][] = [
    ["send without a destination", (p) => p.host.sys.send(p.udpSocket(90), pattern(1), 1, 0), "EDESTADDRREQ"],
    [
      "send to port 0",
      (p) => p.host.sys.sendto(p.udpSocket(90), pattern(1), 1, 0, { family: 2, addr: PEER, port: 0 }),
      "EINVAL",
    ],
    [
      "send to a broadcast address",
      (p) => p.host.sys.sendto(p.udpSocket(90), pattern(1), 1, 0, { family: 2, addr: 0x0a0700ff, port: 9 }),
      "EACCES",
    ],
    [
      "the same with SO_BROADCAST",
      (p) => {
        const fd = p.udpSocket(90);
        p.setopt(fd, SOL_SOCKET, SO_BROADCAST, 1);
        return p.host.sys.sendto(fd, pattern(1), 1, 0, { family: 2, addr: 0x0a0700ff, port: 9 });
      },
      1,
    ],
  ];
  it.each(errors)("errno: %s", async (_n, fn, want) => {
    const p = await Peer.create();
    expect(errName(fn(p))).toBe(want);
  });
});

describe("RFC 1812: forwarding between two cards", () => {
  const FAR = 0x0a080009;

  async function router(sysctl: Record<string, number> = { "net.ipv4.ip_forward": 1 }): Promise<Peer> {
    const p = await Peer.create();
    for (const [k, v] of Object.entries(sysctl)) p.host.sysctl(`${k}=${v}`);
    p.addDevice("eth1", "10.8.0.2/24");
    return p;
  }

  it("§5.3.1: a packet leaves by the other card, its TTL one less, its checksum right", async () => {
    const p = await router();
    p.udp(1, 2, pattern(20), { dst: FAR, ttl: 10 });
    const out = p.packets();
    expect(out).toMatchObject([{ dev: "eth1", src: PEER, dst: FAR, ttl: 9 }]);
    expect([...(out[0] as Other).frame.subarray(6, 12)]).toEqual([...HOST_MAC]);
  });

  it("§5.3.1: TTL 1: time exceeded (11/0) to the sender", async () => {
    const p = await router();
    p.udp(1, 2, pattern(20), { dst: FAR, ttl: 1 });
    const out = p.packets();
    expect(out.map(icmpOf)).toEqual(["11/0"]);
    expect(out[0]).toMatchObject({ dev: "eth0", src: HOST, dst: PEER });
    expect([...(out[0] as Other).data.subarray(36, 56)]).toEqual([...pattern(20)]);
  });

  it("ip_forward=0: dropped in silence", async () => {
    const p = await router({});
    p.udp(1, 2, pattern(20), { dst: FAR });
    expect(p.packets()).toEqual([]);
  });

  it("§5.2.7.1: no route: net unreachable (3/0)", async () => {
    const p = await router();
    p.host.ip("route del default");
    p.udp(1, 2, pattern(20), { dst: 0x08080808 });
    expect(p.packets().map(icmpOf)).toEqual(["3/0"]);
  });

  it("§5.2.7.1: nobody answers ARP: host unreachable (3/1)", async () => {
    const p = await router();
    p.icmp(8, 0, 1, pattern(8));
    p.packets();
    p.answerArp = false;
    p.udp(1, 2, pattern(20), { dst: FAR });
    p.sleep(4000);
    expect(p.packets().map(icmpOf)).toEqual(["3/1"]);
  });

  it("RFC 1191 §4: too big with DF: fragmentation needed (3/4) with the next MTU", async () => {
    const p = await router();
    p.host.ip("link set eth1 mtu 600");
    p.udp(1, 2, pattern(1000), { dst: FAR, frag: 0x4000 });
    const out = p.packets();
    expect(out.map(icmpOf)).toEqual(["3/4"]);
    expect(new DataView((out[0] as Other).data.slice().buffer).getUint16(6)).toBe(600);
  });

  it("RFC 791 §3.2: too big without DF: fragments", async () => {
    const p = await router();
    p.host.ip("link set eth1 mtu 600");
    p.udp(1, 2, pattern(1000), { dst: FAR });
    expect(p.packets().map((o) => [o.dev, o.fragOff, o.data.length, o.mf])).toEqual([
      ["eth1", 0, 576, true],
      ["eth1", 576, 432, false],
    ]);
  });

  it("a broadcast on one network does not reach the other", async () => {
    const p = await router();
    p.udp(1, 2, pattern(20), { dst: 0x0a0800ff, broadcast: true });
    p.udp(1, 2, pattern(20), { dst: 0xffffffff, broadcast: true });
    expect(p.packets().filter((o) => o.dev === "eth1")).toEqual([]);
  });
});
