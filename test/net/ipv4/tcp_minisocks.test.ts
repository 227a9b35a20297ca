/** Requests in SYN_RECV and TIME_WAIT socks. */

import { describe, expect, it } from "vitest";
import { inetAllSocks } from "../../../src/net/ipv4/inet_hashtables.ts";
import type { TcpTimewaitSock } from "../../../src/net/ipv4/inet_sock.ts";
import * as sys from "../../../src/net/socket.ts";
import {
  LINUX_MIB_EMBRYONICRSTS,
  LINUX_MIB_LISTENDROPS,
  LINUX_MIB_LISTENOVERFLOWS,
  LINUX_MIB_PAWS_TW_REJECTED,
  LINUX_MIB_TCPDEFERACCEPTDROP,
  LINUX_MIB_TCPREQQFULLDROP,
  LINUX_MIB_TSECRREJECTED,
} from "../../../src/uapi/linux_mib.ts";
import { TCP_FIN_WAIT2, TCP_NEW_SYN_RECV, TCP_TIME_WAIT } from "../../../src/uapi/tcp.ts";
import { segText, TcpWire } from "./tcp_wire.ts";

const OPTS = { mss: 1000, sackOk: true, wscale: 7 };

function ended(w: TcpWire, fds: number[]): void {
  const e = w.end(fds);
  expect(e.after).toEqual(e.before);
}

function timewaits(w: TcpWire): TcpTimewaitSock[] {
  return inetAllSocks(w.net).filter((s) => s.skcState === TCP_TIME_WAIT) as TcpTimewaitSock[];
}

function requests(w: TcpWire): number {
  return inetAllSocks(w.net).filter((s) => s.skcState === TCP_NEW_SYN_RECV).length;
}

