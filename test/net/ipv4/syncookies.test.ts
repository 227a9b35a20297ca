/** SYN cookies (RFC 4987 §3.6). */

import { expect, it } from "vitest";
import { inetAllSocks } from "../../../src/net/ipv4/inet_hashtables.ts";
import * as sys from "../../../src/net/socket.ts";
import {
  LINUX_MIB_SYNCOOKIESFAILED,
  LINUX_MIB_SYNCOOKIESRECV,
  LINUX_MIB_SYNCOOKIESSENT,
  LINUX_MIB_TCPREQQFULLDOCOOKIES,
} from "../../../src/uapi/linux_mib.ts";
import { TCP_NEW_SYN_RECV } from "../../../src/uapi/tcp.ts";
import { type TcpOpts, TcpWire } from "./tcp_wire.ts";

const ALWAYS = { "net.ipv4.tcp_syncookies": "2" };

function requests(w: TcpWire): number {
  return inetAllSocks(w.net).filter((s) => s.skcState === TCP_NEW_SYN_RECV).length;
}

const cases: [string, TcpOpts, { mss: number; sack: boolean; wscale: number }][] = [
  ["nothing", {}, { mss: 536, sack: false, wscale: 0 }],
  ["an MSS is rounded down", { mss: 1400 }, { mss: 1300, sack: false, wscale: 0 }],
  ["a large MSS", { mss: 9000 }, { mss: 1460, sack: false, wscale: 0 }],
  [
    "without timestamps the others are lost",
    { mss: 1460, sackOk: true, wscale: 7 },
    { mss: 1460, sack: false, wscale: 0 },
  ],
  [
    "with them they are kept",
    { mss: 1460, sackOk: true, wscale: 7, ts: [100, 0] },
    { mss: 1460, sack: true, wscale: 7 },
  ],
  ["timestamps alone", { mss: 1460, ts: [100, 0] }, { mss: 1460, sack: false, wscale: 0 }],
];

for (const [name, opts, want] of cases) {
  it(name, () => {
    const w = new TcpWire({ sysctls: ALWAYS });
    const lfd = w.listen();
    w.sleep(12_345);
    w.in("S", { ...opts, seq: 0 });
    expect(w.out().map((s) => s.flags)).toEqual(["S."]);
    expect(requests(w)).toBe(0);
    w.sleep(50);
    const ts: TcpOpts = opts.ts !== undefined ? { ts: [150, w.lastTsval] } : {};
    w.in(".", { seq: 1, ack: 1, win: 100, ...ts });
    const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
    const sk = w.sock(fd);
    expect({ mss: sk.rxOpt.mssClamp, sack: sk.rxOpt.sackOk !== 0, wscale: sk.rxOpt.sndWscale }).toEqual(want);
    expect(sk.rxOpt.tstampOk).toBe(opts.ts !== undefined);
    expect([w.ext(LINUX_MIB_SYNCOOKIESSENT), w.ext(LINUX_MIB_SYNCOOKIESRECV)]).toEqual([1, 1]);
    w.in("P.", { seq: 1, ack: 1, len: 100, win: 100, ...ts });
    expect((w.read(fd) as Uint8Array).length).toBe(100);
    const e = w.end([fd, lfd]);
    expect(e.after).toEqual(e.before);
  });
}

it("a cookie is good for two minutes, and cannot be made up", () => {
  const w = new TcpWire({ sysctls: ALWAYS });
  const lfd = w.listen();
  w.in("S", { mss: 1000, seq: 0 });
  w.out();
  w.in(".", { seq: 1, ack: 1001 });
  w.in(".", { seq: 1001, ack: 1 });
  expect(w.ext(LINUX_MIB_SYNCOOKIESFAILED)).toBe(2);
  expect(w.out().map((s) => s.flags)).toEqual(["R", "R"]);
  w.sleep(130_000);
  w.in(".", { seq: 1, ack: 1 });
  expect(w.out().map((s) => s.flags)).toEqual(["R"]);
  expect(sys.sysAccept4(w.net, lfd, null, 2048)).toBe(-11);
  const e = w.end([lfd]);
  expect(e.after).toEqual(e.before);
});

it("they are used when the SYN queue is full (tcp_syncookies=1)", () => {
  const w = new TcpWire();
  const lfd = w.listen(2);
  const isn: number[] = [];
  for (let i = 0; i < 6; i++) {
    w.peerIss = -1;
    w.in("S", { mss: 1000, seq: 0, sport: 1000 + i });
    isn.push(w.peerIss);
  }
  expect(w.out().length).toBe(6);
  const kept = requests(w);
  expect(kept).toBeLessThan(4);
  expect(w.ext(LINUX_MIB_TCPREQQFULLDOCOOKIES)).toBe(6 - kept);
  w.peerIss = isn[5]!;
  w.in(".", { seq: 1, ack: 1, sport: 1005 });
  const fd = w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
  const e = w.end([fd, lfd]);
  expect(e.after).toEqual(e.before);
});

it("an ACK out of the blue is answered with a RST while no cookies were sent", () => {
  const w = new TcpWire();
  const lfd = w.listen();
  w.in(".", { seq: 1, ack: 1 });
  expect(w.out().map((s) => s.flags)).toEqual(["R"]);
  expect(w.ext(LINUX_MIB_SYNCOOKIESFAILED)).toBe(0);
  w.end([lfd]);
});
