/**
 * The same configuration commands, run by the real tools in network namespaces and by ours on hosts, have to mean the same:
 * what they print and exit with is compared, one command at a time. IPv6, link addresses, and what depends on the machine
 * (the qdiscs that its kernel has) is left out.
 */

import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Net } from "../../src/net/core/net_namespace.ts";
import { World } from "../tools/world.ts";
import { missing, Namespace } from "./namespace.ts";

const lacks = missing();

/** Lines that need not agree. */
const SKIPPED = /inet6|fe80::|::1|ff00::|^\s*valid_lft .*sec/;

function normalize(text: string): string {
  return text
    .split("\n")
    .filter((line) => !SKIPPED.test(line))
    .map((line) => line.replace(/(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC").replace(/ link-netns \S+/, " link-netns N"))
    .join("\n");
}

function real(ns: Namespace, line: string): { code: number; stdout: string; stderr: string } {
  const words = line.match(/"[^"]*"|\S+/g)?.map((w) => w.replace(/^"|"$/g, "")) ?? [];
  const r = spawnSync("ip", ["netns", "exec", ns.name, ...words], { encoding: "utf8" });
  return { code: r.status ?? -1, stdout: r.stdout, stderr: r.stderr };
}

describe.skipIf(lacks !== "")(`iproute2 in a real namespace${lacks === "" ? "" : ` (SKIP: ${lacks})`}`, () => {
  let ns: Namespace;
  let other: Namespace;
  let w: World;
  let net: Net;

  beforeAll(() => {
    ns = new Namespace();
    other = new Namespace();
    w = new World();
    net = w.net(ns.name);
    w.net(other.name);
  });
  afterAll(async () => {
    await ns?.close();
    await other?.close();
    w?.close();
  });

  /** Runs each line in both, and compares the exit codes, the output, and the first line of the complaint. */
  function same(script: string): void {
    for (const raw of script.trim().split("\n")) {
      const line = raw.trim().replaceAll("OTHER", other.name);
      if (line === "") continue;
      const theirs = real(ns, line);
      const ours = w.try(net, line);
      const first = (s: string): string => s.split("\n")[0] ?? "";
      expect(
        { line, code: ours.code, stdout: normalize(ours.stdout), stderr: first(ours.stderr) },
        `real: ${JSON.stringify(theirs)}`,
      ).toEqual({ line, code: theirs.code, stdout: normalize(theirs.stdout), stderr: first(theirs.stderr) });
    }
  }

  test("links", () => {
    same(`
      ip link add v0 type veth peer name v1 netns OTHER
      ip link add v0 type veth peer name v1
      ip link add d0 type nosuchkind
      ip -o link show
      ip link set v0 mtu 10
      ip link set v0 mtu 100000
      ip link set v0 mtu 1400 txqueuelen 77
      ip link set v0 arp off multicast off promisc on allmulticast on
      ip link show v0
      ip link set v0 arp on multicast on promisc off allmulticast off mtu 1500
      ip -d link show nope
      ip link set nope up
      ip link set v0 foo
      ip link set v0 mtu foo
      ip link set v0 address zz
      ip link set v0 address 01:00:00:00:00:00
      ip link set v0 name veth0
      ip link set veth0 name v0
      ip link set v0 master v0
      ip link del lo
      ip link del nope
      ip link add p0 type veth peer name p1
      ip link show type veth
      ip link set p0 up
      ip link show p0
      ip -br link show p0
      ip link set p1 up
      ip link del p0
      ip link show p1
      ip foo
      ip link foo
      ip -z
    `);
  });

  test("addresses: order, scopes, labels, secondary ones, lifetimes", () => {
    same(`
      ip addr add 10.0.0.1/24 dev v0
      ip addr add 10.0.0.1/24 dev v0
      ip addr add 10.0.0.1/25 dev v0
      ip addr add 10.0.0.2/24 dev v0
      ip addr add 10.0.0.9 dev v0
      ip addr add 10.0.0.10 peer 10.0.0.11 dev v0
      ip addr add 10.0.1.1/24 brd + dev v0 label v0:1
      ip addr add 10.0.2.1/24 broadcast 10.0.2.77 dev v0 scope link
      ip addr add 10.0.3.1/24 dev v0 scope host
      ip addr add 10.0.3.1/24 dev v0
      ip addr add 10.0.5.1/24 dev v0 metric 77
      ip addr add 10.0.6.1/24 dev v0 noprefixroute
      ip addr add 10.0.7.1/24 dev v0 valid_lft 1000 preferred_lft 500
      ip addr add 0.0.0.0/24 dev v0
      ip addr add 10.0.0.300/24 dev v0
      ip addr add 10.0.0.1/33 dev v0
      ip addr add 10.0.0.1/24 dev nope
      ip addr add 10.0.0.1/24 dev v0 foo
      ip -4 -o addr
      ip -4 addr show dev v0
      ip -4 addr show dev v0 primary
      ip -4 addr show to 10.0.0.0/24
      ip -4 addr show label v0:1
      ip -4 route show table all
      ip link set v0 up
      ip -4 route show table all
      ip addr del 10.0.0.1/24 dev v0
      ip -4 -o addr show v0
      ip -4 route show table all
      ip addr del 10.0.0.77/24 dev v0
      ip addr del 10.0.1.1/24 dev v0
      ip addr del 10.0.2.1/24 dev v0
      ip -4 route show table all
      ip addr change 10.0.5.1/24 dev v0 metric 78
      ip -4 route show table main
      ip link set v0 down
      ip -4 route show table all
      ip addr flush dev v0
      ip -4 route show table all
      ip -4 -o addr
    `);
  });

  test("promoted secondary addresses", () => {
    same(`
      sysctl -q -w net.ipv4.conf.v0.promote_secondaries=1
      ip addr add 10.1.0.1/24 dev v0
      ip addr add 10.1.0.2/24 dev v0
      ip addr add 10.2.0.1/24 dev v0
      ip addr add 10.1.0.3/24 dev v0
      ip link set v0 up
      ip -4 -o addr show v0
      ip addr del 10.1.0.1/24 dev v0
      ip -4 -o addr show v0
      ip -4 route show table all
      ip addr del 10.1.0.2/24 dev v0
      ip -4 route show table all
      ip addr flush dev v0
      ip link set v0 down
      sysctl -q -w net.ipv4.conf.v0.promote_secondaries=0
    `);
  });

  test("routes: what can be added, and how it is listed", () => {
    same(`
      ip addr add 10.0.0.1/24 dev v0
      ip route add default via 10.0.0.2
      ip route add 10.5.0.0/16 dev v0
      ip link set v0 up
      ip -4 route show
      ip route add 10.5.0.0/16 dev v0
    `);
    other.run("ip", "addr", "add", "10.0.0.2/24", "dev", "v1");
    other.run("ip", "link", "set", "v1", "up");
    w.run([...netsByName(w, other.name)][0] as Net, "ip addr add 10.0.0.2/24 dev v1\nip link set v1 up");
    same(`
      ip -4 route show
      ip route add default via 10.0.0.2
      ip route add default via 10.0.0.2
      ip route add default via 10.0.0.3 metric 5
      ip route append default via 10.0.0.3
      ip route prepend default via 10.0.0.4
      ip route change default via 10.0.0.5
      ip route replace default via 10.0.0.6 metric 5
      ip route replace 10.9.0.0/16 via 10.0.0.2 mtu 1400 advmss 1300 hoplimit 10 initcwnd 20 initrwnd 30
      ip route change 10.9.0.0/16 via 10.0.0.2 rto_min 300ms congctl reno quickack 1 features ecn window 1000
      ip route show 10.9.0.0/16
      ip route change 10.9.0.0/16 via 10.0.0.2 rtt 100 rttvar 10ms ssthresh 9 cwnd 8 reordering 7
      ip route show 10.9.0.0/16
      ip route change 10.9.0.0/16 via 10.0.0.2 mtu lock 1200 hoplimit lock 9 src 10.0.0.1 proto static
      ip route show 10.9.0.0/16
      ip route change 10.9.1.0/16 via 10.0.0.2
      ip route add 10.9.1.0/24 via 10.99.0.2
      ip route add 10.9.1.0/24 via 10.0.0.1
      ip route add 10.9.2.0/24 via 10.99.0.2 onlink
      ip route add 10.9.2.0/24 via 10.99.0.2 dev v0 onlink
      ip route add 10.9.3.0/24 dev nope
      ip route add 10.9.3.0/24
      ip route add unreachable 10.10.0.0/16
      ip route add blackhole 10.11.0.0/16
      ip route add prohibit 10.12.0.0/16 metric 7
      ip route add throw 10.13.0.0/16
      ip route add 10.14.0.0/16 nexthop via 10.0.0.2 weight 2 nexthop via 10.0.0.3 dev v0 weight 1
      ip route add 10.15.0.0/16 via 10.0.0.2 tos 0x10
      ip route add 10.15.0.0/16 via 10.0.0.3
      ip route add 10.16.0.0/16 dev v0 src 10.0.0.99
      ip route add 10.16.0.0/16 dev v0 src 10.0.0.1 table 100
      ip route add local 10.17.0.0/16 dev lo
      ip route add broadcast 10.18.0.0/16 dev v0
      ip route add 10.19.0.0/16 dev v0 scope host
      ip route add 10.20.0.0/16 via 10.0.0.2 foo
      ip route add 300.0.0.0/8 via 10.0.0.2
      ip route add 10.20.0.0/16 congctl nosuch via 10.0.0.2
      ip route add multicast 239.0.0.0/8 dev v0
      ip route add 224.0.0.0/4 dev v0
      ip -4 route show
      ip -4 route show table all
      ip route show table 100
      ip route show table 999
      ip route show root 10.9.0.0/16
      ip route show match 10.9.1.1
      ip route show exact 10.9.0.0/16
      ip route show via 10.0.0.2
      ip route show dev v0
      ip route show proto static
      ip route show type unreachable
      ip route show scope link
      ip route show metric 5
      ip -o route show 10.14.0.0/16
    `);
  });

  test("route get: the same decisions", () => {
    same(`
      ip route get 10.0.0.2
      ip route get 10.0.0.1
      ip route get 127.0.0.1
      ip route get 127.9.9.9
      ip route get 8.8.8.8
      ip route get 10.9.0.1
      ip route get 10.9.1.1
      ip route get 10.9.2.1
      ip route get 10.10.0.1
      ip route get 10.11.0.1
      ip route get 10.12.0.1
      ip route get 10.13.0.1
      ip route get 10.15.0.1 tos 0x10
      ip route get 10.15.0.1
      ip route get 10.17.3.4
      ip route get 10.19.0.1
      ip route get 255.255.255.255
      ip route get 10.0.0.255
      ip route get 10.0.0.0
      ip route get 224.0.0.5
      ip route get 239.1.1.1
      ip route get 10.0.0.2 from 10.0.0.1
      ip route get 10.0.0.2 from 10.0.0.77
      ip route get 10.0.0.2 from 127.0.0.1
      ip route get 10.0.0.2 oif v0
      ip route get 10.0.0.2 oif lo
      ip route get 10.99.0.1 oif v0
      ip route get 10.0.0.1 from 10.0.0.2 iif v0
      ip route get 10.9.0.1 from 10.0.0.2 iif v0
      ip route get 10.0.0.255 from 10.0.0.2 iif v0
      ip route get 10.0.0.1 from 10.0.0.1 iif v0
      ip route get 127.0.0.1 from 10.0.0.2 iif v0
      ip route get 10.0.0.1 from 127.0.0.1 iif v0
      ip route get 10.0.0.1 from 224.0.0.1 iif v0
      ip route get 10.0.0.2 mark 5
      ip route get fibmatch 10.9.0.1
      ip route get fibmatch 10.0.0.1
      ip route get 0.0.0.0
      ip -o route get 10.9.0.1
      ip route get
      sysctl -q -w net.ipv4.ip_forward=1
      ip route get 10.9.0.1 from 10.0.0.2 iif v0
      ip route get 10.9.0.1 from 10.8.0.2 iif v0
      ip route get 10.10.0.1 from 10.0.0.2 iif v0
      ip route get 10.0.0.77 from 10.0.0.2 iif v0
      sysctl -q -w net.ipv4.conf.v0.rp_filter=1
      ip route get 10.0.0.1 from 10.10.0.2 iif v0
      ip route get 10.0.0.1 from 10.17.0.2 iif v0
      ip route get 10.0.0.1 from 10.9.0.2 iif v0
      sysctl -q -w net.ipv4.conf.v0.rp_filter=0
      sysctl -q -w net.ipv4.ip_forward=0
      ip route get 10.9.0.1 from 10.0.0.2 iif v0
    `);
  });

  test("rules", () => {
    same(`
      ip rule show
      ip rule add from 10.0.0.0/8 table 100
      ip rule add fwmark 5 table 100 pref 50
      ip rule add fwmark 6/0xff lookup main prio 51
      ip rule add to 10.1.0.0/16 iif v0 oif lo tos 0x10 unreachable pref 52
      ip rule add ipproto tcp sport 5 dport 10-20 blackhole pref 53
      ip rule add from all goto 32766 pref 55
      ip rule add table main suppress_prefixlength 0 pref 56
      ip rule add foo
      ip rule show
      ip rule list table 100
      ip route get 10.16.0.1 mark 5
      ip route get 10.16.0.1 mark 6
      ip route get 10.16.0.1
      ip route get 10.10.0.1 mark 5
      ip route get 8.8.8.8 ipproto tcp sport 5 dport 15
      ip route get 8.8.8.8 ipproto tcp sport 5 dport 25
      ip rule del pref 55
      ip route get 10.16.0.1
      ip route get 8.8.8.8
      ip rule del pref 56
      ip rule del pref 50
      ip rule del pref 50
      ip rule del pref 51
      ip rule del pref 52
      ip rule del pref 53
      ip rule del from 10.0.0.0/8 table 100
      ip rule show
    `);
  });

  test("routes go: deletes, flushes, and with addresses and devices", () => {
    same(`
      ip route del 10.9.0.0/16
      ip route del 10.9.0.0/16
      ip route del default
      ip route del default via 10.0.0.99
      ip route del unreachable 10.10.0.0/16
      ip route del 10.11.0.0/16
      ip route del 10.14.0.0/16
      ip -4 route show table all
      ip route flush table 100
      ip route flush table 5
      ip route add 10.30.0.0/16 dev v0 src 10.0.0.1
      ip addr add 10.4.0.1/24 dev v0
      ip addr del 10.0.0.1/24 dev v0
      ip -4 route show table all
      ip addr add 10.0.0.1/24 dev v0
      ip route add 10.31.0.0/16 via 10.0.0.2
      ip link set v0 down
      ip -4 route show table all
      ip link set v0 up
      ip -4 route show table all
      ip route flush dev v0 proto kernel
      ip -4 route show
    `);
  });

  test("neighbours", () => {
    same(`
      ip addr flush dev v0
      ip addr add 10.0.0.1/24 dev v0
      ip neigh flush all
      ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0
      ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0
      ip neigh add 10.0.0.11 dev v0 nud failed
      ip neigh add 10.0.0.17 dev v0 lladdr 02:00:00:00:00:11 nud foo
      ip neigh add 10.0.0.19 dev v0 lladdr 02:00
      ip neigh add 10.0.0.19 lladdr 02:00:00:00:00:11
      ip neigh add foo dev v0
      ip neigh change 10.0.0.20 dev v0 lladdr 02:00:00:00:00:11
      ip neigh replace 10.0.0.20 dev v0 lladdr 02:00:00:00:00:11 nud stale
      ip neigh show 10.0.0.9
      ip neigh show 10.0.0.20
      ip neigh show 10.0.0.11
      ip neigh change 10.0.0.20 dev v0 lladdr 02:00:00:00:00:12 nud permanent router
      ip neigh show dev v0 10.0.0.20
      ip neigh get 10.0.0.9 dev v0
      ip neigh get 10.0.0.99 dev v0
      ip neigh add proxy 10.0.0.18 dev v0
      ip neigh show proxy
      ip neigh del 10.0.0.9 dev v0
      ip neigh del 10.0.0.9 dev v0
      ip neigh flush dev v0
      ip neigh show dev v0
      ip neigh flush
      ip neigh foo
    `);
  });

  test("sysctl: the same names, values and bounds", () => {
    same(`
      sysctl net.ipv4.tcp_sack
      sysctl -n net.ipv4.tcp_wmem
      sysctl net.ipv4.tcp_sack=1000
      sysctl net.ipv4.tcp_sack=foo
      sysctl -w net.ipv4.tcp_sack=0 net.ipv4.tcp_dsack=0
      sysctl net.ipv4.nosuch net.ipv4.tcp_sack
      sysctl net.ipv4.ip_default_ttl=0
      sysctl net.ipv4.ip_default_ttl=256
      sysctl net.ipv4.tcp_syn_retries=0
      sysctl net.ipv4.tcp_syn_retries=128
      sysctl net.ipv4.tcp_keepalive_time=10
      sysctl net.ipv4.tcp_fin_timeout=0x10
      sysctl net.ipv4.tcp_fin_timeout
      sysctl -e net.ipv4.nosuch
      sysctl -N net.ipv4.tcp_sack
      sysctl net.ipv4.conf.lo.rp_filter=2
      sysctl net.ipv4.conf.lo.rp_filter
      sysctl net.ipv4.conf.default.rp_filter=1
      sysctl net.ipv4.neigh.v0.base_reachable_time_ms=5000
      sysctl net.ipv4.neigh.v0.base_reachable_time
      sysctl net.ipv4.neigh.v0.retrans_time_ms=50
      sysctl net.ipv4.neigh.v0.retrans_time
      sysctl "net.ipv4.ip_local_port_range=40000 30000"
      sysctl net.ipv4.ip_local_reserved_ports=1-3,7,8
      sysctl net.ipv4.ip_local_reserved_ports
      sysctl net.ipv4.tcp_fastopen_key
      sysctl net.ipv4.tcp_fastopen_key=0x1-2-3-123456789
      sysctl net.ipv4.tcp_fastopen_key
      sysctl net.ipv4.tcp_fastopen_key=1-2-3
      sysctl net.ipv4.tcp_fastopen_key=1-2-3-4,a-b-c-d-e
      sysctl net.ipv4.tcp_fastopen_key
      sysctl net.ipv4.tcp_fastopen=0x403
      sysctl net.ipv4.tcp_fastopen
      sysctl net.ipv4.tcp_fastopen_blackhole_timeout_sec=-1
      sysctl net.ipv4.tcp_fastopen_blackhole_timeout_sec=3600
    `);
  });

  test("tcp_metrics", () => {
    same(`
      ip tcp_metrics
      ip tcp_metrics show
      ip tcp_metrics show 10.0.0.9
      ip tcp_metrics show 10.0.0.9/32
      ip tcp_metrics show 10.0.0.9 10.0.0.8
      ip tcp_metrics show address 10.0.0.0/8
      ip tcp_metrics show source 10.0.0.1
      ip tcp_metrics delete
      ip tcp_metrics del 10.0.0.9
      ip tcp_metrics flush
      ip tcp_metrics flush all
      ip tcp_metrics flush 10.0.0.0/24
      ip tcp_metrics frobnicate
      ip tcp_metrics show x
    `);
  });

  test("sysctl: a new namespace starts with the kernel's defaults", async () => {
    const fresh = new Namespace();
    try {
      const ours = w.net("fresh");
      const theirs = new Map<string, string>();
      for (const line of real(fresh, "sysctl -a").stdout.split("\n")) {
        const m = /^(net\.(?:ipv4|core)\.\S+) = ?(.*)$/.exec(line);
        if (m !== null) theirs.set(m[1] as string, m[2] as string);
      }
      // What a distribution's sysctl.d, or the size of the machine, decides; net.core is the machine's, not a namespace's.
      const own = new RegExp(
        [
          "congestion_control$|_mem$|max_tw_buckets$|max_syn_backlog$|ehash|hash_entries|tcp_max_orphans",
          "\\.fastopen|\\.v\\d|^net\\.core|ip_forward|conf\\.(?:all|default)\\.(?:forwarding|rp_filter)",
        ].join("|"),
      );
      // Defaults that a kernel of these days has and the one below this test may not have yet.
      const changed = new Map([["net.ipv4.tcp_comp_sack_slack_ns", "10000"]]);
      const differ: string[] = [];
      let compared = 0;
      for (const [name, entry] of ours.sysctlTable) {
        const value = theirs.get(name);
        if (value === undefined || own.test(name)) continue;
        compared++;
        if (entry.get() !== value && entry.get() !== changed.get(name))
          differ.push(`${name}: ${entry.get()}, real ${value}`);
      }
      expect(differ).toEqual([]);
      expect(compared).toBeGreaterThan(150);
    } finally {
      await fresh.close();
    }
  });

  test("qdiscs that every kernel has", () => {
    // The reference count shows the number of transmit queues; handles are counted by the whole machine.
    const show = (s: string): string => s.replace(/refcnt \d+/g, "refcnt N").replace(/\b8[0-9a-f]{3}:/g, "8xxx:");
    const lines = `
      tc qdisc show dev v0
      tc qdisc add dev v0 root pfifo limit 10
      tc qdisc add dev v0 root pfifo limit 10
      tc qdisc show dev v0
      tc -s qdisc show dev v0
      tc qdisc change dev v0 root pfifo limit 20
      tc qdisc replace dev v0 root bfifo limit 20k
      tc qdisc show dev v0
      tc qdisc replace dev v0 root handle 5: pfifo_fast
      tc qdisc show dev v0
      tc qdisc add dev v0 root foo
      tc qdisc add dev v0 root foo bar
      tc qdisc add dev v0 root pfifo foo
      tc qdisc add dev nope root pfifo
      tc qdisc del dev v0 root
      tc qdisc del dev v0 root
      tc qdisc show dev v0
      tc qdisc foo
      tc foo
    `;
    for (const raw of lines.trim().split("\n")) {
      const line = raw.trim();
      const theirs = real(ns, line);
      const ours = w.try(net, line);
      const first = (s: string): string => s.split("\n")[0] ?? "";
      expect({ line, code: ours.code, stdout: show(ours.stdout), stderr: first(ours.stderr) }).toEqual({
        line,
        code: theirs.code,
        stdout: show(theirs.stdout),
        stderr: first(theirs.stderr),
      });
    }
  });
});

/** The namespaces of a world with that name. */
function netsByName(w: World, name: string): Net[] {
  return w.nets.filter((n) => n.name === name);
}