describe("SYN_RECV", () => {
  it("the SYN-ACK is retransmitted with backoff, then forgotten (tcp_synack_retries)", () => {
    const w = new TcpWire({ sysctls: { "net.ipv4.tcp_synack_retries": "3" } });
    const lfd = w.listen();
    w.in("S", { ...OPTS, seq: 0 });
    w.sleep(20_000);
    const at = w.out().map((s) => Math.round(s.at / 1000));
    expect(at).toEqual([0, 1000, 3000, 7000]);
    expect(requests(w)).toBe(0);
    ended(w, [lfd]);
  });

  it("options of the SYN are answered, and only those", () => {
    const cases: [object, string][] = [
      [{}, "mss"],
      [{ mss: 1000 }, "mss"],
      [{ mss: 1000, sackOk: true }, "mss sackOk"],
      [{ mss: 1000, wscale: 3 }, "mss wscale"],
      [{ mss: 1000, ts: [5, 0] }, "mss ts"],
      [{ mss: 1000, sackOk: true, ts: [5, 0], wscale: 3 }, "mss sackOk ts wscale"],
    ];
    for (const [opts, want] of cases) {
      const w = new TcpWire();
      const lfd = w.listen();
      w.in("S", { ...opts, seq: 0 });
      const [s] = w.out();
      const have = (["mss", "sackOk", "ts", "wscale"] as const).filter((k) => s![k] !== undefined).join(" ");
      expect(have).toBe(want);
      if (s!.ts !== undefined) expect(s!.ts[1]).toBe(5);
      w.end([lfd]);
    }
  });

  it("a retransmitted SYN is answered again, but not too often", () => {
    const w = new TcpWire();
    const lfd = w.listen();
    w.in("S", { ...OPTS, seq: 0 });
    const [first] = w.out();
    w.sleep(600);
    w.in("S", { ...OPTS, seq: 0 });
    w.in("S", { ...OPTS, seq: 0 });
    const again = w.out();
    expect(again.map(segText)).toEqual([segText(first!)]);
    ended(w, [lfd]);
  });

  it("an ACK that echoes a timestamp we never sent is refused", () => {
    const w = new TcpWire();
    const lfd = w.listen();
    w.in("S", { ...OPTS, seq: 0, ts: [1, 0] });
    w.out();
    w.in(".", { seq: 1, ack: 1, ts: [2, (w.lastTsval + 12345) >>> 0] });
    expect(w.ext(LINUX_MIB_TSECRREJECTED)).toBe(1);
    expect(requests(w)).toBe(1);
    w.in(".", { seq: 1, ack: 1, ts: [2, w.lastTsval] });
    expect(requests(w)).toBe(0);
    const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
    ended(w, [fd, lfd]);
  });

  it("an ACK may echo any SYN-ACK that was sent, the first as well as the last", () => {
    for (const which of [0, 2]) {
      const w = new TcpWire();
      const lfd = w.listen();
      w.in("S", { ...OPTS, seq: 0, ts: [1, 0] });
      w.sleep(3500);
      const sent = w.out().map((s) => s.ts![0]);
      expect(sent.length).toBe(3);
      w.in(".", { seq: 1, ack: 1, ts: [2, sent[which]!] });
      expect(requests(w)).toBe(0);
      const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
      ended(w, [fd, lfd]);
    }
  });

  it("a RST ends it, out of the window it does not", () => {
    const w = new TcpWire();
    const lfd = w.listen();
    w.in("S", { ...OPTS, seq: 0 });
    w.in("R", { seq: 100_000 });
    expect(requests(w)).toBe(1);
    w.in("R", { seq: 1 });
    expect(requests(w)).toBe(0);
    expect(w.ext(LINUX_MIB_EMBRYONICRSTS)).toBe(1);
    ended(w, [lfd]);
  });

  it("the accept queue is full: SYNs are dropped", () => {
    const w = new TcpWire();
    const lfd = w.listen(1);
    const isns: number[] = [];
    // One more than the backlog fits.
    for (const sport of [1001, 1002, 1003]) {
      w.peerIss = -1;
      w.in("S", { ...OPTS, seq: 0, sport });
      isns.push(w.peerIss);
      if (sport === 1003) break;
      w.in(".", { seq: 1, ack: 1, sport });
    }
    expect(w.ext(LINUX_MIB_LISTENOVERFLOWS)).toBe(1);
    expect(w.ext(LINUX_MIB_LISTENDROPS)).toBe(1);
    expect(isns[2]).toBe(-1);
    const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
    ended(w, [fd, lfd]);
  });

  it("the SYN queue is full: without cookies the SYN is dropped", () => {
    const w = new TcpWire({ sysctls: { "net.ipv4.tcp_syncookies": "0" } });
    const lfd = w.listen(3);
    for (let i = 0; i < 6; i++) {
      w.peerIss = -1;
      w.in("S", { ...OPTS, seq: 0, sport: 1000 + i });
    }
    const answered = w.out().length;
    expect(answered).toBeLessThan(5);
    expect(w.ext(LINUX_MIB_TCPREQQFULLDROP)).toBe(6 - answered);
    ended(w, [lfd]);
  });

  it("TCP_DEFER_ACCEPT: a bare ACK is dropped, data wakes accept()", () => {
    const w = new TcpWire();
    const lfd = w.listen();
    expect(sys.sysSetsockopt(w.net, lfd, 6, 9, 5)).toBe(0);
    w.in("S", { ...OPTS, seq: 0 });
    w.in(".", { seq: 1, ack: 1 });
    expect(w.ext(LINUX_MIB_TCPDEFERACCEPTDROP)).toBe(1);
    expect(sys.sysAccept4(w.net, lfd, null, 2048)).toBe(-11);
    w.in("P.", { seq: 1, ack: 1, len: 10 });
    const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
    expect((w.read(fd) as Uint8Array).length).toBe(10);
    ended(w, [fd, lfd]);
  });

  it("the ACK of the handshake may carry data, and a FIN", () => {
    const w = new TcpWire();
    const lfd = w.listen();
    w.in("S", { ...OPTS, seq: 0 });
    w.in("FP.", { seq: 1, ack: 1, len: 10 });
    const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
    expect((w.read(fd) as Uint8Array).length).toBe(10);
    expect((w.read(fd) as Uint8Array).length).toBe(0);
    ended(w, [fd, lfd]);
  });
});

