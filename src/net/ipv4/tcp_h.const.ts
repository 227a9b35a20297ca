/**
 * The constants of include/net/tcp.h. A file of its own that imports nothing, so that they have their values before any of
 * the files that refer to each other is run. Import them from tcp_h.ts.
 */

export const USEC_PER_MSEC = 1000;
export const USEC_PER_SEC = 1_000_000;

// ---- constants ----------------------------------------------------------------------------------------------------------

/** Bytes of a TCP header without options. */
export const TCP_HEADER_SIZE = 20;
export const MAX_TCP_OPTION_SPACE = 40;
/** Below it, user_mss is refused. */
export const TCP_MIN_SND_MSS = 48;
export const TCP_MIN_GSO_SIZE: number = TCP_MIN_SND_MSS - MAX_TCP_OPTION_SPACE;
export const TCP_MIN_MSS = 88;
/** Never offer a window over 32767 without window scaling. Some poor stacks do signed 16-bit maths. */
export const MAX_TCP_WINDOW = 32767;
/** The default of sysctl tcp_base_mss, and the bounds of MTU probing (RFC 4821). */
export const TCP_BASE_MSS = 1024;
/** Seconds between two probes. */
export const TCP_PROBE_INTERVAL = 600;
/** Bytes that the search range must hold for a probe to be worth it. */
export const TCP_PROBE_THRESHOLD = 8;
export const TCP_FASTRETRANS_THRESH = 3;
export const TCP_MAX_QUICKACKS = 16;
/** RFC 7323 §2.3: a shift count above 14 is used as 14. */
export const TCP_MAX_WSCALE = 14;

// tp.urgData.
export const TCP_URG_VALID = 0x0100;
export const TCP_URG_NOTYET = 0x0200;
export const TCP_URG_READ = 0x0400;

export const TCP_RETR1 = 3;
export const TCP_RETR2 = 15;
export const TCP_SYN_RETRIES = 6;
export const TCP_SYNACK_RETRIES = 5;

/** How long to keep TIME-WAIT: 60 s (RFC 9293 asks for 2 MSL). */
export const TCP_TIMEWAIT_LEN: number = 60 * USEC_PER_SEC;
export const TCP_FIN_TIMEOUT: number = TCP_TIMEWAIT_LEN;
export const TCP_FIN_TIMEOUT_MAX: number = 120 * USEC_PER_SEC;

/** Longest delay of an ACK (RFC 9293 §3.8.6.3 allows 500 ms). */
export const TCP_DELACK_MAX: number = 200 * USEC_PER_MSEC;
export const TCP_DELACK_MIN: number = 40 * USEC_PER_MSEC;
export const TCP_ATO_MIN: number = 40 * USEC_PER_MSEC;
export const TCP_RTO_MAX_SEC = 120;
export const TCP_RTO_MAX: number = TCP_RTO_MAX_SEC * USEC_PER_SEC;
export const TCP_RTO_MIN: number = 200 * USEC_PER_MSEC;
/** Shortest timer of the tail loss probe and of RACK. */
export const TCP_TIMEOUT_MIN: number = 2 * USEC_PER_MSEC;
export const TCP_TIMEOUT_MIN_US: number = 2 * USEC_PER_MSEC;
/** RFC 6298 §2.1: the RTO before the first sample. */
export const TCP_TIMEOUT_INIT: number = 1 * USEC_PER_SEC;
/** RFC 6298 §5.7: the RTO when the SYN had to be retransmitted and no timestamp told its RTT. */
export const TCP_TIMEOUT_FALLBACK: number = 3 * USEC_PER_SEC;
/** Retry of a send that failed for want of memory below TCP. */
export const TCP_RESOURCE_PROBE_INTERVAL: number = 500 * USEC_PER_MSEC;

export const TCP_KEEPALIVE_TIME: number = 7200 * USEC_PER_SEC;
export const TCP_KEEPALIVE_PROBES = 9;
export const TCP_KEEPALIVE_INTVL: number = 75 * USEC_PER_SEC;
/** Largest values of TCP_KEEPIDLE, TCP_KEEPINTVL (s), TCP_KEEPCNT and TCP_SYNCNT. */
export const MAX_TCP_KEEPIDLE = 32767;
export const MAX_TCP_KEEPINTVL = 32767;
export const MAX_TCP_KEEPCNT = 127;
export const MAX_TCP_SYNCNT = 127;

/** Seconds: a ts_recent older than 24 days is no longer valid (RFC 7323 §5.5). */
export const TCP_PAWS_24DAYS: number = 60 * 60 * 24 * 24;
export const TCP_PAWS_MSL = 60;
/** Replay window for per-host timestamps. It must be below the window of one RTT. */
export const TCP_PAWS_WINDOW = 1;

// tp.nonagle.
export const TCP_NAGLE_OFF = 1;
export const TCP_NAGLE_CORK = 2;
export const TCP_NAGLE_PUSH = 4;

/** Thin streams: at most this many linear RTOs before backing off. */
export const TCP_THIN_LINEAR_RETRIES = 6;

/** RFC 6928: the initial window in segments. */
export const TCP_INIT_CWND = 10;
export const TCP_INFINITE_SSTHRESH = 0x7fffffff;

// net.ipv4.tcp_fastopen.
export const TFO_CLIENT_ENABLE = 1;
export const TFO_SERVER_ENABLE = 2;
/** Data in the SYN without a cookie option. */
export const TFO_CLIENT_NO_COOKIE = 4;
/** Accept SYN data without any cookie. */
export const TFO_SERVER_COOKIE_NOT_REQD = 0x200;
/** Force enable TFO on all listeners, i.e., not requiring the TCP_FASTOPEN socket option. */
export const TFO_SERVER_WO_SOCKOPT1 = 0x400;
export const TCP_FASTOPEN_COOKIE_MIN = 4;
export const TCP_FASTOPEN_COOKIE_MAX = 16;
export const TCP_FASTOPEN_COOKIE_SIZE = 8;
export const TCP_FASTOPEN_KEY_LENGTH = 16;

