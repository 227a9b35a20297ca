/** TCP's way in from IPv4 and out to it: connect, ICMP errors (RFC 5927), minimum TTL, TIME_WAIT reuse, metrics. */

import { describe, expect, it } from "vitest";
import { inetAllSocks } from "../../../src/net/ipv4/inet_hashtables.ts";
import { tcpMetricsFlushAll } from "../../../src/net/ipv4/tcp_metrics.ts";
import * as sys from "../../../src/net/socket.ts";
import { LINUX_MIB_OUTOFWINDOWICMPS, LINUX_MIB_TCPMINTTLDROP } from "../../../src/uapi/linux_mib.ts";
import { TCP_TIME_WAIT } from "../../../src/uapi/tcp.ts";
import { LOCAL, PORT, REMOTE, RPORT, TcpWire } from "./tcp_wire.ts";

const OPTS = { mss: 1000, sackOk: true, wscale: 7 };

function ended(w: TcpWire, fds: number[]): void {
  const e = w.end(fds);
  expect(e.after).toEqual(e.before);
}

/** An ICMP error that quotes a segment of the host: sequence number `seq` (relative to its ISN). */
function icmp(w: TcpWire, type: number, code: number, seq: number, info = 0, quoted = 8): void {
  const b = new Uint8Array(20 + 8 + 20 + quoted);
  const v = new DataView(b.buffer);
  const sum = (from: number, to: number): number => {
    let s = 0;
    for (let i = from; i < to; i += 2) s += v.getUint16(i);
    while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
    return ~s & 0xffff;
  };
  const ip = (at: number, len: number, proto: number, src: number, dst: number): void => {
    b[at] = 0x45;
    v.setUint16(at + 2, len);
    v.setUint16(at + 6, 0x4000);
    b[at + 8] = 64;
    b[at + 9] = proto;
    v.setUint32(at + 12, src);
    v.setUint32(at + 16, dst);
    v.setUint16(at + 10, sum(at, at + 20));
  };
  ip(0, b.length, 1, REMOTE, LOCAL);
  ip(28, 1500, 6, LOCAL, REMOTE);
  v.setUint16(48, PORT);
  v.setUint16(50, RPORT);
  v.setUint32(52, (seq + Math.max(0, w.peerIss)) >>> 0);
  b[20] = type;
  b[21] = code;
  v.setUint32(24, info);
  v.setUint16(22, sum(20, b.length));
  w.receive(b);
}

describe("connect", () => {
  it("SYN, SYN-ACK, ACK; the options are those of the sysctls", () => {
    const w = new TcpWire();
    const fd = w.connect();
    const [syn] = w.out();
    expect(syn).toMatchObject({ flags: "S", mss: 1460, sackOk: true });
    expect(syn!.ts).toBeDefined();
    expect(syn!.wscale).toBeGreaterThan(0);
    w.in("S.", { seq: 0, ack: 1, mss: 1000 });
    expect(w.out().map((s) => s.flags)).toEqual(["."]);
    expect(sys.sysConnect(w.net, fd, { family: 2, addr: REMOTE, port: RPORT })).toBe(0);
    expect(w.sock(fd).mssCache).toBe(1000);
    expect(w.sock(fd).rxOpt.tstampOk).toBe(false);
    ended(w, [fd]);
  });

  it("ISNs differ by connection and grow by time (RFC 6528)", () => {
    const isn = (seed: number, ms: number): number => {
      const w = new TcpWire({ seed });
      w.sleep(ms);
      const fd = w.connect();
      const got = w.peerIss;
      w.end([fd]);
      return got;
    };
    expect(isn(1, 0)).not.toBe(isn(2, 0));
    // 64 ns a step.
    expect((isn(1, 4) - isn(1, 0)) >>> 0).toBe(62_500);
  });

  it("a RST refuses it", () => {
    const w = new TcpWire();
    const fd = w.connect();
    w.in("R.", { seq: 0, ack: 1 });
    expect(sys.sysConnect(w.net, fd, { family: 2, addr: REMOTE, port: RPORT })).toBe(-111);
    ended(w, [fd]);
  });

  it("the SYN is retransmitted: tcp_syn_linear_timeouts, and then tcp_syn_retries with backoff", () => {
    const w = new TcpWire({ sysctls: { "net.ipv4.tcp_syn_retries": "3", "net.ipv4.tcp_syn_linear_timeouts": "1" } });
    const fd = w.connect();
    w.sleep(60_000);
    expect(w.out().map((s) => Math.round(s.at / 1000))).toEqual([0, 1000, 2000, 4000, 8000]);
    expect(sys.sysConnect(w.net, fd, { family: 2, addr: REMOTE, port: RPORT })).toBe(-110);
    ended(w, [fd]);
  });
});

