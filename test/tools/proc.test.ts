/** /proc/net, ss and nstat: layouts, and that what they show is what there is. test/interop/proc.test.ts has the real ones. */

import { describe, expect, it } from "vitest";
import { ErrBox } from "../../src/net/core/sock.ts";
import { TCP_INFO_SIZE, tcpInfoBytes } from "../../src/net/ipv4/tcp.info.ts";
import type { TcpInfo } from "../../src/net/ipv4/tcp_sockopt.ts";
import { AF_INET, SO_KEEPALIVE, SOCK_DGRAM, SOCK_NONBLOCK, SOL_SOCKET, SOL_TCP } from "../../src/uapi/socket.ts";
import { TCP_INFO } from "../../src/uapi/tcp.ts";
import { Pair } from "../sim/pair.ts";

/** a has a connection to b's port 5000 with 1000 bytes unread in b; b listens on 80 and has UDP port 53. */
async function world(): Promise<{ pair: Pair; tx: number; rx: number }> {
  const pair = await Pair.create({ delay: "5ms" });
  const [tx, rx] = await pair.connect();
  const { a, b } = pair;
  const listener = b.sys.socket(AF_INET, 1 | SOCK_NONBLOCK, 0);
  b.sys.bind(listener, { family: AF_INET, addr: 0, port: 80 });
  b.sys.listen(listener, 7);
  const udp = b.sys.socket(AF_INET, SOCK_DGRAM, 0);
  b.sys.bind(udp, { family: AF_INET, addr: 0x0a000002, port: 53 });
  a.sys.send(tx, new Uint8Array(1000), 1000, 0);
  b.sys.setsockopt(rx, SOL_SOCKET, SO_KEEPALIVE, 1);
  await pair.kernel.advance(100);
  return { pair, tx, rx };
}

describe("/proc/net", () => {
  it("tcp: fixed columns, addresses as in memory", async () => {
    const { pair } = await world();
    const lines = pair.b.proc("net/tcp").split("\n");
    expect(lines.slice(0, -1).every((l) => l.length === 149)).toBe(true);
    expect(lines[0]?.trimEnd()).toBe(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    );
    const at = (n: number): string => (lines[n] ?? "").trimEnd();
    expect(at(1)).toMatch(
      /^ {3}0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {5}0 {8}0 \d+ 1 [0-9a-f]{16} 100 0 0 10 0$/,
    );
    expect(at(2)).toMatch(
      /^ {3}1: 0200000A:1388 0100000A:[0-9A-F]{4} 01 00000000:000003E8 02:000A[0-9A-F]{4} 00000000 {5}0 {8}0 \d+ \d [0-9a-f]{16}/,
    );
    expect(at(2)).toMatch(/ 2\d \d \d+ 10 -1$/);
    expect(at(3)).toBe("");
    pair.kernel.close();
  });

  it("udp, sockstat, dev, softnet_stat, sysctls", async () => {
    const { pair } = await world();
    const { a, b } = pair;
    expect(b.proc("/proc/net/udp").split("\n")[1]?.trimEnd()).toMatch(
      /^ {1,4}\d+: 0200000A:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 {5}0 {8}0 \d+ 1 [0-9a-f]{16} 0$/,
    );
    expect(b.proc("net/sockstat")).toMatch(
      /^sockets: used 3\nTCP: inuse 2 orphan 0 tw 0 alloc 2 mem \d+\nUDP: inuse 1 mem 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n$/,
    );
    const dev = a.proc("net/dev").split("\n");
    expect(dev[3]).toMatch(
      /^ {2}eth0: {5}\d{3} {7}\d {4}0 {4}0 {4}0 {5}0 {10}0 {9}0 {5}\d+ {7}\d {4}0 {4}0 {4}0 {5}0 {7}0 {10}0$/,
    );
    expect(a.proc("net/softnet_stat")).toMatch(/^(?:[0-9a-f]{8} ){14}[0-9a-f]{8}\n$/);
    expect(a.proc("/proc/sys/net/ipv4/tcp_sack")).toBe("1\n");
    expect(() => a.proc("net/nothing")).toThrow(/ENOENT/);
    pair.kernel.close();
  });

  it("snmp and netstat: names and values in pairs", async () => {
    const { pair } = await world();
    for (const [file, names] of [
      ["net/snmp", ["Ip", "Icmp", "Tcp", "Udp"]],
      ["net/netstat", ["TcpExt", "IpExt"]],
    ] as const) {
      const lines = pair.a.proc(file).trimEnd().split("\n");
      expect(lines.map((l) => l.split(":")[0])).toEqual(names.flatMap((n) => [n, n]));
      for (let i = 0; i < lines.length; i += 2)
        expect(lines[i]?.split(" ").length).toBe(lines[i + 1]?.split(" ").length);
    }
    expect(pair.a.proc("net/snmp")).toMatch(/\nTcp: 1 200 120000 -1 1 0 0 0 1 \d+ \d+ 0 0 0 0\n/);
    pair.kernel.close();
  });
});

