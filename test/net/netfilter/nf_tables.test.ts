/** Rules: what they match, what becomes of a packet, and how they are written and listed. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import { sysBind, sysRecvfrom, sysSendto, sysSocket } from "../../../src/net/socket.ts";
import { EAGAIN, EPERM } from "../../../src/uapi/errno.ts";
import { AF_INET, SOCK_DGRAM } from "../../../src/uapi/socket.ts";
import { capture, type Frame, inject, ip, mac, World } from "../../tools/world.ts";

let w: World;
let a: Net;
let b: Net;
let dev: NetDevice;
let frames: Frame[];
let from = 0;
let to = 0;

beforeEach(() => {
  w = new World();
  a = w.net("a");
  b = w.net("b");
  w.run(
    a,
    `ip link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns b
     ip addr add 10.0.0.1/24 dev eth0
     ip link set eth0 up
     ip netns exec b ip addr add 10.0.0.2/24 dev eth0
     ip netns exec b ip link set eth0 up`,
  );
  dev = b.devByName.get("eth0") as NetDevice;
  frames = capture(dev);
  from = sysSocket(a, AF_INET, SOCK_DGRAM, 0);
  sysBind(a, from, { family: AF_INET, addr: ip("10.0.0.1"), port: 4000 });
  to = sysSocket(b, AF_INET, SOCK_DGRAM, 0);
  sysBind(b, to, { family: AF_INET, addr: 0, port: 53 });
});
afterEach(() => w.close());

/** Sends a datagram from a to b. What sendto says, and whether b's socket got it. */
function send(port = 53): [number, boolean] {
  const n = sysSendto(a, from, new Uint8Array([1, 2, 3]), 3, 0, { family: AF_INET, addr: ip("10.0.0.2"), port });
  const got = sysRecvfrom(b, to, new Uint8Array(10), 10, 0, null);
  expect([3, -EAGAIN]).toContain(got);
  return [n, got === 3];
}

const OUTPUT = "add chain ip filter output { type filter hook output priority 0; policy accept; }";
const INPUT = "add chain ip filter input { type filter hook input priority filter; }";

function rules(net: Net, ...lines: string[]): void {
  w.run(net, ["nft add table ip filter", `nft ${OUTPUT}`, `nft ${INPUT}`, ...lines.map((l) => `nft ${l}`)].join("\n"));
}

describe("verdicts", () => {
  test("drop at output is EPERM, at input it is silence", () => {
    expect(send()).toEqual([3, true]);
    rules(a, "add rule ip filter output udp dport 53 drop");
    expect(send()).toEqual([-EPERM, false]);
    w.run(a, "nft flush ruleset");
    rules(b, "add rule ip filter input udp dport 53 counter drop");
    expect(send()).toEqual([3, false]);
    expect(w.run(b, "nft list ruleset")).toContain("udp dport 53 counter packets 1 bytes 31 drop");
  });

  test("the first verdict counts; a policy is what is left", () => {
    rules(b, "add rule ip filter input ip saddr 10.0.0.1 accept", "add rule ip filter input drop");
    expect(send()[1]).toBe(true);
    w.run(b, "nft flush ruleset\nnft add table filter");
    w.run(b, "nft add chain filter in { type filter hook input priority 0; policy drop; }");
    expect(send()[1]).toBe(false);
    w.run(b, "nft add rule filter in ip protocol udp accept");
    expect(send()[1]).toBe(true);
  });

  test("jump, goto and return", () => {
    rules(
      b,
      "add chain ip filter c",
      "add chain ip filter d",
      "add rule ip filter c udp dport 99 drop",
      "add rule ip filter c return",
      "add rule ip filter c drop",
      "add rule ip filter input jump c",
      "add rule ip filter input counter",
      "add rule ip filter input goto d",
      "add rule ip filter input drop",
    );
    expect(send()[1]).toBe(true);
    expect(w.run(b, "nft list chain ip filter input")).toContain("counter packets 1 bytes 31");
  });

  test("limit: so many, and the rest", () => {
    rules(b, "add rule ip filter input limit rate 10/second burst 3 packets accept", "add rule ip filter input drop");
    expect(Array.from({ length: 6 }, () => send()[1])).toEqual([true, true, true, false, false, false]);
    w.advance(200_000);
    expect(Array.from({ length: 4 }, () => send()[1])).toEqual([true, true, false, false]);
  });

  test("a mark set by a rule is there for the next, and for routing", () => {
    rules(a, "add rule ip filter output meta mark set 0x7", "add rule ip filter output meta mark 7 counter");
    send();
    expect(w.run(a, "nft list ruleset")).toContain("meta mark 0x00000007 counter packets 1 bytes 31");
  });

  test("reject tells the sender: ICMP, or a RST for TCP", () => {
    rules(
      b,
      "add rule ip filter input udp dport 53 reject",
      "add rule ip filter input tcp dport 80 reject with tcp reset",
    );
    send();
    const icmp = frames.filter((f) => f.out && f.type === 0x0800 && f.bytes[23] === 1);
    expect(icmp.map((f) => [f.bytes[34], f.bytes[35]])).toEqual([[3, 3]]);
    frames.length = 0;
    w.in(() => inject(dev, tcpSyn(80)));
    const rst = frames.filter((f) => f.out && f.type === 0x0800 && f.bytes[23] === 6).map((f) => f.bytes);
    expect(rst).toHaveLength(1);
    const t = new DataView((rst[0] as Uint8Array).buffer);
    // RFC 9293 §3.10.7.1: sequence 0, acknowledging the SYN.
    expect([t.getUint16(34), t.getUint16(36), t.getUint32(38), t.getUint32(42), t.getUint8(47)]).toEqual([
      80, 5000, 0, 1001, 0x14,
    ]);
  });
});