describe("ICMP errors", () => {
  it("are hard while connecting", () => {
    for (const [type, code, errno] of [
      [3, 0, 101],
      [3, 1, 113],
      [3, 3, 111],
      [11, 0, 113],
    ] as const) {
      const w = new TcpWire();
      const fd = w.connect();
      icmp(w, type, code, 0);
      expect(sys.sysConnect(w.net, fd, { family: 2, addr: REMOTE, port: RPORT })).toBe(-errno);
      ended(w, [fd]);
    }
  });

  it("are soft on a connection, and none of them ends it", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept(OPTS);
    w.write(fd, 1000);
    for (const code of [0, 1, 3]) icmp(w, 3, code, 1);
    expect(w.sock(fd).skErrSoft).toBe(111);
    w.in(".", { seq: 1, ack: 1001 });
    expect(w.sock(fd).skErrSoft).toBe(0);
    ended(w, [fd, lfd]);
  });

  it("must quote a sequence number that is in flight (RFC 5927 §4.1)", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept(OPTS);
    w.write(fd, 1000);
    icmp(w, 3, 1, 5000);
    icmp(w, 3, 1, -100);
    expect(w.ext(LINUX_MIB_OUTOFWINDOWICMPS)).toBe(2);
    expect(w.sock(fd).skErrSoft).toBe(0);
    ended(w, [fd, lfd]);
  });

  it("fragmentation needed: the segments go again, smaller (RFC 1191)", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept({ ...OPTS, mss: 1460 });
    w.write(fd, 2920);
    expect(w.out().map((s) => s.len)).toEqual([1460, 1460]);
    const cwnd = w.sock(fd).sndCwnd;
    icmp(w, 3, 4, 1, 1000);
    expect(w.sock(fd).mssCache).toBe(960);
    const again = w.out();
    expect(again[0]).toMatchObject({ seq: 1, len: 960 });
    // No congestion: the window is as it was.
    expect(w.sock(fd).sndCwnd).toBe(cwnd);
    for (let i = 0; i < 10 && w.sock(fd).packetsOut > 0; i++) {
      w.in(".", { seq: 1, ack: (w.sock(fd).sndNxt as unknown as number) - w.peerIss });
    }
    ended(w, [fd, lfd]);
  });

  it("a tiny MTU is not believed beyond route.min_pmtu", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept({ ...OPTS, mss: 1460 });
    w.write(fd, 1460);
    icmp(w, 3, 4, 1, 68);
    expect(w.sock(fd).mssCache).toBeGreaterThanOrEqual(512);
    ended(w, [fd, lfd]);
  });

  it("for a request: only the matching one ends it", () => {
    const w = new TcpWire();
    const lfd = w.listen();
    w.in("S", { ...OPTS, seq: 0 });
    icmp(w, 3, 1, 77);
    expect(inetAllSocks(w.net).length).toBe(2);
    icmp(w, 3, 1, 0);
    expect(inetAllSocks(w.net).length).toBe(1);
    ended(w, [lfd]);
  });
});

it("IP_MINTTL drops what comes from too far (RFC 5082)", () => {
  const w = new TcpWire();
  const { fd, lfd } = w.accept(OPTS);
  expect(sys.sysSetsockopt(w.net, fd, 0, 21, 255)).toBe(0);
  w.in("P.", { seq: 1, ack: 1, len: 10, ttl: 254 });
  expect(w.ext(LINUX_MIB_TCPMINTTLDROP)).toBe(1);
  expect(w.read(fd)).toBe(-11);
  w.in("P.", { seq: 1, ack: 1, len: 10, ttl: 255 });
  expect((w.read(fd) as Uint8Array).length).toBe(10);
  ended(w, [fd, lfd]);
});

describe("TIME_WAIT reuse (RFC 6191)", () => {
  function closed(sysctls: Record<string, string>) {
    const w = new TcpWire({ sysctls });
    const fd = w.connect();
    w.out();
    w.in("S.", { seq: 0, ack: 1, mss: 1000, ts: [1, w.lastTsval] });
    w.close(fd);
    w.in("F.", { seq: 1, ack: 2, ts: [2, w.lastTsval] });
    expect(inetAllSocks(w.net).map((s) => s.skcState)).toEqual([TCP_TIME_WAIT]);
    w.out();
    return w;
  }

  it("a bound port takes the four-tuple over, with an ISN beyond the old one", () => {
    const w = closed({});
    const old = w.peerIss;
    w.peerIss = -1;
    const fd = sys.sysSocket(w.net, 2, 1 | 2048, 0);
    expect(sys.sysSetsockopt(w.net, fd, 1, 2, 1)).toBe(0);
    const bound = sys.sysBind(w.net, fd, { family: 2, addr: 0, port: PORT });
    if (bound === 0) {
      expect(sys.sysConnect(w.net, fd, { family: 2, addr: REMOTE, port: RPORT })).toBe(-115);
      w.kernel.run();
      expect(w.out().map((s) => s.flags)).toEqual(["S"]);
      expect((w.peerIss - old) >>> 0).toBe(2 + 65537);
    }
    ended(w, [fd]);
  });
});

describe("metrics", () => {
  it("the next connection knows the RTT, until they are flushed", () => {
    const w = new TcpWire();
    const lfd = w.listen();
    const one = (sport: number): number => {
      w.peerIss = -1;
      w.in("S", { ...OPTS, seq: 0, sport });
      w.sleep(1);
      w.in(".", { seq: 1, ack: 1, sport });
      const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
      const rto = w.sock(fd).icskRto;
      w.write(fd, 1000);
      w.sleep(150);
      w.in(".", { seq: 1, ack: 1001, sport });
      w.close(fd);
      w.in("F.", { seq: 1, ack: 1002, sport });
      return rto;
    };
    const first = one(1001);
    const second = one(1002);
    expect(first).toBe(201_000);
    expect(second).toBeGreaterThan(first);
    w.run(() => tcpMetricsFlushAll(w.net));
    expect(one(1003)).toBe(first);
    ended(w, [lfd]);
  });
});
