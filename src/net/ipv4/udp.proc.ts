/** /proc/net/udp and /proc/net/raw (udp4_seq_show, raw_seq_show). */

import type { Net } from "../core/net_namespace.ts";
import { hex8, hexAddr, hexPort, procCreateNet } from "../core/net_procfs.ts";
import type { Sock } from "../core/sock.ts";
import type { InetSock } from "./inet_sock.ts";
import { sockIno, sockPointer } from "./tcp_ipv4.proc.ts";
import type { UdpSock } from "./udp.lookup.ts";

const COLUMNS =
  "local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

/** udp4_format_sock, raw_sock_seq_show. */
function formatSock(sk: InetSock, sport: number, dport: number, rmem: number, number: string): string {
  const state = sk.skcState.toString(16).toUpperCase().padStart(2, "0");
  return (
    `${number}: ${hexAddr(sk.skcRcvSaddr)}:${hexPort(sport)} ${hexAddr(sk.skcDaddr)}:${hexPort(dport)} ${state}` +
    ` ${hex8(sk.skWmemAlloc - 1)}:${hex8(rmem)} 00:00000000 00000000     0        0 ${sockIno(sk)} ${sk.skRefcnt}` +
    ` ${sockPointer(sk)} ${sk.skDrops}`
  );
}

/** Every hashed UDP socket, with its bucket. */
export function udpAllSocks(net: Net): [UdpSock, number][] {
  const out: [UdpSock, number][] = [];
  const { hash } = net.udpTable;
  for (let bucket = 0; bucket < hash.length; bucket++) {
    for (let sk = hash[bucket] as UdpSock | null; sk !== null; sk = sk.skcNext as UdpSock | null)
      out.push([sk, bucket]);
  }
  return out;
}

function udp4SeqShow(net: Net): string {
  const lines = [`   sl  ${COLUMNS}`];
  for (const [sk, bucket] of udpAllSocks(net)) {
    lines.push(
      formatSock(sk, sk.inetSport, sk.skcDport, sk.skRmemAlloc - sk.forwardDeficit, String(bucket).padStart(5)),
    );
  }
  return lines.map((line) => `${line.padEnd(127)}\n`).join("");
}

/** Every raw socket, with its bucket. */
export function rawAllSocks(net: Net): [InetSock, number][] {
  const out: [InetSock, number][] = [];
  for (let bucket = 0; bucket < net.rawSocks.length; bucket++) {
    for (let sk = net.rawSocks[bucket] as Sock | null; sk !== null; sk = sk.skcNext) out.push([sk as InetSock, bucket]);
  }
  return out;
}

function rawSeqShow(net: Net): string {
  let out = `  sl  ${COLUMNS}\n`;
  for (const [sk, bucket] of rawAllSocks(net)) {
    out += `${formatSock(sk, sk.skcNum, 0, sk.skRmemAlloc, String(bucket).padStart(4))}\n`;
  }
  return out;
}

/** udp4_proc_init, raw_proc_init. */
export function udp4ProcInit(): void {
  procCreateNet("udp", udp4SeqShow);
  procCreateNet("raw", rawSeqShow);
}
