/**
 * The `ip` command by itself: words and answers as iproute2 6.1 on Linux 6.18 has them (test/interop/iproute2.test.ts
 * compares far more with the real one, where it can run).
 */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Net } from "../../src/net/core/net_namespace.ts";
import { World } from "./world.ts";

let w: World;
let a: Net;

beforeEach(() => {
  w = new World();
  a = w.net("a");
  w.net("b");
});
afterEach(() => w.close());

/** A transcript: a line with `$` is a command; what follows is what it prints, and `=> N` if it fails. */
function transcript(text: string): void {
  const lines = text.replace(/^\n/, "").split("\n");
  for (let i = 0; i < lines.length; ) {
    const line = lines[i++] as string;
    if (line.trim() === "") continue;
    expect(line.startsWith("$ "), line).toBe(true);
    const wanted: string[] = [];
    while (i < lines.length && !(lines[i] as string).startsWith("$ ")) wanted.push(lines[i++] as string);
    while (wanted.length > 0 && wanted.at(-1)?.trim() === "") wanted.pop();
    const r = w.try(a, line.slice(2));
    const got = (r.stderr + r.stdout).split("\n").filter((l) => l !== "");
    if (r.code !== 0) got.push(`=> ${r.code}`);
    const mac = (l: string): string => l.replace(/(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC").trimEnd();
    expect(got.map(mac), line).toEqual(wanted.map(mac));
  }
}

describe("ip link", () => {
  test("add, set, show, del", () => {
    transcript(`
$ ip link show
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000
    link/loopback MAC brd MAC
$ ip link add v0 type veth peer name v1 netns b
$ ip link show v0
2: v0@if2: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN mode DEFAULT group default qlen 1000
    link/ether MAC brd MAC link-netns b
$ ip link add v0 type veth
RTNETLINK answers: File exists
=> 2
$ ip link add d0 mtu 1400 address 02:00:00:00:00:07 type dummy
$ ip link set d0 up txqueuelen 5
$ ip link show type dummy
3: d0: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1400 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 5
    link/ether MAC brd MAC
$ ip link set v0 up
$ ip link show v0
2: v0@if2: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state LOWERLAYERDOWN mode DEFAULT group default qlen 1000
    link/ether MAC brd MAC link-netns b
$ ip -n b link set v1 up
$ ip -br link
lo               UNKNOWN        MAC <LOOPBACK,UP,LOWER_UP>
v0@if2           UP             MAC <BROADCAST,MULTICAST,UP,LOWER_UP>
d0               UNKNOWN        MAC <BROADCAST,NOARP,UP,LOWER_UP>
$ ip link set v0 name lan
$ ip link set lan netns b
$ ip link show lan
Device "lan" does not exist.
=> 1
$ ip -n b link del lan
$ ip -n b link show v1
Device "v1" does not exist.
=> 1
$ ip link del d0
$ ip link del lo
RTNETLINK answers: Operation not supported
=> 2
`);
  });

  test.each([
    ["ip link add", 1, 'Not enough information: "type" argument is required'],
    ["ip link add x type nosuch", 2, "Error: Unknown device type."],
    ["ip link add verylongname12345678 type veth", 2, "Error: Attribute failed policy validation."],
    ["ip link add x type veth foo", 1, "Usage: ip link <options> type veth [peer <options>]"],
    ["ip link set", 255, 'Not enough information: "dev" argument is required.'],
    ["ip link set nope up", 1, 'Cannot find device "nope"'],
    ["ip link set lo foo", 255, 'Error: either "dev" is duplicate, or "foo" is a garbage.'],
    ["ip link set lo mtu foo", 255, 'Error: argument "foo" is wrong: Invalid "mtu" value'],
    ["ip link set lo mtu", 255, 'Command line is not complete. Try option "help"'],
    ["ip link set lo arp maybe", 255, 'Error: argument of "arp" must be "on" or "off", not "maybe"'],
    ["ip link set lo netns nope", 255, 'Error: argument "nope" is wrong: Invalid "netns" value'],
    ["ip link show lo foo", 255, 'Error: either "dev" is duplicate, or "foo" is a garbage.'],
    ["ip link foo", 255, 'Command "foo" is unknown, try "ip link help".'],
    ["ip foo", 1, 'Object "foo" is unknown, try "ip help".'],
    ["ip -z", 255, 'Option "-z" is unknown, try "ip -help".'],
    ["ip addr foo", 255, 'Command "foo" is unknown, try "ip address help".'],
    ["ip addr add 10.0.0.1/24", 1, 'Not enough information: "dev" argument is required.'],
    ["ip addr add 10.0.0.1/24 dev lo foo", 255, 'Error: either "local" is duplicate, or "foo" is a garbage.'],
    ["ip addr add 10.0.0.300/24 dev lo", 1, 'Error: any valid prefix is expected rather than "10.0.0.300/24".'],
    ["ip addr add 10.0.0.1/24 dev lo scope foo", 255, 'Error: argument "foo" is wrong: invalid scope value.'],
    ["ip addr add 10.0.0.1/24 dev lo valid_lft 10 preferred_lft 50", 1, "preferred_lft is greater than valid_lft"],
    ["ip addr del 10.0.0.1/24 dev lo", 2, "Error: ipv4: Address not found."],
    ["ip addr flush", 1, "Flush requires arguments."],
    ["ip route add 10.0.0.0/8 dev lo foo", 255, 'Error: either "to" is duplicate, or "foo" is a garbage.'],
    ["ip route add 10.0.0.0/8", 2, "RTNETLINK answers: No such device"],
    ["ip route add 10.0.0.0/8 via 1.2.3.4", 2, "Error: Nexthop has invalid gateway."],
    [
      "ip route add 10.0.0.0/8 dev lo rto_min lock 5ms",
      255,
      'Error: argument "lock" is wrong: "rto_min" value is invalid',
    ],
    ["ip route add 10.0.0.0/8 dev lo features foo", 255, 'Error: argument "foo" is wrong: "features" value not valid'],
    ["ip route add 10.0.0.0/8 dev lo congctl nosuch", 2, "Error: Unknown tcp congestion algorithm."],
    [
      "ip route add 10.0.0.0/8 nexthop via 10.0.0.1 weight 300",
      255,
      'Error: argument "300" is wrong: "weight" is invalid',
    ],
    ["ip route del 10.0.0.0/8", 2, "RTNETLINK answers: No such process"],
    ["ip route get 8.8.8.8", 2, "RTNETLINK answers: Network is unreachable"],
    ["ip route get", 1, "need at least a destination address"],
    ["ip route flush", 1, '"ip route flush" requires arguments.'],
    ["ip route show table 999", 2, "Error: ipv4: FIB table does not exist."],
    ["ip route foo", 255, 'Command "foo" is unknown, try "ip route help".'],
    ["ip rule add foo", 255, 'Error: argument "foo" is wrong: Failed to parse rule type'],
    ["ip rule del pref 77", 2, "RTNETLINK answers: No such file or directory"],
    ["ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09", 255, "Device and destination are required arguments."],
    ["ip neigh add 10.0.0.9 dev lo nud foo", 255, 'Error: argument "foo" is wrong: nud state is bad'],
    ["ip neigh change 10.0.0.9 dev lo lladdr 02:00:00:00:00:09", 2, "RTNETLINK answers: No such file or directory"],
    ["ip neigh flush", 1, "Flush requires arguments."],
    ["ip neigh get 10.0.0.9 dev lo", 2, "Error: Neighbour entry not found."],
    ["ip netns foo", 255, 'Command "foo" is unknown, try "ip netns help".'],
    ["ip netns add a", 1, 'Cannot create namespace file "/run/netns/a": File exists'],
    ["ip netns del nope", 1, 'Cannot remove namespace file "/run/netns/nope": No such file or directory'],
    ["ip netns exec b ls", 255, 'exec of "ls" failed: No such file or directory'],
  ])("%s: exit %d", (line, code, complaint) => {
    const r = w.try(a, line);
    expect([r.code, r.stderr.split("\n")[0]]).toEqual([code, complaint]);
    expect(r.stdout).toBe("");
  });
});

describe("ip address", () => {
  test("order, scopes, secondary ones; what routes they bring", () => {
    transcript(`
$ ip link add v0 type veth peer name v1 netns b
$ ip addr add 10.0.0.1/24 dev v0
$ ip addr add 10.0.0.1/24 dev v0
Error: ipv4: Address already assigned.
=> 2
$ ip addr add 10.0.0.2/24 dev v0
$ ip addr add 10.0.0.10 peer 10.0.0.11 dev v0
$ ip addr add 10.0.1.1/24 brd + dev v0 label v0:1
$ ip addr add 10.0.2.1/24 dev v0 scope link
$ ip addr add 10.0.7.1/24 dev v0 valid_lft 100 preferred_lft 50
$ ip -4 addr show v0
2: v0@if2: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN group default qlen 1000 link-netns b
    inet 10.0.2.1/24 scope link v0
       valid_lft forever preferred_lft forever
    inet 10.0.0.1/24 scope global v0
       valid_lft forever preferred_lft forever
    inet 10.0.0.10 peer 10.0.0.11/32 scope global v0
       valid_lft forever preferred_lft forever
    inet 10.0.1.1/24 brd 10.0.1.255 scope global v0:1
       valid_lft forever preferred_lft forever
    inet 10.0.7.1/24 scope global dynamic v0
       valid_lft 100sec preferred_lft 50sec
    inet 10.0.0.2/24 scope global secondary v0
       valid_lft forever preferred_lft forever
$ ip addr del 10.0.0.1/24 dev v0
$ ip -o -4 addr show v0
2: v0    inet 10.0.2.1/24 scope link v0\\       valid_lft forever preferred_lft forever
2: v0    inet 10.0.0.10 peer 10.0.0.11/32 scope global v0\\       valid_lft forever preferred_lft forever
2: v0    inet 10.0.1.1/24 brd 10.0.1.255 scope global v0:1\\       valid_lft forever preferred_lft forever
2: v0    inet 10.0.7.1/24 scope global dynamic v0\\       valid_lft 100sec preferred_lft 50sec
$ ip link set v0 up
$ ip route show table all dev v0
10.0.0.11 proto kernel scope link src 10.0.0.10 linkdown
10.0.1.0/24 proto kernel scope link src 10.0.1.1 linkdown
10.0.2.0/24 proto kernel scope link src 10.0.2.1 linkdown
10.0.7.0/24 proto kernel scope link src 10.0.7.1 linkdown
local 10.0.0.10 table local proto kernel scope host src 10.0.0.10
local 10.0.1.1 table local proto kernel scope host src 10.0.1.1
broadcast 10.0.1.255 table local proto kernel scope link src 10.0.1.1 linkdown
local 10.0.2.1 table local proto kernel scope host src 10.0.2.1
broadcast 10.0.2.255 table local proto kernel scope link src 10.0.2.1 linkdown
local 10.0.7.1 table local proto kernel scope host src 10.0.7.1
broadcast 10.0.7.255 table local proto kernel scope link src 10.0.7.1 linkdown
$ ip addr flush dev v0
$ ip route show table all dev v0
`);
  });

  test("lifetimes run out", () => {
    w.run(a, "ip link add v0 type dummy\nip addr add 10.0.7.1/24 dev v0 valid_lft 100 preferred_lft 50");
    w.advance(50e6);
    expect(w.run(a, "ip -o addr show v0")).toBe(
      "2: v0    inet 10.0.7.1/24 scope global deprecated dynamic v0\\       valid_lft 50sec preferred_lft 0sec\n",
    );
    w.advance(50e6);
    expect(w.run(a, "ip -o addr show v0")).toBe("");
  });
});

describe("ip route and ip rule", () => {
  test("types, metrics, several next hops, rules", () => {
    w.run(a, "ip link add v0 type dummy\nip addr add 10.0.0.1/24 dev v0\nip link set v0 up");
    transcript(`
$ ip route add default via 10.0.0.2
$ ip route add default via 10.0.0.3
RTNETLINK answers: File exists
=> 2
$ ip route replace default via 10.0.0.3
$ ip route add 10.9.0.0/16 via 10.0.0.2 mtu lock 1400 advmss 1300 initcwnd 20 rto_min 300ms congctl reno features ecn
$ ip route add 10.14.0.0/16 nexthop via 10.0.0.2 weight 2 nexthop via 10.0.0.3 weight 1
$ ip route add unreachable 10.10.0.0/16 metric 7
$ ip route add 10.16.0.0/16 dev v0 table 100
$ ip route
default via 10.0.0.3 dev v0
10.0.0.0/24 dev v0 proto kernel scope link src 10.0.0.1
10.9.0.0/16 via 10.0.0.2 dev v0 mtu lock 1400 advmss 1300 initcwnd 20 features ecn rto_min lock 300ms congctl reno
unreachable 10.10.0.0/16 metric 7
10.14.0.0/16
	nexthop via 10.0.0.2 dev v0 weight 2
	nexthop via 10.0.0.3 dev v0 weight 1
$ ip route get 10.10.1.1
RTNETLINK answers: No route to host
=> 2
$ ip route get 10.9.0.1
10.9.0.1 via 10.0.0.2 dev v0 src 10.0.0.1 uid 0
    cache mtu lock 1400 advmss 1300 initcwnd 20 features ecn rto_min lock 300ms congctl reno
$ ip rule add fwmark 5 table 100
$ ip rule show
0:	from all lookup local
32765:	from all fwmark 0x5 lookup 100
32766:	from all lookup main
32767:	from all lookup default
$ ip route get 10.16.0.1 mark 5
10.16.0.1 dev v0 table 100 src 10.0.0.1 mark 5 uid 0
    cache
$ ip route get 10.16.0.1
10.16.0.1 via 10.0.0.3 dev v0 src 10.0.0.1 uid 0
    cache
$ ip rule del fwmark 5 table 100
$ ip rule show
0:	from all lookup local
32766:	from all lookup main
32767:	from all lookup default
`);
  });

  test("namespaces", () => {
    transcript(`
$ ip netns
b
a
$ ip netns add c
$ ip netns exec c ip -br addr
lo               UNKNOWN        127.0.0.1/8
$ ip netns exec c sysctl net.ipv4.ip_forward=1
net.ipv4.ip_forward = 1
$ ip netns exec c tc qdisc show
qdisc noqueue 0: dev lo root refcnt 2
$ ip netns del c
$ ip netns exec c ip addr
Cannot open network namespace "c": No such file or directory
=> 1
`);
  });
});
