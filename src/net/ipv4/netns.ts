/**
 * struct netns_ipv4: everything that IPv4 keeps of a network namespace. `net.ipv4.sysctlTcpSack` is the field behind
 * `/proc/sys/net/ipv4/tcp_sack`; defaults, bounds and the units shown are those of Linux 6.18.
 *
 * A field holds what the kernel's field holds, which is not always the unit of `/proc`: times that `/proc` shows in
 * seconds and TCP uses in jiffies are kept in jiffies, that is whole milliseconds (HZ is 1000); the doc comment of such a
 * field says so. Fields whose name carries a unit (`…Us`, `…Ms`, `…Ns`, `…Sec`) are in that unit. All others are plain
 * counts, bytes or switches.
 */

import { EINVAL } from "../../uapi/errno.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { netCoreInit } from "../core/netns_core.ts";
import type { NumericKey } from "../core/sysctl_net.ts";
import { procParseInt, registerSysctl, registerSysctlInt, registerSysctlVec, U32_MAX } from "../core/sysctl_net.ts";
import {
  tcpGetAllowedCongestionControl,
  tcpGetAvailableCongestionControl,
  tcpGetDefaultCongestionControl,
  tcpSetAllowedCongestionControl,
  tcpSetDefaultCongestionControl,
} from "./tcp_cong.ts";
import type { TcpFastopenContext } from "./tcp_fastopen.ts";
import { tcpFastopenKeyShow, tcpFastopenKeyStore } from "./tcp_fastopen.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** The namespace's IPv4 part. */
    ipv4: NetnsIpv4;
  }
}

/** Jiffies in a second. */
const HZ = 1000;
const PAGE_SHIFT = 12;

export class NetnsIpv4 {
  // ---- TCP: connection setup ----------------------------------------------------------------------------------------------
  sysctlTcpSynRetries = 6;
  sysctlTcpSynLinearTimeouts = 4;
  sysctlTcpSynackRetries = 5;
  /** 0 = never, 1 = when the SYN queue is full, 2 = always. */
  sysctlTcpSyncookies = 1;
  sysctlTcpMigrateReq = 0;
  sysctlTcpMaxSynBacklog = 2048;
  sysctlTcpAbortOnOverflow = 0;
  /** TFO_CLIENT_ENABLE 1, TFO_SERVER_ENABLE 2, TFO_CLIENT_NO_COOKIE 4, TFO_SERVER_COOKIE_NOT_REQD 0x200, ... 0x400. */
  sysctlTcpFastopen = 1;
  /** Seconds that client Fast Open rests after a black hole was met; 0 = no such detection. */
  sysctlTcpFastopenBlackholeTimeout = 0;
  sysctlTcpFwmarkAccept = 0;
  sysctlTcpL3mdevAccept = 0;
  sysctlTcpEarlyDemux = 1;
  sysctlTcpReflectTos = 0;

  // ---- TCP: options and extensions ----------------------------------------------------------------------------------------
  sysctlTcpSack = 1;
  sysctlTcpDsack = 1;
  sysctlTcpFack = 0;
  sysctlTcpWindowScaling = 1;
  /** 0 = off, 1 = on with a random offset per connection, 2 = on without. */
  sysctlTcpTimestamps = 1;
  /** 0 = off, 1 = ask and accept, 2 = accept; 3 to 5 the same with Accurate ECN. */
  sysctlTcpEcn = 2;
  sysctlTcpEcnFallback = 1;
  sysctlTcpEcnOption = 2;
  sysctlTcpEcnOptionBeacon = 3;

