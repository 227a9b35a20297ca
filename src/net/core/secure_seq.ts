/** Initial sequence numbers and timestamp offsets that nobody outside can guess (RFC 6528, RFC 7323 §5.4). */

import { kernel } from "../../kernel/kernel.ts";
import { siphash_3u32 } from "../../kernel/siphash.ts";
import type { Net, PernetOperations } from "./net_namespace.ts";
import { registerPernetSubsys } from "./net_namespace.ts";

declare module "./net_namespace.ts" {
  interface Net {
    /** net_secret and ts_secret: 128-bit SipHash keys. */
    netSecret: Uint32Array;
    tsSecret: Uint32Array;
  }
}

function newKey(net: Net): Uint32Array {
  const key = new Uint32Array(4);
  for (let i = 0; i < 4; i++) key[i] = net.kernel.random.u32();
  return key;
}

const secureSeqNetOps: PernetOperations = {
  name: "secure_seq",
  init(net: Net): number {
    net.netSecret = newKey(net);
    net.tsSecret = newKey(net);
    return 0;
  },
  exit(): void {},
};

/** net_secret_init. */
export function secureSeqInit(): void {
  registerPernetSubsys(secureSeqNetOps);
}

/** secure_tcp_seq_and_ts_off: ISN = M + F(connection, secret), M a timer of 64 ns (RFC 6528 §3). */
export function secureTcpSeq(net: Net, saddr: number, daddr: number, sport: number, dport: number): number {
  const hash = siphash_3u32(saddr, daddr, ((sport << 16) | dport) >>> 0, net.netSecret);
  return (hash + Math.floor((kernel.now * 1000) / 64)) >>> 0;
}

/** The same for the timestamp offset of a connection; 0 when tcp_timestamps is 2 (no random offset). */
export function secureTcpTsOff(net: Net, saddr: number, daddr: number, sport: number, dport: number): number {
  if (net.ipv4.sysctlTcpTimestamps !== 1) return 0;
  return siphash_3u32(saddr, daddr, ((sport << 16) | dport) >>> 0, net.tsSecret) >>> 0;
}