describe("ss", () => {
  it("lists as iproute2 does", async () => {
    const { pair } = await world();
    const { b } = pair;
    const port = /10\.0\.0\.1:(\d+)/.exec(b.ss("-tn"))?.[1] ?? "";
    expect(b.ss("-tan")).toBe(
      "State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n" +
        "LISTEN 0      7            0.0.0.0:80        0.0.0.0:*           \n" +
        `ESTAB  1000   0           10.0.0.2:5000     10.0.0.1:${port}       \n`,
    );
    expect(b.ss("-tnoH")).toBe(`ESTAB 1000   0      10.0.0.2:5000 10.0.0.1:${port} timer:(keepalive,119min,0)\n`);
    expect(b.ss("-lnt").split("\n")[1]?.trimEnd()).toMatch(/^LISTEN 0 {6}7 +0\.0\.0\.0:80 +0\.0\.0\.0:\*$/);
    expect(b.ss("-ulnH").trimEnd()).toMatch(/^UNCONN 0 {6}0 {6}10\.0\.0\.2:53 0\.0\.0\.0:\*$/);
    const info = b.ss("-tnei");
    expect(info).toMatch(
      /ino:\d+ sk:[0-9a-f]+ <->\n\t ts sack cubic wscale:10,10 rto:2\d\d rtt:[\d.]+\/[\d.]+ ato:40 mss:1448 /,
    );
    expect(info).toMatch(
      / pmtu:1500 rcvmss:\d+ advmss:1448 cwnd:10 bytes_received:1000 segs_out:\d segs_in:\d data_segs_in:1 /,
    );
    expect(info).toMatch(
      / send \d+bps lastsnd:\d+ lastrcv:\d+ lastack:\d+ pacing_rate \d+bps delivered:1 app_limited /,
    );
    expect(b.ss("-tnm")).toMatch(/\n\t skmem:\(r\d+,rb\d+,t0,tb\d+,f\d+,w0,o0,bl0,d0\)/);
    expect(b.ss("-s")).toMatch(
      /^Total: 3\nTCP: {3}2 \(estab 1, closed 0, orphaned 0, timewait 0\)\n\nTransport Total {5}IP {8}IPv6\n/,
    );
    pair.kernel.close();
  });

  it.each([
    ["-tan", 2],
    ["-tn", 1],
    ["-tan state listening", 1],
    ["-tan state established state listening", 2],
    ["-tan exclude listening", 1],
    ["-tan sport = :80", 1],
    ["-tan ( sport = :80 or dport = :80 )", 1],
    ["-tan sport gt :80", 1],
    ["-tan not sport = :80 and dst 10.0.0.1", 1],
    ["-tan src 10.0.0.0/24", 1],
    ["-tan dst 10.0.0.3", 0],
    ["-an", 3],
    ["-unl", 1],
  ])("filter: %s", async (command, count) => {
    const { pair } = await world();
    expect(pair.b.ss(`-H ${command}`).split("\n").length - 1).toBe(count);
    pair.kernel.close();
  });

  it("says what it does not understand", async () => {
    const { pair } = await world();
    for (const bad of ["-Q", "state nowhere", "sport = :http", "dst nobody", "( sport = :80"])
      expect(() => pair.a.ss(bad)).toThrow(/ss/);
    pair.kernel.close();
  });
});

it("nstat: what is new since the last call", async () => {
  const { pair, tx } = await world();
  const { a } = pair;
  expect(a.nstat("-n")).toBe("");
  expect(a.nstat()).toBe("#kernel\n");
  a.sys.send(tx, new Uint8Array(10), 10, 0);
  await pair.kernel.advance(100);
  expect(a.nstat("-s TcpExtTCPOrig*")).toBe(`#kernel\nTcpExtTCPOrigDataSent           1                  0.0\n`);
  expect(a.nstat("TcpExtTCPOrigDataSent")).toContain(" 1 ");
  expect(a.nstat("TcpExtTCPOrigDataSent")).toBe("#kernel\n");
  expect(a.nstat("-az TcpRtoMin TcpInErrs")).toBe("#kernel\nTcpInErrs                       0                  0.0\n");
  expect(JSON.parse(a.nstat("-aj TcpActiveOpens"))).toEqual({ kernel: { TcpActiveOpens: 1 } });
  pair.kernel.close();
});

describe("TCP_INFO", () => {
  it("has the struct's layout, cut off at optlen", async () => {
    const { pair, tx } = await world();
    const err = new ErrBox();
    const info = pair.a.sys.getsockopt(tx, SOL_TCP, TCP_INFO, err) as TcpInfo;
    const bytes = tcpInfoBytes({ ...info, receivedCeBytes: 77, ecnMode: 2, accecnFailMode: 5, fastopenClientFail: 3 });
    const v = new DataView(bytes.buffer);
    expect(bytes.length).toBe(TCP_INFO_SIZE);
    // Offsets of include/uapi/linux/tcp.h.
    expect([bytes[0], bytes[6], (bytes[7] ?? 0) >> 1]).toEqual([1, 0xaa, 3]);
    expect(v.getUint32(8, true)).toBe(info.rto);
    expect(v.getUint32(16, true)).toBe(1448);
    expect(v.getBigUint64(112, true)).toBe(0xffffffffffffffffn);
    expect(v.getUint16(240, true)).toBe(info.totalRto);
    expect(v.getUint32(272, true)).toBe(77);
    expect(v.getUint32(276, true)).toBe(2 | (5 << 4));
    expect(tcpInfoBytes(info, 104).length).toBe(104);
    expect(tcpInfoBytes(info, 1000).length).toBe(TCP_INFO_SIZE);
    pair.kernel.close();
  });

  it("of a listener tells the backlog and little else", async () => {
    const { pair } = await world();
    const { b } = pair;
    const fd = b.sys.socket(AF_INET, 1, 0);
    b.sys.bind(fd, { family: AF_INET, addr: 0, port: 81 });
    b.sys.listen(fd, 9);
    const info = b.sys.getsockopt(fd, SOL_TCP, TCP_INFO, new ErrBox()) as TcpInfo;
    const set = Object.entries(info).filter(([, v]) => v !== 0);
    expect(Object.fromEntries(set)).toEqual({
      state: 10,
      pacingRate: Infinity,
      maxPacingRate: Infinity,
      reordering: 3,
      sndCwnd: 10,
      sacked: 9,
    });
    pair.kernel.close();
  });
});