  // ---- TCP: retransmission ------------------------------------------------------------------------------------------------
  sysctlTcpReordering = 3;
  sysctlTcpMaxReordering = 300;
  sysctlTcpRetries1 = 3;
  sysctlTcpRetries2 = 15;
  /** 0 = 8. */
  sysctlTcpOrphanRetries = 0;
  /** 0 = off, 3 = tail loss probe. */
  sysctlTcpEarlyRetrans = 3;
  /** TCP_RACK_LOSS_DETECTION 1, TCP_RACK_STATIC_REO_WND 2, TCP_RACK_NO_DUPTHRESH 4. */
  sysctlTcpRecovery = 1;
  sysctlTcpThinLinearTimeouts = 0;
  sysctlTcpRetransCollapse = 1;
  sysctlTcpFrto = 2;
  sysctlTcpRtoMinUs = 200000;
  sysctlTcpRtoMaxMs = 120000;
  /** Seconds: the length of the window over which the minimum RTT is kept. */
  sysctlTcpMinRttWlen = 300;

  // ---- TCP: congestion control --------------------------------------------------------------------------------------------
  /** The name of the default congestion control. */
  sysctlTcpCongestionControl = "cubic";
  sysctlTcpSlowStartAfterIdle = 1;
  sysctlTcpNoMetricsSave = 0;
  sysctlTcpNoSsthreshMetricsSave = 1;
  /** Percent of cwnd/RTT that pacing aims at in slow start and in congestion avoidance. */
  sysctlTcpPacingSsRatio = 200;
  sysctlTcpPacingCaRatio = 120;
  sysctlTcpPlbEnabled = 0;
  sysctlTcpPlbIdleRehashRounds = 3;
  sysctlTcpPlbRehashRounds = 12;
  /** Seconds. */
  sysctlTcpPlbSuspendRtoSec = 60;
  /** Fraction of 256. */
  sysctlTcpPlbCongThresh = 128;

  // ---- TCP: sending -------------------------------------------------------------------------------------------------------
  sysctlTcpStdurg = 0;
  sysctlTcpAutocorking = 1;
  /** Bytes below TCP, per socket, at which TSQ stops it. */
  sysctlTcpLimitOutputBytes: number = 4 * 1024 * 1024;
  /** Bytes of unsent data; 4294967295 = no limit. */
  sysctlTcpNotsentLowat: number = U32_MAX;
  sysctlTcpMinTsoSegs = 2;
  sysctlTcpTsoWinDivisor = 3;
  sysctlTcpTsoRttLog = 9;
  sysctlTcpMtuProbing = 0;
  sysctlTcpMtuProbeFloor = 48;
  sysctlTcpBaseMss = 1024;
  sysctlTcpMinSndMss = 48;
  sysctlTcpProbeThreshold = 8;
  /** Seconds. */
  sysctlTcpProbeInterval = 600;

  // ---- TCP: receiving -----------------------------------------------------------------------------------------------------
  sysctlTcpCompSackDelayNs = 1000000;
  sysctlTcpCompSackSlackNs = 10000;
  sysctlTcpCompSackNr = 44;
  sysctlTcpCompSackRttPercent = 33;
  sysctlTcpBacklogAckDefer = 1;
  sysctlTcpPingpongThresh = 1;
  sysctlTcpAppWin = 31;
  sysctlTcpAdvWinScale = 1;
  sysctlTcpModerateRcvbuf = 1;
  /** Microseconds. */
  sysctlTcpRcvbufLowRtt = 1000;
  sysctlTcpShrinkWindow = 0;
  sysctlTcpWorkaroundSignedWindows = 0;
  sysctlTcpChallengeAckLimit = 0x7fffffff;
  /** Jiffies (milliseconds, as in `/proc`). */
  sysctlTcpInvalidRatelimit = 500;

  // ---- TCP: end of a connection and keepalive -------------------------------------------------------------------------------
  /** Jiffies (milliseconds); `/proc` shows seconds. */
  sysctlTcpFinTimeout: number = 60 * HZ;
  /** 0 = no, 1 = yes, 2 = on loopback. */
  sysctlTcpTwReuse = 2;
  /** Milliseconds. */
  sysctlTcpTwReuseDelay = 1000;
  sysctlTcpMaxTwBuckets = 131072;
  sysctlTcpRfc1337 = 0;
  sysctlTcpMaxOrphans = 131072;
  /** Jiffies (milliseconds); `/proc` shows seconds. */
  sysctlTcpKeepaliveTime: number = 7200 * HZ;
  /** Jiffies (milliseconds); `/proc` shows seconds. */
  sysctlTcpKeepaliveIntvl: number = 75 * HZ;
  sysctlTcpKeepaliveProbes = 9;

