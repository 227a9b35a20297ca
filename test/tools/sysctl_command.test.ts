/** The `sysctl` command, and the settings of a namespace behind it. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Net } from "../../src/net/core/net_namespace.ts";
import { inDevGet } from "../../src/net/ipv4/devinet.ts";
import { IPV4_DEVCONF_FORWARDING } from "../../src/uapi/ip.ts";
import { World } from "./world.ts";

let w: World;
let a: Net;
beforeEach(() => {
  w = new World();
  a = w.net("a");
});
afterEach(() => w.close());

describe("words", () => {
  test.each([
    ["net.ipv4.tcp_sack", 0, "net.ipv4.tcp_sack = 1\n", ""],
    ["net/ipv4/tcp_sack", 0, "net.ipv4.tcp_sack = 1\n", ""],
    ["-n net.ipv4.tcp_rmem", 0, "4096\t131072\t33554432\n", ""],
    ["-N net.ipv4.tcp_sack", 0, "net.ipv4.tcp_sack\n", ""],
    ["-w net.ipv4.tcp_sack=0 net.ipv4.tcp_dsack=0", 0, "net.ipv4.tcp_sack = 0\nnet.ipv4.tcp_dsack = 0\n", ""],
    ["-q net.ipv4.tcp_sack=0", 0, "", ""],
    ["net.ipv4.tcp_rmem='4096 5 6'", 0, "net.ipv4.tcp_rmem = 4096 5 6\n", ""],
    ["net.ipv4.tcp_rmem=4096 5 6", 0, "net.ipv4.tcp_rmem = 4096 5 6\n", ""],
    ["net.ipv4.tcp_sack = 0", 0, "net.ipv4.tcp_sack = 0\n", ""],
    ["net.ipv4.nosuch", 1, "", "sysctl: cannot stat /proc/sys/net/ipv4/nosuch: No such file or directory\n"],
    ["-e net.ipv4.nosuch", 0, "", ""],
    [
      "net.ipv4.nosuch net.ipv4.tcp_sack",
      1,
      "net.ipv4.tcp_sack = 1\n",
      "sysctl: cannot stat /proc/sys/net/ipv4/nosuch: No such file or directory\n",
    ],
    ["net.ipv4.tcp_sack=foo", 1, "", 'sysctl: setting key "net.ipv4.tcp_sack": Invalid argument\n'],
    [
      "net.ipv4.tcp_congestion_control=foo",
      1,
      "",
      'sysctl: setting key "net.ipv4.tcp_congestion_control": No such file or directory\n',
    ],
    ["-z", 1, "", "sysctl: invalid option -- 'z'\n"],
    ["", 1, "", "sysctl: no variables specified\n"],
  ])("sysctl %s", (line, code, stdout, stderr) => {
    expect(w.try(a, `sysctl ${line}`)).toEqual({ code, stdout, stderr });
  });

  test("-a lists everything, sorted", () => {
    const lines = w.run(a, "sysctl -a").trim().split("\n");
    expect(lines.length).toBeGreaterThan(250);
    expect(lines).toEqual([...lines].sort());
    expect(lines).toContain("net.ipv4.tcp_congestion_control = cubic");
    expect(lines).toContain("net.core.somaxconn = 4096");
  });
});

describe("bounds", () => {
  test.each([
    ["net.ipv4.tcp_sack", ["0", "255"], ["-1", "256", "x", ""]],
    ["net.ipv4.tcp_syn_retries", ["1", "127"], ["0", "128"]],
    ["net.ipv4.tcp_rto_max_ms", ["1000", "120000"], ["999", "120001"]],
    ["net.ipv4.tcp_notsent_lowat", ["0", "4294967295"], ["-1", "4294967296"]],
    ["net.ipv4.ip_default_ttl", ["1", "255"], ["0", "256"]],
    ["net.ipv4.tcp_wmem", ["1 2 3", "4096 16384 4194304"], ["0 1 1", "1 2 3 4"]],
    ["net.ipv4.ip_local_port_range", ["1024\t65535", "2000 3000"], ["3000 2000", "1 2", "1000 70000"]],
    ["net.ipv4.conf.lo.rp_filter", ["0", "2"], ["x"]],
    ["net.core.default_qdisc", ["fq", "fq_codel"], ["nosuch", ""]],
    ["net.core.rmem_max", ["2304"], ["2303"]],
  ])("%s", (name, good, bad) => {
    const entry = a.sysctlTable.get(name);
    if (entry === undefined) throw new Error(name);
    w.in(() => {
      for (const value of good) {
        expect(entry.set(value), value).toBe(0);
        expect(entry.get().replace(/\t/g, " ")).toBe(value.replace(/\t/g, " "));
      }
      const before = entry.get();
      for (const value of bad) {
        expect(entry.set(value), value).toBeLessThan(0);
        expect(entry.get()).toBe(before);
      }
    });
  });
});

describe("units", () => {
  test("seconds in /proc, jiffies in the field", () => {
    w.run(a, "sysctl net.ipv4.tcp_keepalive_time=10 net.ipv4.tcp_fin_timeout=7");
    expect([a.ipv4.sysctlTcpKeepaliveTime, a.ipv4.sysctlTcpFinTimeout]).toEqual([10_000, 7_000]);
    expect(w.run(a, "sysctl -n net.ipv4.tcp_fin_timeout")).toBe("7\n");
  });
  test("neighbour times: two names for one value", () => {
    w.run(a, "sysctl net.ipv4.neigh.lo.retrans_time_ms=250");
    expect(w.run(a, "sysctl -n net.ipv4.neigh.lo.retrans_time")).toBe("25\n");
  });
});

describe("devices", () => {
  test("ip_forward speaks for all, and for those to come", () => {
    w.run(a, "ip link add d0 type dummy\nsysctl net.ipv4.ip_forward=1\nip link add d1 type dummy");
    for (const name of ["all", "default", "lo", "d0", "d1"]) {
      expect(w.run(a, `sysctl -n net.ipv4.conf.${name}.forwarding`), name).toBe("1\n");
    }
    const dev = a.devByName.get("d1");
    expect(dev === undefined ? 0 : inDevGet(dev)?.cnf.data[IPV4_DEVCONF_FORWARDING]).toBe(1);
  });

  test("a default reaches devices that have no value of their own", () => {
    w.run(
      a,
      `ip link add d0 type dummy
       ip link add d1 type dummy
       sysctl net.ipv4.conf.d0.arp_ignore=1
       sysctl net.ipv4.conf.default.arp_ignore=2`,
    );
    expect(w.run(a, "sysctl -n net.ipv4.conf.d0.arp_ignore")).toBe("1\n");
    expect(w.run(a, "sysctl -n net.ipv4.conf.d1.arp_ignore")).toBe("2\n");
  });

  test("names follow the device", () => {
    w.run(a, "ip link add d0 type dummy\nsysctl net.ipv4.conf.d0.arp_ignore=3\nip link set d0 name lan");
    expect(w.run(a, "sysctl -n net.ipv4.conf.lan.arp_ignore")).toBe("3\n");
    expect(w.try(a, "sysctl net.ipv4.conf.d0.arp_ignore").code).toBe(1);
    w.run(a, "ip link del lan");
    expect(w.try(a, "sysctl net.ipv4.conf.lan.arp_ignore").code).toBe(1);
  });
});
