/** Option parsing (RFC 9293 §3.1) against a plain parser, on random bytes. */

import { expect, it } from "vitest";
import { seededRandom } from "../../../src/kernel/random.ts";
import { u8 } from "../../../src/mm/mem.ts";
import { allocSkb, consumeSkb, skbPut, skbResetTransportHeader } from "../../../src/net/core/skbuff.ts";
import { tcpParseMssOption, tcpParseOptions } from "../../../src/net/ipv4/tcp_input.ts";
import {
  TcpFastopenCookie,
  TcpOptionsReceived,
  tcpSkbSacked,
  tcpSkbSetSacked,
} from "../../../src/net/ipv4/tcp_sock.ts";
import { TcpWire } from "./tcp_wire.ts";

interface Parsed {
  mss: number;
  wscale: number | null;
  ts: [number, number] | null;
  sackOk: boolean;
  /** Offset of a SACK option from the header; 0 = none. */
  sacked: number;
  cookie: string | null;
}

/** The same rules, written down for byte arrays. */
function model(opt: Uint8Array, syn: boolean, estab: boolean, tstampOk: boolean, sackOk: boolean): Parsed {
  const out: Parsed = { mss: 0, wscale: null, ts: null, sackOk, sacked: 0, cookie: null };
  const be32 = (i: number): number => ((opt[i]! << 24) | (opt[i + 1]! << 16) | (opt[i + 2]! << 8) | opt[i + 3]!) >>> 0;
  for (let i = 0; i < opt.length; ) {
    const kind = opt[i]!;
    if (kind === 0) break;
    if (kind === 1) {
      i++;
      continue;
    }
    if (i + 1 >= opt.length) break;
    const size = opt[i + 1]!;
    if (size < 2 || i + size > opt.length) break;
    const body = opt.subarray(i + 2, i + size);
    const cookie = (b: Uint8Array): void => {
      if (!syn || b.length % 2 !== 0) return;
      if (b.length === 0) out.cookie = "";
      else if (b.length >= 4 && b.length <= 16) out.cookie = Buffer.from(b).toString("hex");
      else out.cookie = null;
    };
    if (kind === 2 && size === 4 && syn && !estab) {
      const mss = (body[0]! << 8) | body[1]!;
      if (mss !== 0) out.mss = mss;
    } else if (kind === 3 && size === 3 && syn && !estab) {
      out.wscale = Math.min(14, body[0]!);
    } else if (kind === 4 && size === 2 && syn && !estab) {
      out.sackOk = true;
    } else if (kind === 5 && size >= 10 && (size - 2) % 8 === 0 && out.sackOk) {
      out.sacked = 20 + i;
    } else if (kind === 8 && size === 10 && (!estab || tstampOk)) {
      out.ts = [be32(i + 2), be32(i + 6)];
    } else if (kind === 34) {
      cookie(body);
    } else if (kind === 254 && size >= 4 && body[0] === 0xf9 && body[1] === 0x89) {
      cookie(body.subarray(2));
    }
    i += size;
  }
  return out;
}

it("random options (seed 11)", () => {
  const rnd = seededRandom(11);
  const below = (n: number): number => rnd.u32() % n;
  const w = new TcpWire();
  const kinds = [0, 1, 2, 3, 4, 5, 8, 34, 254, 77];
  const sizes: Record<number, number> = { 2: 4, 3: 3, 4: 2, 8: 10 };
  for (let n = 0; n < 20_000; n++) {
    const len = 4 * below(11);
    const opt = new Uint8Array(len);
    for (let i = 0; i < len; ) {
      const kind = below(5) === 0 ? below(256) : kinds[below(kinds.length)]!;
      opt[i] = kind;
      const size = below(4) === 0 ? below(48) : (sizes[kind] ?? 2 + below(16));
      if (i + 1 < len && kind > 1) opt[i + 1] = size;
      for (let k = i + 2; k < Math.min(len, i + size); k++) opt[k] = below(256);
      if (kind === 254 && i + 3 < len) {
        opt[i + 2] = 0xf9;
        opt[i + 3] = 0x89;
      }
      i += kind > 1 ? Math.max(2, size) : 1;
    }
    const syn = below(2) === 0;
    const estab = below(2) === 0;
    const rx = new TcpOptionsReceived();
    rx.tstampOk = below(2) === 0;
    rx.sackOk = below(2);
    const foc = new TcpFastopenCookie();
    foc.len = -1;
    w.run(() => {
      const skb = allocSkb(60);
      const th = skbPut(skb, 20 + len);
      skbResetTransportHeader(skb);
      u8.fill(0, th, th + 20);
      u8[th + 12] = ((20 + len) / 4) << 4;
      u8[th + 13] = syn ? 2 : 16;
      u8.set(opt, th + 20);
      tcpSkbSetSacked(skb, 0);
      const want = model(opt, syn, estab, rx.tstampOk, rx.sackOk !== 0);
      tcpParseOptions(w.net, skb, rx, estab ? 1 : 0, foc);
      const got: Parsed = {
        mss: rx.mssClamp,
        wscale: rx.wscaleOk ? rx.sndWscale : null,
        ts: rx.sawTstamp ? [rx.rcvTsval, rx.rcvTsecr] : null,
        sackOk: rx.sackOk !== 0,
        sacked: tcpSkbSacked(skb),
        cookie: foc.len < 0 ? null : Buffer.from(foc.val.subarray(0, foc.len)).toString("hex"),
      };
      expect(got, Buffer.from(opt).toString("hex")).toEqual(want);
      if (syn && !estab) expect(tcpParseMssOption(th, 0)).toBe(want.mss);
      consumeSkb(skb);
    });
  }
  const e = w.end([]);
  expect(e.after).toEqual(e.before);
});

it("random segments from the wire do no harm (seed 12)", () => {
  const rnd = seededRandom(12);
  const below = (n: number): number => rnd.u32() % n;
  const w = new TcpWire();
  const fds = [w.accept({ mss: 1000, sackOk: true, wscale: 7, ts: [1, 0] })];
  for (let n = 0; n < 3000; n++) {
    const flags = "FSRP.UEW"
      .split("")
      .filter(() => below(3) === 0)
      .join("");
    const b = w.packet(flags, {
      seq: below(3) === 0 ? rnd.u32() : below(2000),
      ack: below(3) === 0 ? rnd.u32() : below(2000),
      win: below(65536),
      len: below(4) === 0 ? 0 : below(2000),
      urg: below(65536),
      sport: below(10) === 0 ? 40_000 + below(20) : 40_000,
      raw: Array.from({ length: 4 * below(8) }, () => below(256)),
    });
    // Some are cut off or damaged on the way.
    if (below(5) === 0) b[20 + below(b.length - 20)] = below(256);
    w.receive(below(20) === 0 ? b.subarray(0, 20 + below(b.length - 20)) : b, true);
    if (below(20) === 0) w.write(fds[0]!.fd, below(3000));
    if (below(20) === 0) w.read(fds[0]!.fd);
    if (below(50) === 0) w.sleep(below(3000));
    w.out();
  }
  const e = w.end([fds[0]!.fd, fds[0]!.lfd]);
  expect(e.after).toEqual(e.before);
});