describe("TIME_WAIT", () => {
  function inTimeWait(opts: object = OPTS, sysctls: Record<string, string> = {}) {
    const w = new TcpWire({ sysctls });
    const { fd, lfd } = w.accept(opts);
    w.shutdown(fd, 1);
    const ts = (n: number): object => ("ts" in opts ? { ts: [n, w.lastTsval] } : {});
    w.in(".", { seq: 1, ack: 2, ...ts(10) });
    w.in("F.", { seq: 1, ack: 2, ...ts(11) });
    w.close(fd);
    w.out();
    expect(timewaits(w).length).toBe(1);
    return { w, lfd, ts };
  }

  it("lasts 60 seconds, and begins anew with every retransmitted FIN", () => {
    const { w, lfd } = inTimeWait();
    w.sleep(59_000);
    expect(timewaits(w).length).toBe(1);
    w.in("F.", { seq: 1, ack: 2 });
    expect(w.outText()).toEqual([". 2:2(0) ack 2"]);
    w.sleep(59_000);
    expect(timewaits(w).length).toBe(1);
    w.sleep(2000);
    expect(timewaits(w).length).toBe(0);
    ended(w, [lfd]);
  });

  it("a SYN beyond the old sequence numbers reopens the connection, with an ISN beyond ours", () => {
    const { w, lfd } = inTimeWait();
    const old = w.peerIss;
    w.peerIss = -1;
    w.in("S", { ...OPTS, seq: 1000 });
    const [synack] = w.out();
    expect(synack!.flags).toBe("S.");
    expect((w.peerIss - old - 2) >>> 0).toBe(65537);
    expect(timewaits(w).length).toBe(0);
    w.in(".", { seq: 1001, ack: 1 });
    const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
    ended(w, [fd, lfd]);
  });

  it("a newer timestamp does as well, whatever the sequence number (RFC 6191)", () => {
    const { w, lfd } = inTimeWait({ ...OPTS, ts: [5, 0] });
    w.peerIss = -1;
    w.in("S", { ...OPTS, seq: -5000, ts: [500, 0] });
    expect(w.out().map((s) => s.flags)).toEqual(["S."]);
    ended(w, [lfd]);
  });

  it("an older one is refused", () => {
    const { w, lfd } = inTimeWait({ ...OPTS, ts: [5, 0] });
    w.in("S", { ...OPTS, seq: 5000, ts: [3, 0] });
    expect(w.ext(LINUX_MIB_PAWS_TW_REJECTED)).toBe(1);
    expect(w.out().map((s) => s.flags)).toEqual(["."]);
    ended(w, [lfd]);
  });

  it("tcp_rfc1337 protects it from RSTs", () => {
    const { w, lfd } = inTimeWait(OPTS, { "net.ipv4.tcp_rfc1337": "1" });
    w.in("R", { seq: 2 });
    expect(timewaits(w).length).toBe(1);
    ended(w, [lfd]);
  });

  it("FIN_WAIT2 after close() waits tcp_fin_timeout as a small sock, for the FIN", () => {
    const w = new TcpWire();
    const { fd, lfd } = w.accept(OPTS);
    w.close(fd);
    w.in(".", { seq: 1, ack: 2 });
    expect(timewaits(w).map((t) => t.twSubstate)).toEqual([TCP_FIN_WAIT2]);
    w.out();
    w.in("F.", { seq: 1, ack: 2 });
    expect(w.outText()).toEqual([". 2:2(0) ack 2"]);
    expect(timewaits(w).map((t) => t.twSubstate)).toEqual([TCP_TIME_WAIT]);
    ended(w, [lfd]);
  });

  it("tcp_max_tw_buckets: beyond it connections end without one", () => {
    const w = new TcpWire({ sysctls: { "net.ipv4.tcp_max_tw_buckets": "0" } });
    const { fd, lfd } = w.accept(OPTS);
    w.close(fd);
    w.in("F.", { seq: 1, ack: 2 });
    expect(timewaits(w).length).toBe(0);
    ended(w, [lfd]);
  });
});
