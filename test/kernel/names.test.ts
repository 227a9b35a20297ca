import { describe, expect, test } from "vitest";
import { camelName, kernelName } from "../../src/kernel/names.ts";

// Kernel name, our name.
const NAMES: readonly (readonly [string, string])[] = [
  ["sock_sendmsg", "sockSendmsg"],
  ["__sock_sendmsg", "__sockSendmsg"],
  ["sock_sendmsg_nosec", "sockSendmsgNosec"],
  ["__sys_sendto", "__sysSendto"],
  ["inet_create", "inetCreate"],
  ["inet_sendmsg", "inetSendmsg"],
  ["tcp_sendmsg", "tcpSendmsg"],
  ["tcp_sendmsg_locked", "tcpSendmsgLocked"],
  ["tcp_push_one", "tcpPushOne"],
  ["__tcp_push_pending_frames", "__tcpPushPendingFrames"],
  ["tcp_write_xmit", "tcpWriteXmit"],
  ["tcp_transmit_skb", "tcpTransmitSkb"],
  ["__tcp_transmit_skb", "__tcpTransmitSkb"],
  ["tcp_v4_send_check", "tcpV4SendCheck"],
  ["__tcp_v4_send_check", "__tcpV4SendCheck"],
  ["tcp_v4_rcv", "tcpV4Rcv"],
  ["tcp_v4_do_rcv", "tcpV4DoRcv"],
  ["tcp_v4_syn_recv_sock", "tcpV4SynRecvSock"],
  ["ip_queue_xmit", "ipQueueXmit"],
  ["__ip_queue_xmit", "__ipQueueXmit"],
  ["ip_route_output_flow", "ipRouteOutputFlow"],
  ["ip_route_output_key_hash_rcu", "ipRouteOutputKeyHashRcu"],
  ["__mkroute_output", "__mkrouteOutput"],
  ["ip_local_out", "ipLocalOut"],
  ["__ip_local_out", "__ipLocalOut"],
  ["nf_hook", "nfHook"],
  ["NF_HOOK", "NF_HOOK"],
  ["dst_output", "dstOutput"],
  ["ip_output", "ipOutput"],
  ["ip_finish_output", "ipFinishOutput"],
  ["ip_finish_output2", "ipFinishOutput2"],
  ["neigh_hh_output", "neighHhOutput"],
  ["neigh_resolve_output", "neighResolveOutput"],
  ["dev_queue_xmit", "devQueueXmit"],
  ["__dev_queue_xmit", "__devQueueXmit"],
  ["dev_hard_start_xmit", "devHardStartXmit"],
  ["___pskb_trim", "___pskbTrim"],
  ["re865x_start_xmit", "re865xStartXmit"],
  ["swNic_send", "swNicSend"],
  ["swNic_txDone", "swNicTxDone"],
  ["csum_tcpudp_magic", "csumTcpUdpMagic"],
  ["csum_replace4", "csumReplace4"],
  ["tcp4_gso_segment", "tcp4GsoSegment"],
  ["siphash_2u64", "siphash_2u64"],
  ["ipv4_sk_update_pmtu", "ipv4SkUpdatePmtu"],
  ["icmp_send", "icmpSend"],
  ["eth_type_trans", "ethTypeTrans"],
  ["fib_table_lookup", "fibTableLookup"],
  ["sch_direct_xmit", "schDirectXmit"],
  ["pfifo_fast_enqueue", "pfifoFastEnqueue"],
];

describe("kernel names", () => {
  test.each(NAMES)("%s is %s", (theirs, ours) => {
    expect(kernelName(ours)).toBe(theirs);
    expect(camelName(theirs)).toBe(ours);
  });

  test("a name that is ours already stays as it is", () => {
    for (const [, ours] of NAMES) expect(camelName(ours)).toBe(ours);
  });
});