  // ---- buffers --------------------------------------------------------------------------------------------------------------
  /** Bytes: minimum, default, maximum. */
  readonly sysctlTcpRmem: number[] = [4096, 131072, 33554432];
  readonly sysctlTcpWmem: number[] = [4096, 16384, 4194304];
  /** Pages of 4 KiB: low, pressure, high. */
  readonly sysctlTcpMem: number[] = [0, 0, 0];
  readonly sysctlUdpMem: number[] = [0, 0, 0];
  sysctlUdpRmemMin = 4096;
  sysctlUdpWmemMin = 4096;
  sysctlUdpEarlyDemux = 1;
  sysctlUdpL3mdevAccept = 0;
  sysctlRawL3mdevAccept = 1;

  // ---- IP -------------------------------------------------------------------------------------------------------------------
  sysctlIpDefaultTtl = 64;
  /** 0 = path MTU discovery, 1 = none, 2 = ignore what is learnt, 3 = believe only matched ICMP. */
  sysctlIpNoPmtuDisc = 0;
  sysctlIpFwdUsePmtu = 0;
  sysctlIpFwdUpdatePriority = 1;
  sysctlIpNonlocalBind = 0;
  sysctlIpAutobindReuse = 0;
  sysctlIpDynaddr = 0;
  sysctlIpEarlyDemux = 1;
  /** The first and the last port of automatic binding. */
  readonly sysctlIpLocalPortRange: number[] = [32768, 60999];
  /** Ports that automatic binding leaves out; null = none. */
  sysctlLocalReservedPorts: Set<number> | null = null;
  sysctlIpProtSock = 1024;
  sysctlFwmarkReflect = 0;
  /** Groups that may open ping sockets: first, last. */
  readonly sysctlPingGroupRange: number[] = [1, 0];

  // ---- reassembly (ipfrag_*) --------------------------------------------------------------------------------------------------
  /** Bytes of truesize in all queues: above `high` new fragments are refused. */
  sysctlIpfragHighThresh = 4194304;
  sysctlIpfragLowThresh = 3145728;
  /** Jiffies (milliseconds); `/proc` shows seconds. */
  sysctlIpfragTime: number = 30 * HZ;
  sysctlIpfragMaxDist = 64;

  // ---- ICMP -------------------------------------------------------------------------------------------------------------------
  sysctlIcmpEchoIgnoreAll = 0;
  sysctlIcmpEchoEnableProbe = 0;
  sysctlIcmpEchoIgnoreBroadcasts = 1;
  sysctlIcmpIgnoreBogusErrorResponses = 1;
  /** Jiffies (milliseconds, as in `/proc`) between two errors to one host. */
  sysctlIcmpRatelimit: number = HZ;
  /** Bit set of the ICMP types that are limited: destination unreachable, source quench, time exceeded, parameter problem. */
  sysctlIcmpRatemask = 0x1818;
  sysctlIcmpErrorsUseInboundIfaddr = 0;
  sysctlIcmpMsgsPerSec = 1000;
  sysctlIcmpMsgsBurst = 50;

  // ---- IGMP -------------------------------------------------------------------------------------------------------------------
  sysctlIgmpMaxMemberships = 20;
  sysctlIgmpMaxMsf = 10;
  sysctlIgmpLlmReports = 1;
  sysctlIgmpQrv = 2;