// net.ipv4.tcp_recovery.
export const TCP_RACK_LOSS_DETECTION = 0x1;
export const TCP_RACK_STATIC_REO_WND = 0x2;
export const TCP_RACK_NO_DUPTHRESH = 0x4;
/** RACK's reordering window is measured in quarters of the minimum RTT; persists for 16 recoveries. */
export const TCP_RACK_RECOVERY_THRESH = 16;

// tp.ecnFlags.
export const TCP_ECN_MODE_RFC3168 = 1;
export const TCP_ECN_QUEUE_CWR = 2;
export const TCP_ECN_DEMAND_CWR = 4;
export const TCP_ECN_SEEN = 8;
export const TCP_ECN_MODE_ACCECN = 16;
export const TCP_ECN_DISABLED = 0;
export const TCP_ECN_MODE_ANY: number = TCP_ECN_MODE_RFC3168 | TCP_ECN_MODE_ACCECN;
export const TCP_ECN_MODE_PENDING: number = TCP_ECN_MODE_ANY;

// net.ipv4.tcp_ecn: the best kind of ECN for incoming and for outgoing connections (0 and 2: none for outgoing ones).
export const TCP_ECN_IN_ECN_OUT_ECN = 1;
export const TCP_ECN_IN_ACCECN_OUT_ACCECN = 3;
export const TCP_ECN_IN_ACCECN_OUT_ECN = 4;

// net.ipv4.tcp_ecn_option: 0 = never, 1 = as rarely as the RFC lets us, 2 = whenever it fits, 3 = even if it gets lost.
export const TCP_ACCECN_OPTION_FULL = 2;
export const TCP_ACCECN_OPTION_PERSIST = 3;

// Accurate ECN: the ACE field has three bits, and this much of it may go unsent before an ACK is due (RFC 9768 §3.2.2.5.1).
export const TCP_ACCECN_CEP_ACE_MASK = 7;
export const TCP_ACCECN_ACE_MAX_DELTA = 6;
// Where the counters begin on the wire (RFC 9768 §3.2.1).
export const TCP_ACCECN_CEP_INIT_OFFSET = 5;
export const TCP_ACCECN_E1B_INIT_OFFSET = 1;
export const TCP_ACCECN_E0B_INIT_OFFSET = 1;
export const TCP_ACCECN_CEB_INIT_OFFSET = 0;
export const TCP_ACCECN_SAFETY_SHIFT = 1;

// tp.chronoType: what a busy connection waits for (tcp_info).
export const TCP_CHRONO_UNSPEC = 0;
/** Data to send or in flight. */
export const TCP_CHRONO_BUSY = 1;
/** Stalled by an insufficient receive window. */
export const TCP_CHRONO_RWND_LIMITED = 2;
/** Stalled by an insufficient send buffer. */
export const TCP_CHRONO_SNDBUF_LIMITED = 3;

// tp.tsqFlags: bit numbers of work that waits for the socket.
export const TSQ_THROTTLED = 0;
export const TSQ_QUEUED = 1;
export const TCP_TSQ_DEFERRED = 2;
export const TCP_WRITE_TIMER_DEFERRED = 3;
export const TCP_DELACK_TIMER_DEFERRED = 4;
export const TCP_MTU_REDUCED_DEFERRED = 5;
export const TCP_ACK_DEFERRED = 6;
export const TSQF_THROTTLED = 1;
export const TSQF_QUEUED = 2;
export const TCPF_TSQ_DEFERRED = 4;
export const TCPF_WRITE_TIMER_DEFERRED = 8;
export const TCPF_DELACK_TIMER_DEFERRED = 16;
export const TCPF_MTU_REDUCED_DEFERRED = 32;
export const TCPF_ACK_DEFERRED = 64;

// sk.skPacingStatus.
export const SK_PACING_NONE = 0;
/** TCP's own pacing timer. */
export const SK_PACING_NEEDED = 1;
/** The fq qdisc paces. */
export const SK_PACING_FQ = 2;

/** rcvbuf bytes = window bytes << 8 / scaling_ratio. */
export const TCP_RMEM_TO_WIN_SCALE = 8;
/** Half of the receive buffer is payload until the first segments tell better. */
export const TCP_DEFAULT_SCALING_RATIO: number = 1 << (TCP_RMEM_TO_WIN_SCALE - 1);

// ---- tcp_flag_word -----------------------------------------------------------------------------------------------------------

/** tcp_flag_word: the fourth word, host order. */
export const TCP_FLAG_AE = 0x01000000;
export const TCP_FLAG_CWR = 0x00800000;
export const TCP_FLAG_ECE = 0x00400000;
export const TCP_FLAG_URG = 0x00200000;
export const TCP_FLAG_ACK = 0x00100000;
export const TCP_FLAG_PSH = 0x00080000;
export const TCP_FLAG_RST = 0x00040000;
export const TCP_FLAG_SYN = 0x00020000;
export const TCP_FLAG_FIN = 0x00010000;
export const TCP_RESERVED_BITS = 0x0e000000;
export const TCP_DATA_OFFSET = 0xf0000000;
/** Everything of the fourth word that header prediction does not look at. */
export const TCP_HP_BITS: number = ~(TCP_RESERVED_BITS | TCP_FLAG_PSH) >>> 0;