function tcpSyn(dport: number): Uint8Array {
  const f = new Uint8Array(54);
  const v = new DataView(f.buffer);
  f.set(mac("02:00:00:00:00:02"), 0);
  f.set(mac("02:00:00:00:00:01"), 6);
  v.setUint16(12, 0x0800);
  f[14] = 0x45;
  v.setUint16(16, 40);
  f[22] = 64;
  f[23] = 6;
  v.setUint32(26, ip("10.0.0.1"));
  v.setUint32(30, ip("10.0.0.2"));
  v.setUint16(24, sum(f.subarray(14, 34), 0));
  v.setUint16(34, 5000);
  v.setUint16(36, dport);
  v.setUint32(38, 1000);
  f[46] = 0x50;
  f[47] = 2;
  v.setUint16(48, 1000);
  const pseudo =
    (ip("10.0.0.1") >>> 16) + (ip("10.0.0.1") & 0xffff) + (ip("10.0.0.2") >>> 16) + (ip("10.0.0.2") & 0xffff) + 6 + 20;
  v.setUint16(50, sum(f.subarray(34), pseudo));
  return f;
}
function sum(bytes: Uint8Array, init: number): number {
  let s = init;
  for (let i = 0; i < bytes.length; i += 2) s += ((bytes[i] as number) << 8) | (bytes[i + 1] as number);
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
  return ~s & 0xffff;
}

describe("matches", () => {
  test.each([
    ["ip saddr 10.0.0.1", true],
    ["ip saddr != 10.0.0.1", false],
    ["ip saddr 10.0.0.0/24", true],
    ["ip saddr 10.0.1.0/24", false],
    ["ip daddr { 10.0.0.9, 10.0.0.2 }", true],
    ["ip daddr 10.0.0.3-10.0.0.9", false],
    ["ip protocol udp", true],
    ["ip protocol { tcp, icmp }", false],
    ["ip ttl 64", true],
    ["ip ttl < 64", false],
    ["ip length 31", true],
    ["udp dport 53", true],
    ["udp dport domain", true],
    ["udp dport != 53", false],
    ["udp dport 50-60", true],
    ["udp dport { 1, 53 }", true],
    ["udp sport 4000", true],
    ["udp sport >= 4001", false],
    ["th dport 53", true],
    ["tcp dport 53", false],
    ["tcp dport != 53", false],
    ["tcp flags syn", false],
    ["icmp type echo-request", false],
    ['iifname "eth0"', true],
    ['iifname "eth*"', true],
    ['iifname != "eth0"', false],
    ['iif "eth0"', true],
    ['oifname "eth0"', false],
    ["meta l4proto udp", true],
    ["meta mark 0", true],
    ["udp dport 53 ip saddr 10.0.0.1", true],
    ["udp dport 53 ip saddr 10.0.0.3", false],
  ])("%s: %s", (match, yes) => {
    rules(b, `add rule ip filter input ${match} drop`);
    expect(send()[1]).toBe(!yes);
  });

  test.each([
    ["tcp flags syn", true],
    ["tcp flags & (syn|ack) == syn", true],
    ["tcp flags & (syn|ack) == ack", false],
    ["tcp flags ack", false],
    ["tcp flags == syn", true],
    ["tcp flags syn / syn,ack", true],
  ])("of a SYN: %s: %s", (match, yes) => {
    rules(b, `add rule ip filter input ${match} counter`);
    w.in(() => inject(dev, tcpSyn(9)));
    expect(w.run(b, "nft list ruleset")).toContain(`counter packets ${yes ? 1 : 0} `);
  });
});