  // ---- routes -----------------------------------------------------------------------------------------------------------------
  /** Bytes: the smallest path MTU that an ICMP message can make this host believe. */
  ipRtMinPmtu = 552;
  /** Jiffies (milliseconds); `/proc` shows seconds: how long a learnt path MTU lasts. */
  ipRtMtuExpires: number = 600 * HZ;
  ipRtMinAdvmss = 256;
  /** Jiffies (milliseconds, as in `/proc` ...): rate limits of ip_error and of redirects. */
  ipRtErrorCost: number = HZ;
  ipRtErrorBurst: number = 5 * HZ;
  ipRtRedirectLoad: number = HZ / 50;
  ipRtRedirectNumber = 9;
  ipRtRedirectSilence: number = (HZ / 50) << 10;
  sysctlFibMultipathHashPolicy = 0;
  sysctlFibMultipathHashFields = 7;
  /** 0 = a random one, drawn when the namespace is made. */
  sysctlFibMultipathHashSeed = 0;
  sysctlFibMultipathUseNeigh = 0;
  sysctlFibNotifyOnFlagChange = 0;
  sysctlNexthopCompatMode = 1;

  // ---- counters and state ---------------------------------------------------------------------------------------------------
  /** The keys of Fast Open cookies (tcp_fastopen_key); null = none was given and none was needed yet. */
  tcpFastopenCtx: TcpFastopenContext | null = null;
  /** How often in a row client Fast Open was sent to rest, and when the last time (jiffies). */
  tfoActiveDisableTimes = 0;
  tfoActiveDisableStamp = 0;
  /** Bumped by whatever may make a cached route wrong (rt_genid_bump_ipv4). */
  rtGenid = 1;
  /** Bumped when an address or a device changes (dev_addr_genid): nexthops choose their source address again. */
  devAddrGenid = 0;
  /** Fields of the kernel whose `/proc` name differs. */
  get sysctlMaxSynBacklog(): number {
    return this.sysctlTcpMaxSynBacklog;
  }
  get sysctlMaxTwBuckets(): number {
    return this.sysctlTcpMaxTwBuckets;
  }
  get sysctlTcpNometricsSave(): number {
    return this.sysctlTcpNoMetricsSave;
  }
  get ipLocalPortsRange(): number[] {
    return this.sysctlIpLocalPortRange;
  }
}

type Field = NumericKey<NetnsIpv4>;
/** name after "net.ipv4.", field, minimum, maximum, field units in one `/proc` unit. */
type Row = readonly [name: string, field: Field, min?: number, max?: number, scale?: number];

const U8 = 255;
const INT_MAX = 0x7fffffff;
/** sysctl_max jiffies: what an int of seconds may be without overflowing the jiffies. */
const SECS_MAX = Math.floor(INT_MAX / HZ);

