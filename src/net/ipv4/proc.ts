/** net/ipv4/proc.c: /proc/net/snmp, netstat and sockstat. */

import { machine } from "../../mm/mem.ts";
import { IPV4_DEVCONF_FORWARDING } from "../../uapi/ip.ts";
import type { SnmpMib } from "../../uapi/linux_mib.ts";
import {
  ICMP_MIB_CSUMERRORS,
  ICMP_MIB_INERRORS,
  ICMP_MIB_INMSGS,
  ICMP_MIB_OUTERRORS,
  ICMP_MIB_OUTMSGS,
  ICMP_MIB_RATELIMITGLOBAL,
  ICMP_MIB_RATELIMITHOST,
  icmpmibmap,
  snmp4IpextstatsList,
  snmp4IpstatsList,
  snmp4NetList,
  snmp4TcpList,
  snmp4UdpList,
  TCP_MIB_MAXCONN,
  TCP_MIB_RTOALGORITHM,
  TCP_MIB_RTOMAX,
  TCP_MIB_RTOMIN,
} from "../../uapi/linux_mib.ts";
import type { Net } from "../core/net_namespace.ts";
import { procCreateNet } from "../core/net_procfs.ts";
import type { Sock } from "../core/sock.ts";
import { skFullsock, skMemoryAllocated } from "../core/sock.ts";
import { ipv4DevconfAll } from "./devinet.ts";

/** tcp_mib_init: what RFC 2012 wants told once: Van Jacobson's algorithm, its bounds in milliseconds, no limit. */
const TCP_CONSTANTS: ReadonlyMap<number, number> = new Map([
  [TCP_MIB_RTOALGORITHM, 1],
  [TCP_MIB_RTOMIN, 200],
  [TCP_MIB_RTOMAX, 120_000],
  [TCP_MIB_MAXCONN, -1],
]);

function names(list: readonly SnmpMib[], before = ""): string {
  return list.map(([name]) => ` ${before}${name}`).join("");
}

function values(list: readonly SnmpMib[], mib: Float64Array): string {
  return list.map(([, index]) => ` ${mib[index]}`).join("");
}

/** icmpmsg_put: the types that were seen, 16 a line. */
function icmpmsgPut(mib: Float64Array): string {
  let out = "";
  const seen: number[] = [];
  for (let i = 0; i < mib.length; i++) if (mib[i] !== 0) seen.push(i);
  for (let from = 0; from < seen.length; from += 16) {
    const line = seen.slice(from, from + 16);
    out += `\nIcmpMsg:${line.map((t) => ` ${t & 0x100 ? "Out" : "In"}Type${t & 0xff}`).join("")}`;
    out += `\nIcmpMsg:${line.map((t) => ` ${mib[t]}`).join("")}`;
  }
  return out;
}

/** snmp_seq_show. */
function snmpSeqShow(net: Net): string {
  const { ip, icmp, icmpmsg, tcp, udp } = net.mib;
  const forwarding = ipv4DevconfAll(net, IPV4_DEVCONF_FORWARDING) !== 0 ? 1 : 2;
  const types = icmpmibmap.map(([, type]) => type);
  const of = (...fields: number[]): string => fields.map((f) => ` ${icmp[f]}`).join("");
  return (
    `Ip: Forwarding DefaultTTL${names(snmp4IpstatsList)}\n` +
    `Ip: ${forwarding} ${net.ipv4.sysctlIpDefaultTtl}${values(snmp4IpstatsList, ip)}\n` +
    `Icmp: InMsgs InErrors InCsumErrors${names(icmpmibmap, "In")}` +
    ` OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost${names(icmpmibmap, "Out")}\n` +
    `Icmp:${of(ICMP_MIB_INMSGS, ICMP_MIB_INERRORS, ICMP_MIB_CSUMERRORS)}${types.map((t) => ` ${icmpmsg[t]}`).join("")}` +
    of(ICMP_MIB_OUTMSGS, ICMP_MIB_OUTERRORS, ICMP_MIB_RATELIMITGLOBAL, ICMP_MIB_RATELIMITHOST) +
    types.map((t) => ` ${icmpmsg[t | 0x100]}`).join("") +
    icmpmsgPut(icmpmsg) +
    `\nTcp:${names(snmp4TcpList)}` +
    `\nTcp:${snmp4TcpList.map(([, i]) => ` ${TCP_CONSTANTS.get(i) ?? tcp[i]}`).join("")}` +
    `\nUdp:${names(snmp4UdpList)}` +
    `\nUdp:${values(snmp4UdpList, udp)}\n`
  );
}

/** netstat_seq_show. */
function netstatSeqShow(net: Net): string {
  const { ip, linux } = net.mib;
  return (
    `TcpExt:${names(snmp4NetList)}\nTcpExt:${values(snmp4NetList, linux)}\n` +
    `IpExt:${names(snmp4IpextstatsList)}\nIpExt:${values(snmp4IpextstatsList, ip)}\n`
  );
}

/** sockstat_seq_show. What the kernel counts for all namespaces together (orphan, alloc, mem) is this host's and this machine's. */
function sockstatSeqShow(net: Net): string {
  let used = 0;
  let tcpAlloc = 0;
  let tcpMem = 0;
  let udpMem = 0;
  for (const object of machine.socks.items) {
    const sk = object as Sock | null;
    if (sk === null || sk.net !== net) continue;
    used++;
    if (sk.skProt.name === "TCP") {
      tcpAlloc++;
      tcpMem = skMemoryAllocated(sk);
    } else if (sk.skProt.name === "UDP") {
      udpMem = skMemoryAllocated(sk);
    }
  }
  const { ehash, lhash } = net.tcpHashinfo;
  const inuse = lhash.count + ehash.all().filter(skFullsock).length;
  return (
    `sockets: used ${used}\n` +
    `TCP: inuse ${inuse} orphan ${net.orphanCount} tw ${net.twCount} alloc ${tcpAlloc} mem ${tcpMem}\n` +
    `UDP: inuse ${net.udpTable.count} mem ${udpMem}\n` +
    `RAW: inuse ${net.rawCount}\n` +
    `FRAG: inuse ${net.ipFrags.count} memory ${net.ipFrags.mem}\n`
  );
}

/** ip_misc_proc_init. */
export function ipMiscProcInit(): void {
  procCreateNet("snmp", snmpSeqShow);
  procCreateNet("netstat", netstatSeqShow);
  procCreateNet("sockstat", sockstatSeqShow);
}