describe("writing and listing", () => {
  test("what is listed can be read again", () => {
    rules(
      b,
      "add chain ip filter c",
      "add rule ip filter input ip saddr { 10.0.0.1, 10.0.0.8/30 } tcp dport { 22, 80-90 } accept",
      'add rule ip filter input iifname "eth0" udp sport != 53 counter drop comment "no answers"',
      "add rule ip filter input icmp type echo-request limit rate 5/second burst 5 packets accept",
      "add rule ip filter input tcp flags syn / syn,ack jump c",
      "add rule ip filter c reject with icmp host-unreachable",
      "add rule ip filter c queue num 3 bypass",
      'add rule ip filter c log prefix "x: " meta mark set 5 return',
    );
    const listed = w.run(b, "nft list ruleset");
    expect(listed).toBe(`table ip filter {
	chain output {
		type filter hook output priority filter; policy accept;
	}

	chain input {
		type filter hook input priority filter; policy accept;
		ip saddr { 10.0.0.1, 10.0.0.8/30 } tcp dport { 22, 80-90 } accept
		iifname "eth0" udp sport != 53 counter packets 0 bytes 0 drop comment "no answers"
		icmp type echo-request limit rate 5/second burst 5 packets accept
		tcp flags syn / syn,ack jump c
	}

	chain c {
		reject with icmp host-unreachable
		queue flags bypass to 3
		log prefix "x: " meta mark set 0x00000005 return
	}
}
`);
    w.run(b, "nft flush ruleset");
    expect(w.run(b, "nft list ruleset")).toBe("");
    const r = w.try(b, `nft ${listed}`);
    expect([r.code, r.stderr]).toEqual([0, ""]);
    expect(w.run(b, "nft list ruleset")).toBe(listed);
  });

  test("insert, replace, delete by handle", () => {
    rules(b, "add rule ip filter input udp dport 1 accept", "add rule ip filter input udp dport 2 accept");
    w.run(b, "nft insert rule ip filter input udp dport 0 accept");
    expect(w.run(b, "nft -a list chain ip filter input")).toBe(`table ip filter { # handle 1
	chain input { # handle 2
		type filter hook input priority filter; policy accept;
		udp dport 0 accept # handle 5
		udp dport 1 accept # handle 3
		udp dport 2 accept # handle 4
	}
}
`);
    w.run(b, "nft replace rule ip filter input handle 3 udp dport 7 drop\nnft delete rule ip filter input handle 4");
    expect(w.run(b, "nft list chain ip filter input")).toContain("udp dport 0 accept\n\t\tudp dport 7 drop\n\t}");
  });

  test.each([
    ["add rule ip filter output foo", 'Error: syntax error, unexpected "foo"'],
    ["add rule ip filter output tcp foo 5", 'Error: syntax error, unexpected "foo"'],
    ["add rule ip filter output ct state new", 'Error: syntax error, unexpected "ct"'],
    ["add rule ip filter output udp dport 70000", "Error: Value 70000 exceeds valid range 0-65535"],
    ["add rule ip filter output ip saddr 10.0.0.300", 'Error: Could not resolve hostname: "10.0.0.300" is no address'],
    ["add rule ip nope output drop", 'Error: No such file or directory; no table "ip nope"'],
    ["add rule ip filter nope drop", 'Error: No such file or directory; no chain "nope" in table "ip filter"'],
    ["add rule ip filter output jump nope", "Error: Could not process rule: No such file or directory"],
    ["add rule ip filter output", "Error: syntax error, unexpected end of input"],
    ["add chain ip filter x { type nat hook output priority 0; }", 'Error: chain type "nat" is not supported'],
    ["add chain ip filter x { type filter hook foo priority 0; }", 'Error: unknown chain hook "foo"'],
    ["add table ip6 x", 'Error: family "ip6" is not supported'],
    ["create table ip filter", "Error: Could not process rule: File exists"],
    ["delete chain ip filter busy", "Error: Could not process rule: Device or resource busy"],
    ["foo", 'Error: syntax error, unexpected "foo"'],
    ["list foo", 'Error: syntax error, unexpected "foo"'],
  ])("nft %s", (line, complaint) => {
    rules(b, "add chain ip filter busy", "add rule ip filter output jump busy");
    const r = w.try(b, `nft ${line}`);
    expect([r.code, r.stderr.split("\n")[0]]).toEqual([1, complaint]);
  });

  test("loops of jumps are refused", () => {
    rules(b, "add chain ip filter c", "add chain ip filter d", "add rule ip filter c jump d");
    expect(w.try(b, "nft add rule ip filter d jump c").stderr).toContain("Too many levels of symbolic links");
  });
});
