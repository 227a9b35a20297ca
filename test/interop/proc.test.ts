/** What a user sees, next to what the real kernel and iproute2 show of the same sockets: /proc/net, ss, nstat, TCP_INFO. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createKernel } from "../../src/init/create.ts";
import { ErrBox } from "../../src/net/core/sock.ts";
import { tcpInfoBytes } from "../../src/net/ipv4/tcp.info.ts";
import type { TcpInfo } from "../../src/net/ipv4/tcp_sockopt.ts";
import {
  AF_INET,
  SO_KEEPALIVE,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
} from "../../src/uapi/socket.ts";
import { TCP_INFO } from "../../src/uapi/tcp.ts";
import { missing, Namespace } from "./namespace.ts";

/** The situation, on the loopback device: the same calls as `ours` makes. Prints what there is to see, as JSON. */
const THEIRS = `
import json, socket, subprocess, time
A = '127.0.0.1'
def tcp():
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); return s
l = tcp(); l.bind((A, 8080)); l.listen(5)
c = tcp(); c.bind((A, 9001)); c.connect((A, 8080)); s, _ = l.accept()
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
c.send(b'x' * 1000)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind((A, 53))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.bind((A, 54)); v.connect((A, 53))
d = tcp(); d.bind((A, 9002)); d.connect((A, 8080)); e, _ = l.accept(); d.close(); time.sleep(.1)
f = tcp(); f.bind((A, 9003)); f.connect((A, 8080)); g, _ = l.accept(); f.close(); time.sleep(.1); g.close()
time.sleep(.2)
run = lambda *a: subprocess.run(a, capture_output=True, text=True).stdout
out = {'info': [x.getsockopt(6, 11, 248).hex() for x in (c, s, l)]}
for n in ('snmp', 'netstat', 'tcp', 'udp', 'sockstat', 'dev', 'softnet_stat'): out[n] = open('/proc/net/' + n).read()
for a in ('-tanH', '-tan', '-tn', '-lnt', '-uan', '-tuanH', '-tano', '-tanieH', '-s', '-tan state time-wait',
          '-tan ( dport = :8080 or sport = :53 )', '-tan src 127.0.0.1:8080'):
    out['ss ' + a] = run('ss', *a.split())
out['nstat'] = run('nstat', '-az')
print(json.dumps(out))
`;

type Seen = Record<string, string> & { info: string[] };

async function ours(): Promise<Seen> {
  const kernel = await createKernel({ clock: "virtual", autoAdvance: false, seed: 5 });
  const host = kernel.netns("a");
  // The one that every namespace may choose.
  host.sysctl("net.ipv4.tcp_congestion_control=reno");
  host.sysctl("net.ipv4.tcp_rmem='4096 131072 6291456'");
  const { sys } = host;
  const at = (port: number): { family: number; addr: number; port: number } => ({
    family: AF_INET,
    addr: 0x7f000001,
    port,
  });
  const bound = (port: number, type: number = SOCK_STREAM): number => {
    const fd = sys.socket(AF_INET, type, 0);
    sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    expect(sys.bind(fd, at(port))).toBe(0);
    return fd;
  };
  const l = bound(8080);
  sys.listen(l, 5);
  const connect = async (port: number): Promise<[number, number]> => {
    const fd = bound(port);
    sys.connect(fd, at(8080));
    await kernel.advance(1);
    return [fd, sys.accept(l, null)];
  };
  const [c, s] = await connect(9001);
  sys.setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, 1);
  sys.send(c, new Uint8Array(1000), 1000, 0);
  bound(53, SOCK_DGRAM);
  sys.connect(bound(54, SOCK_DGRAM), at(53));
  const [d] = await connect(9002);
  sys.close(d);
  await kernel.advance(100);
  const [f, g] = await connect(9003);
  sys.close(f);
  await kernel.advance(100);
  sys.close(g);
  await kernel.advance(200);
  const info = [c, s, l].map((fd) => {
    const bytes = tcpInfoBytes(sys.getsockopt(fd, SOL_TCP, TCP_INFO, new ErrBox()) as TcpInfo, 248);
    return Buffer.from(bytes).toString("hex");
  });
  const out: Record<string, string> = {};
  for (const n of ["snmp", "netstat", "tcp", "udp", "sockstat", "dev", "softnet_stat"]) out[n] = host.proc(`net/${n}`);
  for (const name of Object.keys(theirs)) if (name.startsWith("ss ")) out[name] = host.ss(name.slice(3));
  out["nstat"] = host.nstat("-az");
  kernel.close();
  return Object.assign(out, { info }) as Seen;
}