const ROWS: readonly Row[] = [
  ["tcp_syn_retries", "sysctlTcpSynRetries", 1, 127],
  ["tcp_syn_linear_timeouts", "sysctlTcpSynLinearTimeouts", 0, 127],
  ["tcp_synack_retries", "sysctlTcpSynackRetries", 0, U8],
  ["tcp_syncookies", "sysctlTcpSyncookies", 0, 2],
  ["tcp_migrate_req", "sysctlTcpMigrateReq", 0, 1],
  ["tcp_max_syn_backlog", "sysctlTcpMaxSynBacklog"],
  ["tcp_abort_on_overflow", "sysctlTcpAbortOnOverflow", 0, U8],
  ["tcp_fastopen", "sysctlTcpFastopen"],
  ["tcp_fwmark_accept", "sysctlTcpFwmarkAccept", 0, U8],
  ["tcp_l3mdev_accept", "sysctlTcpL3mdevAccept", 0, 1],
  ["tcp_early_demux", "sysctlTcpEarlyDemux", 0, U8],
  ["tcp_reflect_tos", "sysctlTcpReflectTos", 0, 1],
  ["tcp_sack", "sysctlTcpSack", 0, U8],
  ["tcp_dsack", "sysctlTcpDsack", 0, U8],
  ["tcp_fack", "sysctlTcpFack", 0, U8],
  ["tcp_window_scaling", "sysctlTcpWindowScaling", 0, U8],
  ["tcp_timestamps", "sysctlTcpTimestamps", 0, U8],
  ["tcp_ecn", "sysctlTcpEcn", 0, 5],
  ["tcp_ecn_fallback", "sysctlTcpEcnFallback", 0, 1],
  ["tcp_ecn_option", "sysctlTcpEcnOption", 0, 3],
  ["tcp_ecn_option_beacon", "sysctlTcpEcnOptionBeacon", 0, 3],
  ["tcp_reordering", "sysctlTcpReordering"],
  ["tcp_max_reordering", "sysctlTcpMaxReordering"],
  ["tcp_retries1", "sysctlTcpRetries1", 0, 255],
  ["tcp_retries2", "sysctlTcpRetries2", 0, U8],
  ["tcp_orphan_retries", "sysctlTcpOrphanRetries", 0, U8],
  ["tcp_early_retrans", "sysctlTcpEarlyRetrans", 0, 4],
  ["tcp_recovery", "sysctlTcpRecovery", 0, U8],
  ["tcp_thin_linear_timeouts", "sysctlTcpThinLinearTimeouts", 0, U8],
  ["tcp_retrans_collapse", "sysctlTcpRetransCollapse", 0, U8],
  ["tcp_frto", "sysctlTcpFrto", 0, U8],
  ["tcp_rto_min_us", "sysctlTcpRtoMinUs", 1],
  ["tcp_rto_max_ms", "sysctlTcpRtoMaxMs", 1000, 120000],
  ["tcp_min_rtt_wlen", "sysctlTcpMinRttWlen", 0, 86400],
  ["tcp_slow_start_after_idle", "sysctlTcpSlowStartAfterIdle", 0, U8],
  ["tcp_no_metrics_save", "sysctlTcpNoMetricsSave", 0, U8],
  ["tcp_no_ssthresh_metrics_save", "sysctlTcpNoSsthreshMetricsSave", 0, 1],
  ["tcp_pacing_ss_ratio", "sysctlTcpPacingSsRatio", 0, 1000],
  ["tcp_pacing_ca_ratio", "sysctlTcpPacingCaRatio", 0, 1000],
  ["tcp_plb_enabled", "sysctlTcpPlbEnabled", 0, 1],
  ["tcp_plb_idle_rehash_rounds", "sysctlTcpPlbIdleRehashRounds", 0, 31],
  ["tcp_plb_rehash_rounds", "sysctlTcpPlbRehashRounds", 0, 31],
  ["tcp_plb_suspend_rto_sec", "sysctlTcpPlbSuspendRtoSec", 0, U8],
  ["tcp_plb_cong_thresh", "sysctlTcpPlbCongThresh", 0, 256],
  ["tcp_stdurg", "sysctlTcpStdurg", 0, U8],
  ["tcp_autocorking", "sysctlTcpAutocorking", 0, 1],
  ["tcp_limit_output_bytes", "sysctlTcpLimitOutputBytes"],
  ["tcp_notsent_lowat", "sysctlTcpNotsentLowat", 0, U32_MAX],
  ["tcp_min_tso_segs", "sysctlTcpMinTsoSegs", 1, U8],
  ["tcp_tso_win_divisor", "sysctlTcpTsoWinDivisor", 0, U8],
  ["tcp_tso_rtt_log", "sysctlTcpTsoRttLog", 0, U8],
  ["tcp_mtu_probing", "sysctlTcpMtuProbing", 0, U8],
  ["tcp_mtu_probe_floor", "sysctlTcpMtuProbeFloor", 48, 65535],
  ["tcp_base_mss", "sysctlTcpBaseMss"],
  ["tcp_min_snd_mss", "sysctlTcpMinSndMss", 48, 65535],
  ["tcp_probe_threshold", "sysctlTcpProbeThreshold"],
  ["tcp_probe_interval", "sysctlTcpProbeInterval", 0, U32_MAX],
  ["tcp_comp_sack_delay_ns", "sysctlTcpCompSackDelayNs", 0, Number.MAX_SAFE_INTEGER],
  ["tcp_comp_sack_slack_ns", "sysctlTcpCompSackSlackNs", 0, Number.MAX_SAFE_INTEGER],
  ["tcp_comp_sack_rtt_percent", "sysctlTcpCompSackRttPercent", 1, 1000],
  ["tcp_comp_sack_nr", "sysctlTcpCompSackNr", 0, U8],
  ["tcp_backlog_ack_defer", "sysctlTcpBacklogAckDefer", 0, 1],
  ["tcp_pingpong_thresh", "sysctlTcpPingpongThresh", 1, U8],
  ["tcp_app_win", "sysctlTcpAppWin", 0, 31],
  ["tcp_adv_win_scale", "sysctlTcpAdvWinScale", -31, 31],
  ["tcp_moderate_rcvbuf", "sysctlTcpModerateRcvbuf", 0, U8],
  ["tcp_rcvbuf_low_rtt", "sysctlTcpRcvbufLowRtt", 0, 0x7fffffff],
  ["tcp_shrink_window", "sysctlTcpShrinkWindow", 0, 1],
  ["tcp_workaround_signed_windows", "sysctlTcpWorkaroundSignedWindows", 0, U8],
  ["tcp_challenge_ack_limit", "sysctlTcpChallengeAckLimit"],
  ["tcp_invalid_ratelimit", "sysctlTcpInvalidRatelimit"],
  ["tcp_fin_timeout", "sysctlTcpFinTimeout", -SECS_MAX, SECS_MAX, HZ],
  ["tcp_tw_reuse", "sysctlTcpTwReuse", 0, 2],
  ["tcp_tw_reuse_delay", "sysctlTcpTwReuseDelay", 1, 60000],
  ["tcp_max_tw_buckets", "sysctlTcpMaxTwBuckets"],
  ["tcp_rfc1337", "sysctlTcpRfc1337", 0, U8],
  ["tcp_max_orphans", "sysctlTcpMaxOrphans"],
  ["tcp_keepalive_time", "sysctlTcpKeepaliveTime", -SECS_MAX, SECS_MAX, HZ],
  ["tcp_keepalive_intvl", "sysctlTcpKeepaliveIntvl", -SECS_MAX, SECS_MAX, HZ],
  ["tcp_keepalive_probes", "sysctlTcpKeepaliveProbes", 0, U8],
  ["udp_rmem_min", "sysctlUdpRmemMin", 1],
  ["udp_wmem_min", "sysctlUdpWmemMin", 1],
  ["udp_early_demux", "sysctlUdpEarlyDemux", 0, U8],
  ["udp_l3mdev_accept", "sysctlUdpL3mdevAccept", 0, 1],
  ["raw_l3mdev_accept", "sysctlRawL3mdevAccept", 0, 1],
  ["ip_default_ttl", "sysctlIpDefaultTtl", 1, 255],
  ["ip_no_pmtu_disc", "sysctlIpNoPmtuDisc", 0, U8],
  ["ip_forward_use_pmtu", "sysctlIpFwdUsePmtu", 0, U8],
  ["ip_nonlocal_bind", "sysctlIpNonlocalBind", 0, U8],
  ["ip_autobind_reuse", "sysctlIpAutobindReuse", 0, 1],
  ["ip_dynaddr", "sysctlIpDynaddr", 0, U8],
  ["ip_early_demux", "sysctlIpEarlyDemux", 0, U8],
  ["ip_forward_update_priority", "sysctlIpFwdUpdatePriority", 0, 1],
  ["fwmark_reflect", "sysctlFwmarkReflect", 0, U8],
  ["ipfrag_high_thresh", "sysctlIpfragHighThresh", 0, Number.MAX_SAFE_INTEGER],
  ["ipfrag_low_thresh", "sysctlIpfragLowThresh", 0, Number.MAX_SAFE_INTEGER],
  ["ipfrag_time", "sysctlIpfragTime", -SECS_MAX, SECS_MAX, HZ],
  ["ipfrag_max_dist", "sysctlIpfragMaxDist", 0],
  ["icmp_echo_ignore_all", "sysctlIcmpEchoIgnoreAll", 0, 1],
  ["icmp_echo_enable_probe", "sysctlIcmpEchoEnableProbe", 0, 1],
  ["icmp_echo_ignore_broadcasts", "sysctlIcmpEchoIgnoreBroadcasts", 0, 1],
  ["icmp_ignore_bogus_error_responses", "sysctlIcmpIgnoreBogusErrorResponses", 0, 1],
  ["icmp_errors_use_inbound_ifaddr", "sysctlIcmpErrorsUseInboundIfaddr", 0, 1],
  ["icmp_ratelimit", "sysctlIcmpRatelimit"],
  ["icmp_ratemask", "sysctlIcmpRatemask"],
  ["icmp_msgs_per_sec", "sysctlIcmpMsgsPerSec", 0],
  ["icmp_msgs_burst", "sysctlIcmpMsgsBurst", 0],
  ["igmp_max_memberships", "sysctlIgmpMaxMemberships"],
  ["igmp_max_msf", "sysctlIgmpMaxMsf"],
  ["igmp_link_local_mcast_reports", "sysctlIgmpLlmReports", 0, U8],
  ["igmp_qrv", "sysctlIgmpQrv", 1],
  ["route.min_pmtu", "ipRtMinPmtu", 68],
  ["route.mtu_expires", "ipRtMtuExpires", -SECS_MAX, SECS_MAX, HZ],
  ["route.min_adv_mss", "ipRtMinAdvmss"],
  ["route.error_cost", "ipRtErrorCost"],
  ["route.error_burst", "ipRtErrorBurst"],
  ["route.redirect_load", "ipRtRedirectLoad"],
  ["route.redirect_number", "ipRtRedirectNumber"],
  ["route.redirect_silence", "ipRtRedirectSilence"],
  ["fib_multipath_hash_policy", "sysctlFibMultipathHashPolicy", 0, 3],
  ["fib_multipath_hash_fields", "sysctlFibMultipathHashFields", 1, 0x7ff],
  ["fib_multipath_hash_seed", "sysctlFibMultipathHashSeed", 0, U32_MAX],
  ["fib_multipath_use_neigh", "sysctlFibMultipathUseNeigh", 0, 1],
  ["fib_notify_on_flag_change", "sysctlFibNotifyOnFlagChange", 0, 2],
  ["nexthop_compat_mode", "sysctlNexthopCompatMode", 0, 1],
];

