// The ABI: numbers and names that mean the same here and in Linux (x86-64).

export * from "./dropreason.ts";
export * from "./errno.ts";
export * from "./fcntl.ts";
export * from "./icmp.ts";
export * from "./if.ts";
export * from "./if_ether.ts";
export * from "./if_packet.ts";
export * from "./if_tun.ts";
export * from "./in.ts";
export * from "./inet_diag.ts";
export * from "./ip.ts";
export * from "./linux_mib.ts";
export * from "./net_tstamp.ts";
export * from "./netfilter.ts";
export * from "./nf_conntrack.ts";
export * from "./nf_tables.ts";
export * from "./pkt_sched.ts";
export * from "./poll.ts";
export * from "./rtnetlink.ts";
export * from "./socket.ts";
export * from "./sockios.ts";
export * from "./splice.ts";
export * from "./tcp.ts";
export * from "./udp.ts";