let theirs: Seen;
let mine: Seen;
const lacks = missing("ss", "nstat", "python3");

describe.skipIf(lacks !== "")("the same sockets, shown by both", () => {
  const ns: Namespace[] = [];
  beforeAll(async () => {
    const n = new Namespace();
    ns.push(n);
    n.run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno", "net.ipv4.tcp_rmem=4096 131072 6291456");
    const script = join(n.dir, "theirs.py");
    writeFileSync(script, THEIRS);
    theirs = JSON.parse(n.run("python3", script)) as Seen;
    mine = await ours();
  }, 60_000);
  afterAll(async () => {
    for (const n of ns) await n.close();
  });

  const sorted = (text: string | undefined): string[] => (text ?? "").split("\n").sort();

  it.each(["-tanH", "-tn", "-lnt", "-uan", "-tuanH", "-tan", "-tan state time-wait", "-tan src 127.0.0.1:8080"])(
    "ss %s",
    (args) => {
      expect(sorted(mine[`ss ${args}`])).toEqual(sorted(theirs[`ss ${args}`]));
    },
  );

  it("ss -o, its timers", () => {
    // The widths of the last column depend on which row is the last one.
    const timers = (t: string | undefined): string[] => sorted(t).map((l) => l.trimEnd().replace(/,\d+sec,/, ",Nsec,"));
    expect(timers(mine["ss -tano"])).toEqual(timers(theirs["ss -tano"]));
  });

  it("ss -ie: the same words, in the same order", () => {
    const words = (t: string | undefined, port: number): string[] => {
      const row = (t ?? "").split(/\n(?!\t)/).find((r) => new RegExp(`:${port} +127`).test(r)) ?? "";
      return row
        .replace(/cgroup:\S+ /, "")
        .split(/\s+/)
        .slice(5)
        .map((w) => w.replace(/:.*/, "").replace(/^\d+bps$/, "N"))
        .filter(
          (w) =>
            ![
              "rtt",
              "minrtt",
              "delivery_rate",
              "busy",
              "send",
              "",
              "lastsnd",
              "lastrcv",
              "lastack",
              "N",
              "rcv_rtt",
            ].includes(w),
        );
    };
    expect(words(mine["ss -tanieH"], 9001)).toEqual(words(theirs["ss -tanieH"], 9001));
  });

  it("ss -s", () => {
    const form = (t: string | undefined): string =>
      (t ?? "").replace(/^Total: \d+\nTCP: {3}\d+ \(estab (\d+), closed \d+, orphaned \d+/, "$1");
    expect(form(mine["ss -s"])).toBe(form(theirs["ss -s"]));
  });

  it("/proc/net/tcp and udp: addresses, states, queues, timers", () => {
    const rows = (t: string | undefined): string[] =>
      (t ?? "")
        .split("\n")
        .slice(1)
        .map((l) => l.slice(l.indexOf(":") + 1, l.indexOf(":") + 51))
        .filter((l) => l !== "")
        .sort();
    expect(rows(mine["tcp"])).toEqual(rows(theirs["tcp"]));
    expect(rows(mine["udp"])).toEqual(rows(theirs["udp"]));
    for (const file of ["tcp", "udp"]) {
      expect(mine[file]?.split("\n")[0]).toBe(theirs[file]?.split("\n")[0]);
      // One line of each is compared word by word in its form.
      const form = (t: string | undefined): string[] =>
        (t ?? "")
          .split("\n")
          .slice(1, -1)
          .map((l) => `${l.length} ${l.trim().split(/\s+/).length}`)
          .sort();
      expect(form(mine[file])).toEqual(form(theirs[file]));
    }
  });

  it("snmp, netstat, sockstat, dev, softnet_stat: the same names in the same layout", () => {
    const layout = (t: string | undefined): string =>
      (t ?? "")
        .split("\n")
        // Protocols that this stack has not got; types of ICMP that were seen.
        .filter((l) => !/^(?:UdpLite|UDPLITE|MPTcpExt|IcmpMsg)/.test(l))
        .map((l) =>
          /^\w+: -?\d/.test(l) || l.startsWith("sockets") || /^(?:TCP|UDP|RAW|FRAG):/.test(l)
            ? l.replace(/-?\d+/g, "N")
            : l,
        )
        .join("\n");
    for (const file of ["snmp", "netstat", "sockstat"]) expect(layout(mine[file])).toBe(layout(theirs[file]));
    expect(mine["dev"]?.split("\n").slice(0, 2)).toEqual(theirs["dev"]?.split("\n").slice(0, 2));
    expect(mine["softnet_stat"]?.length).toBe((theirs["softnet_stat"]?.split("\n")[0]?.length as number) + 1);
    const counters = (t: string | undefined): string[] =>
      (t ?? "")
        .split("\n")
        .map((l) => l.replace(/ .*/, ""))
        .filter((n) => n !== "" && !/^(?:UdpLite|.*6|MPTcp|IcmpMsg)/.test(n));
    expect(counters(mine["nstat"])).toEqual(counters(theirs["nstat"]));
  });

  it("counters that the situation determines", () => {
    const value = (t: string | undefined, name: string): string =>
      new RegExp(`^${name} +(\\S+)`, "m").exec(t ?? "")?.[1] ?? "";
    for (const name of [
      "TcpActiveOpens",
      "TcpPassiveOpens",
      "TcpEstabResets",
      "TcpRetransSegs",
      "TcpInErrs",
      "TcpOutRsts",
      "TcpInSegs",
      "TcpOutSegs",
      "TcpExtTW",
      "TcpExtTWKilled",
      "TcpExtListenDrops",
      "TcpExtTCPOrigDataSent",
      "TcpExtTCPDelivered",
      "TcpExtTCPAbortOnData",
      "TcpExtTCPAbortOnClose",
      "UdpInDatagrams",
      "IpInHdrErrors",
      "IpExtInNoECTPkts",
    ])
      expect(`${name} ${value(mine["nstat"], name)}`).toBe(`${name} ${value(theirs["nstat"], name)}`);
  });

  it("TCP_INFO, field by field", () => {
    // Offsets of struct tcp_info; what depends on the clock or on the machine's buffers is left out.
    const u8: Record<string, number> = {
      state: 0,
      ca_state: 1,
      retransmits: 2,
      probes: 3,
      backoff: 4,
      options: 5,
      wscale: 6,
      flags: 7,
    };
    const u32: Record<string, number> = {
      // The windows, and the MSS that half of one bounds, follow from what an skb weighs on each.
      rcv_mss: 20,
      unacked: 24,
      sacked: 28,
      lost: 32,
      retrans: 36,
      fackets: 40,
      last_ack_sent: 48,
      pmtu: 60,
      snd_ssthresh: 76,
      advmss: 84,
      reordering: 88,
      rcv_space: 96,
      total_retrans: 100,
      bytes_acked: 120,
      bytes_received: 128,
      segs_out: 136,
      segs_in: 140,
      notsent: 144,
      data_segs_in: 152,
      data_segs_out: 156,
      delivered: 192,
      delivered_ce: 196,
      bytes_sent: 200,
      bytes_retrans: 208,
      dsack_dups: 216,
      reord_seen: 220,
      rcv_ooopack: 224,
      rehash: 236,
    };
    const fields = (hex: string | undefined): Record<string, number> => {
      const b = Buffer.from(hex ?? "", "hex");
      const out: Record<string, number> = {};
      for (const [name, at] of Object.entries(u8)) out[name] = b[at] as number;
      for (const [name, at] of Object.entries(u32)) out[name] = b.readUInt32LE(at);
      return out;
    };
    for (let i = 0; i < 3; i++) expect(fields(mine.info[i])).toEqual(fields(theirs.info[i]));
  });
});