/** The "1-3,7" form of proc_do_large_bitmap. */
function showPorts(ports: Set<number> | null): string {
  if (ports === null) return "";
  const sorted = [...ports].sort((a, b) => a - b);
  const out: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let j = i;
    while (sorted[j + 1] === (sorted[j] as number) + 1) j++;
    out.push(i === j ? String(sorted[i]) : `${sorted[i]}-${sorted[j]}`);
    i = j + 1;
  }
  return out.join(",");
}

function parsePorts(text: string): Set<number> | null {
  const ports = new Set<number>();
  for (const part of text.trim().split(",")) {
    if (part === "") continue;
    const range = part.split("-");
    const lo = procParseInt(range[0] as string);
    const hi = range.length === 1 ? lo : procParseInt(range[1] as string);
    if (range.length > 2 || !(lo >= 0 && lo <= hi && hi <= 65535)) return null;
    for (let p = lo; p <= hi; p++) ports.add(p);
  }
  return ports;
}

/**
 * tcp_init_mem, udp_init: the kernel gives TCP a sixteenth of memory that serves everything; the pool of a machine here
 * holds packets and nothing else, so pressure starts at half of it.
 */
function initMem(mem: number[], bytes: number): void {
  const limit = Math.max(Math.floor(bytes / 2) >>> PAGE_SHIFT, 128);
  mem[0] = Math.floor(limit / 4) * 3;
  mem[1] = limit;
  mem[2] = (mem[0] as number) * 2;
}

function registerIpv4Sysctls(net: Net): void {
  const ipv4 = net.ipv4;
  for (const [name, field, min, max, scale] of ROWS) {
    registerSysctlInt(net, `net.ipv4.${name}`, ipv4, field, min, max, scale);
  }
  registerSysctlVec(net, "net.ipv4.tcp_rmem", ipv4.sysctlTcpRmem, 1);
  registerSysctlVec(net, "net.ipv4.tcp_wmem", ipv4.sysctlTcpWmem, 1);
  registerSysctlVec(net, "net.ipv4.tcp_mem", ipv4.sysctlTcpMem, 0, Number.MAX_SAFE_INTEGER);
  registerSysctlVec(net, "net.ipv4.udp_mem", ipv4.sysctlUdpMem, 0, Number.MAX_SAFE_INTEGER);
  registerSysctlVec(
    net,
    "net.ipv4.ip_local_port_range",
    ipv4.sysctlIpLocalPortRange,
    1,
    65535,
    (v) => (v[0] as number) <= (v[1] as number) && (v[0] as number) >= ipv4.sysctlIpProtSock,
  );
  registerSysctlVec(net, "net.ipv4.ping_group_range", ipv4.sysctlPingGroupRange, 0, U32_MAX);
  registerSysctl(
    net,
    "net.ipv4.ip_unprivileged_port_start",
    () => String(ipv4.sysctlIpProtSock),
    (value) => {
      const n = procParseInt(value);
      if (!(n >= 0 && n <= 65535) || n > (ipv4.sysctlIpLocalPortRange[0] as number)) return -EINVAL;
      ipv4.sysctlIpProtSock = n;
      return 0;
    },
  );
  registerCongestionSysctls(net);
  registerFastopenSysctls(net);
  registerSysctl(
    net,
    "net.ipv4.ip_local_reserved_ports",
    () => showPorts(ipv4.sysctlLocalReservedPorts),
    (value) => {
      const ports = parsePorts(value);
      if (ports === null) return -EINVAL;
      ipv4.sysctlLocalReservedPorts = ports.size === 0 ? null : ports;
      return 0;
    },
  );
}

function registerFastopenSysctls(net: Net): void {
  const ipv4 = net.ipv4;
  registerSysctl(
    net,
    "net.ipv4.tcp_fastopen_key",
    () => tcpFastopenKeyShow(net),
    (value) => (tcpFastopenKeyStore(net, value) ? 0 : -EINVAL),
  );
  registerSysctl(
    net,
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
    () => String(ipv4.sysctlTcpFastopenBlackholeTimeout),
    (value) => {
      const n = procParseInt(value);
      if (!(n >= 0 && n <= INT_MAX)) return -EINVAL;
      ipv4.sysctlTcpFastopenBlackholeTimeout = n;
      // A rest that is on is over.
      ipv4.tfoActiveDisableTimes = 0;
      return 0;
    },
  );
}

function registerCongestionSysctls(net: Net): void {
  registerSysctl(
    net,
    "net.ipv4.tcp_congestion_control",
    () => tcpGetDefaultCongestionControl(net),
    (value) => tcpSetDefaultCongestionControl(net, value.trim()),
  );
  registerSysctl(net, "net.ipv4.tcp_available_congestion_control", tcpGetAvailableCongestionControl);
  registerSysctl(net, "net.ipv4.tcp_allowed_congestion_control", tcpGetAllowedCongestionControl, (value) =>
    tcpSetAllowedCongestionControl(value.trim()),
  );
}

export const netnsIpv4Ops: PernetOperations = {
  name: "ipv4",
  init(net: Net): number {
    const ipv4 = new NetnsIpv4();
    net.ipv4 = ipv4;
    const bytes = net.kernel.machine.memory.buffer.byteLength;
    initMem(ipv4.sysctlTcpMem, bytes);
    initMem(ipv4.sysctlUdpMem, bytes);
    registerIpv4Sysctls(net);
    return 0;
  },
  exit(): void {},
};

/** Makes every namespace have `net.core` and `net.ipv4`; whatever keeps state in them registers after this. */
export function netnsIpv4Init(): void {
  netCoreInit();
  registerPernetSubsys(netnsIpv4Ops);
}
